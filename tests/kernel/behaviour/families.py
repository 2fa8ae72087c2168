"""Workflows that call others, and those that they call."""

from __future__ import annotations

from datetime import timedelta

from holdfast import Context, Flow, Retry, stage, workflow
from holdfast.entities.run import Run
from tests.kernel.behaviour.flows import ONCE, Calls, line, step
from tests.kernel.watching import WatchedHarness

ADD = line(2, id="add")


SLEEPY_NAP = timedelta(hours=1)


class Weather:
    """Whether it rains; stages fail while it does."""

    def __init__(self, *, raining: bool = False) -> None:
        self.raining = raining


@stage(retry=ONCE)
async def weathered(number: int, ctx: Context) -> int:
    """Add one in fair weather."""
    ctx.services[Calls].note(ctx)
    if ctx.services[Weather].raining:
        raise ConnectionError("it rains")
    return number + 1


@stage(retry=ONCE)
async def nap(number: int, ctx: Context) -> int:
    """Sleep for an hour, then add one."""
    await ctx.sleep("nap", SLEEPY_NAP)
    ctx.services[Calls].note(ctx)
    return number + 1


OUTDOORS = workflow("outdoors", input=int, version="1").pipe(weathered)


NAPPING = workflow("napping", input=int, version="1").pipe(nap)


def calling(child: Flow[int, int], *, id: str = "parent", retry: Retry = ONCE) -> Flow[int, int]:
    """Return a workflow whose first stage calls *child*."""

    @stage(retry=retry)
    async def call(number: int, ctx: Context) -> int:
        ctx.services[Calls].note(ctx)
        return await ctx.call("helper", child, number)

    return workflow(id, input=int, version="1").pipe(call).pipe(step("after"))


def the_child(harness: WatchedHarness, run_id: str) -> Run:
    """Return the only child of the run."""
    (child_id,) = harness.children(run_id)
    return harness.run_of(child_id)
