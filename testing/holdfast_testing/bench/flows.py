"""Workflows of stages that do nothing, so that all the time they take is the engine's."""

from __future__ import annotations

import asyncio
import time
from typing import Any

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
