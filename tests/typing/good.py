"""What both type checkers must infer, written as users write it; `test_inference.py` has them check it."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, assert_type

from pydantic import BaseModel

from holdfast import (
    END,
    BatchStage,
    Context,
    Fail,
    Flow,
    Graph,
    Ok,
    Pending,
    Registry,
    Retry,
    Seen,
    line,
    otherwise,
    stage,
    when,
    workflow,
)


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


class Report(BaseModel):
    labels: list[Label]
    sure: bool


class Decision(BaseModel):
    approved: bool


@stage(key=lambda text: text)
async def labelled(text: str, ctx: Context[Config]) -> Label:
    return Label(topic=text)


@stage
def reported(found: list[Label]) -> Report:
    return Report(labels=found, sure=True)


@stage
def publish(report: Report) -> str:
    return "published"


@stage(waits={"second": Decision})
def number(report: Report) -> int:
    return 1


def withdraw(published: bool, ctx: Context) -> None: ...


@stage(compensate=withdraw)
def book(decided: bool) -> bool:
    return decided


@stage
def decide(both: tuple[Report, Decision]) -> bool:
    return both[1].approved


@stage
def escalate(report: Report) -> Decision:
    return Decision(approved=False)


@stage
def summed(both: dict[str, int | str]) -> int:
    return len(both)


@stage
def shorten(text: str) -> str:
    return text[:10]


def is_sure(report: Report) -> bool:
    return report.sure


def is_short(report: Report) -> bool:
    return len(report.labels) < 3


def is_long(report: Report) -> bool:
    return len(report.labels) > 10


def is_known(report: Report, run: Seen) -> bool:
    assert_type(run.output(reported), Report)
    return bool(run.state)


def branches() -> None:
    """Infer what comes out of a branch, and what its conditions are given."""
    begun = workflow("w", input=list[Label]).pipe(reported)
    two = begun.branch(when(lambda report: report.sure, publish, priority=10), otherwise(number))
    assert_type(two, Flow[list[Label], str | int])
    three = begun.branch(when(is_sure, publish), when(is_known, number), otherwise(tick))
    assert_type(three, Flow[list[Label], str | int | float])
    asked = begun.branch(when(lambda report, run: report.sure and "x" in run.state, number), otherwise(late))
    assert_type(asked, Flow[list[Label], int | bytes])
    kept = begun.branch(when(lambda report: not report.sure, decided()), otherwise(line(Report)))
    assert_type(kept, Flow[list[Label], bool | Report])


def undone() -> None:
    """Accept a stage that can be undone."""
    booked = workflow("w", input=bool, compensate=True, state=True, step_limit=100).pipe(book)
    assert_type(booked, Flow[bool, bool])


def six_cases() -> None:
    """Infer what comes out of a branch of six cases."""
    many = workflow("w", input=Report).branch(
        when(is_sure, publish.using(name="a")),
        when(lambda report: len(report.labels) > 3, number.using(name="b")),
        when(is_short, tick.using(name="c")),
        when(is_known, late.using(name="d")),
        when(is_long, clear.using(name="e")),
        otherwise(line(Report)),
    )
    assert_type(many, Flow[Report, str | int | float | bytes | None | Report])


def decided() -> Flow[Report, bool]:
    """Return a line that waits for somebody's decision."""
    asked = line(Report).wait_for("approval", Decision, timeout="7d", on_timeout=escalate, reason="Is it right?")
    assert_type(asked, Flow[Report, tuple[Report, Decision]])
    late = line(Report).wait_for("approval", Decision, timeout="7d", on_timeout=publish)
    assert_type(late, Flow[Report, tuple[Report, Decision | str]])
    return asked.pipe(decide)


def maps() -> None:
    """Infer what comes out of a map, of a stage and of a line."""
    begun = workflow("w", input=Doc).pipe(split)
    assert_type(begun.map(labelled, limit=8), Flow[Doc, list[Label]])
    assert_type(begun.map(labelled, limit=8, tolerate=0.1), Flow[Doc, list[Label | None]])
    assert_type(begun.map(line(str).pipe(shorten).pipe(labelled)), Flow[Doc, list[Label]])
    assert_type(begun.map(labelled).pipe(reported), Flow[Doc, Report])
    assert_type(begun.map(tick.using(name="tock")), Flow[Doc, list[float]])


def joins() -> None:
    """Infer that members which need not complete may be absent."""
    begun = workflow("w", input=list[str])
    assert_type(begun.parallel(count, longest, need=1), Flow[list[str], tuple[int | None, str | None]])
    assert_type(begun.parallel(count, longest, tolerate=1), Flow[list[str], tuple[int | None, str | None]])
    kept = begun.parallel(line(list[str]), count)
    assert_type(kept, Flow[list[str], tuple[list[str], int]])


def graphs() -> None:
    """Accept stages whose types fit as nodes, and infer what their conditions are given."""
    approval = Graph.wait("approval", Decision, timeout="7d")
    each = Graph.map(labelled, limit=4)
    again = publish.using(name="again")
    graph = (
        Graph("review", Doc, version="2.0.0")
        .entry(split)
        .edge(split, (each, count, longest, late))
        .edge(each, reported)
        .edge((count, longest), summed)
        .edge(reported, publish, when=lambda report: report.sure, priority=5)
        .edge(reported, again, when=is_known)
        .edge(reported, approval)
        .edge(approval, decide)
        .edge(approval, escalate, on="timeout")
        .edge(escalate, END, when=lambda decision: decision.approved)
        .edge(escalate, tick)
        .join(summed, tolerate=1)
        .end(publish, again, decide, summed, late, tick)
    )
    assert_type(graph, Graph[Doc, Any])
    assert_type(Registry([graph]), Registry)
    looped = (
        Graph("shorter", str, str)
        .entry(shorten)
        .edge(shorten, shorten, when=lambda text, run: len(text) > 3 and run.state != {})
        .end(shorten)
    )
    assert_type(looped, Graph[str, str])
    flow: Flow[str, str] = looped
    assert_type(flow.definition().id, str)


@stage
def drafted(doc: Doc) -> Ok[str] | Fail:
    return Ok(doc.url, patch={"seen": True})


@stage(retry=Retry(2))
async def redrafted(text: str, ctx: Context) -> Ok[str]:
    return Ok(text)


def told() -> None:
    """Infer the output of a stage that may return more than that."""
    assert_type(workflow("told", input=Doc, state=True).pipe(drafted).pipe(redrafted), Flow[Doc, str])


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
