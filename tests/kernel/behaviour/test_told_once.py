"""What a stage did once is told once, also when its worker dies right after it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from holdfast import Context, EventType, Flow, Retry, RunStatus, stage, workflow
from holdfast.change import Change, Committed, Refusal
from holdfast.errors import CommitUnknown
from holdfast_adapters.memory import MemoryPersistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.faults import ProcessDied
from holdfast_testing.harness import Harness


class Breaking(MemoryPersistence):
    """Commits the first checkpoint and raises after it; a dead process commits nothing before it is started again."""

    def __init__(self, *, clock: FakeClock, error: BaseException) -> None:
        super().__init__(clock=clock)
        self._error: BaseException | None = error
        self.is_dead = False

    async def commit(self, changes: Sequence[Change]) -> Sequence[Committed | Refusal]:
        if self.is_dead:
            raise ProcessDied("a dead process commits nothing")
        outcomes = await super().commit(changes)
        error = self._error
        if error is not None and any(change.checkpoints for change in changes):
            self._error = None
            self.is_dead = isinstance(error, ProcessDied)
            raise error
        return outcomes


def give_back(done: int) -> None:
    """Undo nothing in particular."""


@stage(compensate=give_back)
async def take(number: int) -> int:
    return number + 1


@stage(retry=Retry(1))
async def stumble(number: int) -> int:
    raise ValueError(number)


@stage
async def part(number: int) -> int:
    return number


@stage
async def delegate(number: int, ctx: Context) -> int:
    return await ctx.call("part", PART, number)


PART = workflow("part", input=int).pipe(part)
WHOLE = workflow("whole", input=int).pipe(delegate)
UNDONE = workflow("undone", input=int, compensate=True).pipe(take).pipe(take.using(name="again")).pipe(stumble)

both = pytest.mark.parametrize(
    ("flow", "told", "times", "end"),
    [
        (UNDONE, EventType.STAGE_COMPENSATED, 2, RunStatus.FAILED),
        (WHOLE, EventType.STAGE_CHILD_STARTED, 1, RunStatus.COMPLETED),
    ],
    ids=["compensation", "child"],
)


def _told(harness: Harness, flow: Flow[int, int], run_id: str, kind: EventType) -> int:
    return sum(event.type is kind for event in harness.look(flow, run_id).events)


@both
def test_death_behind_a_step_leaves_its_fact(
    flow: Flow[int, int], told: EventType, times: int, end: RunStatus, fake_clock: FakeClock
) -> None:
    """A worker that dies behind an undone stage or a started child has told of it, and its successor does not again."""
    store = Breaking(clock=fake_clock, error=ProcessDied("behind the first checkpoint"))
    harness = Harness(PART, flow, persistence=store, clock=fake_clock)
    run_id = harness.start(flow, 1)
    with pytest.raises(ProcessDied):
        harness.drain()
    assert _told(harness, flow, run_id, told) == 1
    store.is_dead = False
    harness.drain()
    assert harness.look(flow, run_id).status is end
    assert _told(harness, flow, run_id, told) == times


@both
def test_unknown_commit_of_a_step_does_not_repeat_its_fact(
    flow: Flow[int, int], told: EventType, times: int, end: RunStatus, fake_clock: FakeClock
) -> None:
    """A step whose commit had an unknown outcome and stands is not committed, and told of, a second time."""
    store = Breaking(clock=fake_clock, error=CommitUnknown("the answer was lost"))
    harness = Harness(PART, flow, persistence=store, clock=fake_clock)
    run_id = harness.start(flow, 1)
    harness.drain()
    assert harness.look(flow, run_id).status is end
    assert _told(harness, flow, run_id, told) == times
