"""Who goes on with what: after a pause that nobody was told of, and after a retry of a map."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast import Context, Retry, RunStatus, stage, workflow
from holdfast.change import Change, Committed, Finish, Refusal
from holdfast.commands.run_pause import RunPause
from holdfast.errors import CommitUnknown
from holdfast_adapters.memory import MemoryPersistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.harness import Harness


class Acted(list[str]):
    """What stages did, in order."""


class Control:
    """The way for a stage to act upon its own run from outside."""

    harness: Harness


class Forgetful(MemoryPersistence):
    """Loses its answer to the first settlement, which stands."""

    def __init__(self, *, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self._forgets = True

    async def commit(self, changes: Sequence[Change]) -> Sequence[Committed | Refusal]:
        outcomes = await super().commit(changes)
        if self._forgets and any(isinstance(change.settle, Finish) for change in changes):
            self._forgets = False
            raise CommitUnknown("the answer was lost")
        return outcomes


@stage
async def interrupted(text: str, ctx: Context) -> str:
    """Be paused while it executes."""
    await ctx.services[Control].harness.kernel.dispatch(RunPause(run_id=ctx.run_id))
    return text


@stage
async def following(text: str, ctx: Context) -> str:
    ctx.services[Acted].append("following")
    return text


@stage(retry=Retry(1))
async def each(number: int, ctx: Context) -> int:
    """Fail for the first item always, and for the last one in the first generation."""
    ctx.services[Acted].append(f"{ctx.item} in {ctx.generation}")
    if ctx.item == 0 or (ctx.item == 2 and ctx.generation == 1):
        raise ValueError(number)
    return number


def test_lost_answer_does_not_hide_a_pause(fake_clock: FakeClock) -> None:
    """A worker whose settlement met a pause does not go on with the next stage, also if it had to look it up."""
    acted, control = Acted(), Control()
    store = Forgetful(clock=fake_clock)
    control.harness = harness = Harness(services={Acted: acted, Control: control}, persistence=store, clock=fake_clock)
    flow = workflow("interrupted", input=str).pipe(interrupted).pipe(following)
    run_id = harness.start(flow, "x")
    harness.drain()
    assert harness.look(flow, run_id).status is RunStatus.PAUSED
    assert acted == []
    harness.unpause(run_id)
    harness.drain()
    assert harness.look(flow, run_id).status is RunStatus.COMPLETED
    assert acted == ["following"]


def test_retried_map_takes_over_what_a_failed_item_brings_forward() -> None:
    """An item that had completed is not executed again by a retry, also when it follows on one that fails again."""
    acted = Acted()
    harness = Harness(services={Acted: acted})
    flow = workflow("map", input=list[int]).map(each, limit=1, tolerate=1)
    run_id = harness.run(flow, [10, 11, 12]).run.id
    assert harness.look(flow, run_id).status is RunStatus.FAILED
    harness.retry(run_id)
    harness.drain()
    assert harness.look(flow, run_id).output == [None, 11, 12]
    assert acted == ["0 in 1", "1 in 1", "2 in 1", "0 in 2", "2 in 2"]
