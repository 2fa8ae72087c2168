"""Workflows of stages that do nothing, so that all the time they take is the engine's."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any, Final

from holdfast.authoring.context import Context
from holdfast.authoring.flow import Flow, workflow
from holdfast.authoring.stage import Stage, stage


class FinishLine:
    """Counts the runs that have come to their last stage."""

    def __init__(self) -> None:
        self._left = 0
        self._all = asyncio.Event()
        #: When the last run of all came, by `time.perf_counter`.
        self.at = 0.0

    def expect(self, runs: int) -> None:
        """Begin to count; *runs* are to come."""
        self._left = runs
        self._all.clear()

    def arrive(self) -> None:
        """Count one run."""
        self._left -= 1
        if self._left == 0:
            self.at = time.perf_counter()
            self._all.set()

    async def wait(self) -> None:
        """Wait until all have come."""
        await self._all.wait()


def line(workflow_id: str, *, stages: int, finish: FinishLine) -> Flow[Any, Any]:
    """Return a workflow of *stages* async stages in a row, each of which gives its input on."""
    flow: Any = workflow(workflow_id, input=int)
    for number in range(1, stages):
        flow = flow.pipe(_pass_on(f"s{number}"))

    @stage(name="last")
    async def last(value: int) -> int:
        finish.arrive()
        return value

    made: Flow[Any, Any] = flow.pipe(last)
    return made


def straight(finish: FinishLine, *, stages: int) -> Flow[Any, Any]:
    """Return a line that is named after its length."""
    return line(f"line{stages}", stages=stages, finish=finish)


def stamped(finish: FinishLine) -> Flow[Any, Any]:
    """Return a workflow of one stage that gives the instant at which it begins, in nanoseconds."""

    @stage(name="stamp")
    async def stamp(_: int) -> int:
        begun = time.time_ns()
        finish.arrive()
        return begun

    made: Flow[Any, Any] = workflow("stamped", input=int).pipe(stamp)
    return made


#: Ids of the workflows of `patient`.
PATIENT: Final = ("sleeper", "asker")


def patient() -> Sequence[Flow[Any, Any]]:
    """Return workflows whose runs wait for longer than anybody measures: for an instant, and for an answer."""

    @stage(name="sleep")
    async def sleep(value: int, ctx: Context[Any]) -> int:
        await ctx.sleep("long", "30d")
        return value

    @stage(name="add")
    async def add(values: tuple[int, int]) -> int:
        return sum(values)

    return (
        workflow("sleeper", input=int, timeout="60d").pipe(sleep),
        workflow("asker", input=int, timeout="60d").wait_for("answer", int, timeout="30d").pipe(add),
    )


def _pass_on(name: str) -> Stage[int, int]:
    @stage(name=name)
    async def pass_on(value: int) -> int:
        return value

    return pass_on


def mapped(workflow_id: str, *, limit: int, finish: FinishLine) -> Flow[Any, Any]:
    """Return a workflow that makes a list as long as its input says and maps a stage over it, *limit* at a time."""

    @stage(name="count")
    async def count(items: int) -> list[int]:
        return list(range(items))

    @stage(name="sum")
    async def total(values: list[int]) -> int:
        finish.arrive()
        return len(values)

    made: Flow[Any, Any] = workflow(workflow_id, input=int).pipe(count).map(_pass_on("item"), limit=limit).pipe(total)
    return made
