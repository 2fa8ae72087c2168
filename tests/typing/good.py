"""What both type checkers must infer, written as users write it; `test_inference.py` has them check it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, assert_type

from pydantic import BaseModel

from holdfast import BatchStage, Context, Flow, Pending, Registry, Retry, stage, workflow


class Doc(BaseModel):
    url: str


class Scan(Doc):
    pages: int


class Label(BaseModel):
    topic: str


class Config(BaseModel):
    size: int = 800


@stage(retry=Retry(5), timeout="30s")
async def split(doc: Doc, ctx: Context[Config]) -> list[str]:
    assert_type(ctx, Context[Config])
    assert_type(ctx.config, Config)
    assert_type(ctx.config.size, int)
    return [doc.url]


@stage
def count(parts: list[str]) -> int:
    return len(parts)


@stage
async def longest(parts: list[str]) -> str:
    return max(parts, key=len)


@stage(needs=[split])
def label(both: tuple[int, str], ctx: Context) -> Label:
    assert_type(ctx.config, None)
    assert_type(ctx.output(split), list[str])
    assert_type(ctx.output(labels), list[Label])
    return Label(topic=both[1])


class LabelBatch(BatchStage[list[str], str, list[Label]]):
    poll_every, give_up_after = "5m", "24h"

    async def submit(self, texts: list[str], ctx: Context[Config]) -> str:
        assert_type(ctx.config.size, int)
        return "batch-1"

    async def poll(self, reference: str, ctx: Context[Config]) -> list[Label] | Pending:
        return Pending(check_in="1m")


labels = LabelBatch()


@stage
async def tick() -> float:
    return 0.5


@stage
def clear() -> None: ...


@stage(queue="slow")
async def late(ctx: Context[Config]) -> bytes:
    return bytes(ctx.config.size)


@stage
def shift(x: int, by: int = 1) -> int:
    return x + by


def pipelines() -> None:
    """Infer what flows give, however their stages are written."""
    begun = workflow("review", input=Doc, version="2.0.0", timeout="7d")
    assert_type(begun, Flow[Doc, Doc])
    assert_type(begun.pipe(split), Flow[Doc, list[str]])
    assert_type(begun.pipe(split).pipe(count), Flow[Doc, int])
    assert_type(begun.pipe(split).pipe(labels), Flow[Doc, list[Label]])
    assert_type(workflow("tick", input=None).pipe(tick), Flow[None, float])
    assert_type(workflow("scans", input=Scan).pipe(split), Flow[Scan, list[str]])
    assert_type(workflow("texts", input=list[str]).pipe(longest), Flow[list[str], str])


def stages_without_input() -> None:
    """Accept stages without input behind any other."""
    begun = workflow("w", input=Doc).pipe(split)
    assert_type(begun.pipe(tick), Flow[Doc, float])
    assert_type(begun.pipe(clear), Flow[Doc, None])
    assert_type(begun.pipe(late), Flow[Doc, bytes])
    assert_type(begun.parallel(count, tick, late), Flow[Doc, tuple[int, float, bytes]])


def groups() -> None:
    """Infer tuples behind parallel groups."""
    begun = workflow("w", input=list[str])
    assert_type(begun.parallel(count), Flow[list[str], int])
    assert_type(begun.parallel(count, longest), Flow[list[str], tuple[int, str]])
    assert_type(begun.parallel(count, longest).pipe(label), Flow[list[str], Label])
    assert_type(begun.parallel(count, longest, labels), Flow[list[str], tuple[int, str, list[Label]]])
    assert_type(begun.parallel(count, count, count, longest), Flow[list[str], tuple[int, int, int, str]])
    assert_type(begun.parallel(count, count, count, count, longest), Flow[list[str], tuple[int, int, int, int, str]])
    six = begun.parallel(count, count, count, count, count, longest)
    assert_type(six, Flow[list[str], tuple[int, int, int, int, int, str]])
    assert_type(begun.parallel(*[count, count]), Flow[list[str], tuple[Any, ...]])


def options() -> None:
    """Keep the types of stages that are used with other options."""
    again = count.using(name="count-again", retry=Retry(2))
    assert_type(again(["a"]), int)
    assert_type(workflow("w", input=list[str]).pipe(again), Flow[list[str], int])
    assert_type(labels.using(timeout="1m"), LabelBatch)


async def calls(ctx: Context[Config]) -> None:
    """Infer what stages give when they are called as functions."""
    assert_type(await split(Doc(url="a"), ctx), list[str])
    assert_type(count(["a"]), int)
    assert_type(await longest(["a"]), str)
    assert_type(await tick(), float)
    assert_type(await tick.using(name="tock")(), float)
    await assert_type(longest(["a"]), Coroutine[Any, Any, str])
    assert_type(clear(), None)
    assert_type(await late(ctx), bytes)
    assert_type(shift(1), int)
    assert_type(shift(1, by=2), int)
    assert_type(await labels.submit(["a"], ctx), str)


def variance() -> None:
    """Accept a flow wherever one that takes less and gives more would do."""
    wide: Flow[Doc, list[str]] = workflow("w", input=Doc).pipe(split)
    narrow: Flow[Scan, object] = wide
    registry = Registry([wide, narrow, wide.definition()])
    assert_type(registry, Registry)
