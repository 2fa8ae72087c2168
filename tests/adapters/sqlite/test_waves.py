"""Judging many change-sets together gives what judging them one by one gives."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from itertools import count
from pathlib import Path
from typing import Final

import attrs
import pytest

from holdfast.change import (
    PENDING,
    ZERO,
    Arrival,
    Change,
    Committed,
    Fence,
    Finish,
    Grant,
    NewJob,
    Refusal,
    Requeue,
    Require,
    Step,
    Suspend,
)
from holdfast.driving import run_sync
from holdfast.entities.run import LIVE_RUN, RunStatus
from holdfast.entities.stage import StageStatus
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import (
    TTL,
    artifact,
    commit,
    created,
    deadline,
    ended,
    everything,
    job,
    key,
    noted,
    operation,
    payload,
    ready_event,
    rerun,
    run_id,
    started,
)

RUNS: Final = (1, 2, 3)
STAGES: Final = ("a", "b", "c", "d", "e", "f", "g", "h")


def granted(stage_id: str, *, run: int, item: int = 0) -> NewJob:
    """Return a job that is leased at once, under epoch 1; that of stage c is past its end at once as well."""
    return job(key(stage_id, run=run, item=item), grant=Grant(worker="w", ttl=ZERO if stage_id == "c" else TTL))


class Fancy:
    """Makes change-sets that often meet: few runs, few stages, few names."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._numbers = count(1)

    def changes(self, length: int) -> list[Change]:
        """Return *length* change-sets, the first of them giving the others something to meet over."""
        first = [change for run in RUNS for change in (created(run), self._started(run))]
        makers = (
            *(self._finished,) * 10,
            *(self._requeued, self._suspended, self._noted, self._fired, self._recorded, self._created) * 2,
            *(self._ended, self._rerun, self._rerun, self._started, self._told),
        )
        return first + [self._random.choice(makers)(self._random.choice(RUNS)) for _ in range(length)]

    def _started(self, run: int) -> Change:
        return started(run, jobs=[granted(stage, run=run) for stage in STAGES], timers=[deadline(delay=ZERO)])

    def _fence(self, run: int) -> Fence:
        return Fence(key=key(self._random.choice(STAGES), run=run), epoch=self._random.choice((1, 1, 1, 1, 2)))

    def _arrival(self, run: int) -> Arrival:
        """Return an arrival whose gate makes a job, or ends the run."""
        new = granted("next", run=run, item=next(self._numbers))
        goes_on = Step(jobs=(new,), events=(ready_event(new.key),))
        ends = ended(run, status=RunStatus.COMPLETED, output_of=("a",)).step
        name, step = self._random.choice((("g", goes_on), ("h", goes_on), ("end", ends)))
        return Arrival(gate=name, generation=1, arity=2, step=step)

    def _finished(self, run: int) -> Change:
        settle = Finish(status=StageStatus.COMPLETED, output=payload(f'"{next(self._numbers)}"'))
        arrivals = tuple(self._arrival(run) for _ in range(1 + self._random.randrange(2)))
        return Change(run_id=run_id(run), fence=self._fence(run), settle=settle, arrivals=arrivals)

    def _requeued(self, run: int) -> Change:
        expired = self._random.random() < 0.3
        fence = attrs.evolve(self._fence(run), expired=expired)
        return Change(run_id=run_id(run), fence=fence, settle=Requeue(delay=ZERO, attempt=self._random.randrange(3)))

    def _suspended(self, run: int) -> Change:
        settle = Suspend(state=payload("1"), delay=ZERO, give_up_after=timedelta(hours=1))
        return Change(run_id=run_id(run), fence=self._fence(run), settle=settle)

    def _noted(self, run: int) -> Change:
        version = self._random.choice((None, None, 2, 4, 6, 8))
        return noted(run, require=Require(statuses=self._random.choice((LIVE_RUN, PENDING.statuses)), version=version))

    def _told(self, run: int) -> Change:
        return attrs.evolve(noted(run), fence=self._fence(run))

    def _fired(self, run: int) -> Change:
        timers = (deadline(delay=ZERO),) if self._random.random() < 0.5 else ()
        return Change(run_id=run_id(run), fired="deadline", step=Step(timers=timers))

    def _recorded(self, run: int) -> Change:
        name = self._random.choice(("x", "y", "z"))
        made = artifact(name, blob=str(next(self._numbers)))
        return attrs.evolve(noted(run), operations=(operation(name),), artifacts=(made,))

    def _created(self, run: int) -> Change:
        number = 10 + self._random.randrange(5) if self._random.random() < 0.8 else run
        return attrs.evolve(created(number), operations=(operation(f"create {number % 3}"),))

    def _ended(self, run: int) -> Change:
        return ended(run, status=self._random.choice((RunStatus.CANCELLED, RunStatus.FAILED)))

    def _rerun(self, run: int) -> Change:
        return rerun(run, generation=1 + next(self._numbers), supersede=("a", "b"))


@pytest.fixture
def open_store(tmp_path: Path, clock: FakeClock) -> Callable[[str], SqlitePersistence]:
    """Return what opens a store of that name."""

    def opened(name: str) -> SqlitePersistence:
        store = SqlitePersistence(tmp_path / f"{name}.db", clock=clock)
        run_sync(store.open())
        return store

    return opened


@pytest.mark.parametrize("seed", range(40))
def test_together_is_as_good_as_one_by_one(open_store: Callable[[str], SqlitePersistence], seed: int) -> None:
    """The same change-sets in one call and in a call each have the same outcomes and leave the same behind."""
    changes = Fancy(seed).changes(60)
    together, apart = open_store("together"), open_store("apart")
    at_once = commit(together, *changes)
    in_turn = [outcome for change in changes for outcome in commit(apart, change)]
    assert [told(outcome) for outcome in at_once] == [told(outcome) for outcome in in_turn]
    numbers = (*RUNS, *range(10, 15))
    assert everything(together, *numbers) == everything(apart, *numbers)
    run_sync(together.close())
    run_sync(apart.close())


def test_the_change_sets_meet(open_store: Callable[[str], SqlitePersistence]) -> None:
    """The change-sets of the test above are accepted and refused in every way there is."""
    store = open_store("store")
    outcomes = commit(store, *Fancy(1).changes(60))
    kinds = {type(outcome).__name__ for outcome in outcomes}
    assert kinds >= {"Committed", "Duplicate", "LeaseLost", "StaleVersion"}
    assert any(isinstance(outcome, Committed) and outcome.opened for outcome in outcomes)
    run_sync(store.close())


def told(outcome: Committed | Refusal) -> object:
    """Return an outcome as something that can be compared: errors are equal when they say the same."""
    return (type(outcome), str(outcome)) if isinstance(outcome, Exception) else outcome
