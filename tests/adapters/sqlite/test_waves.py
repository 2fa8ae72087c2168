"""Judging many change-sets together gives what judging them one by one gives, and what the memory store gives."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from holdfast.change import Committed
from holdfast.driving import run_sync
from holdfast.entities.wait import WaitStatus
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import commit, everything, run_id
from tests.adapters.fancy import CHILDREN, LATER, RUNS, Fancy, plain, told, took, untied


@pytest.fixture
def open_store(tmp_path: Path, clock: FakeClock) -> Callable[[str], SqlitePersistence]:
    """Return what opens a store of that name."""

    def opened(name: str) -> SqlitePersistence:
        store = SqlitePersistence(tmp_path / f"{name}.db", clock=clock)
        run_sync(store.open())
        return store

    return opened


@pytest.mark.parametrize("seed", range(60))
def test_together_is_as_good_as_one_by_one(
    open_store: Callable[[str], SqlitePersistence], clock: FakeClock, seed: int
) -> None:
    """The same change-sets in one call and in a call each have the same outcomes and leave the same behind."""
    fancy = Fancy(seed)
    together, apart, memory = open_store("together"), open_store("apart"), MemoryPersistence(clock=clock)
    run_sync(memory.open())
    for changes in (fancy.changes(60), fancy.more(40), fancy.more(40)):
        at_once = commit(together, *changes)
        in_turn = [outcome for change in changes for outcome in commit(apart, change)]
        assert [told(outcome) for outcome in at_once] == [told(outcome) for outcome in in_turn]
        modelled = [outcome for change in changes for outcome in commit(memory, change)]
        assert [plain(outcome) for outcome in at_once] == [plain(outcome) for outcome in modelled]
        numbers = (*RUNS, *LATER, *CHILDREN)
        found = untied(everything(together, *numbers))
        assert found == untied(everything(apart, *numbers))
        assert found == untied(everything(memory, *numbers))
        counters_hold(together)
        clock.advance("1s")
        assert took(together) == took(apart) == took(memory)
    run_sync(together.close())
    run_sync(apart.close())


def counters_hold(store: SqlitePersistence) -> None:
    """Assert that the numbers of jobs that runs keep are those of their rows, and that each job is in one place."""

    def read(connection: sqlite3.Connection, _: int) -> Sequence[object]:
        return [
            *connection.execute("""
                SELECT r.id, r.active, r.waiting FROM run r
                WHERE r.active <> (SELECT count(*) FROM job j WHERE j.run = r.n AND j.status <> 'WAITING')
                    OR r.waiting <> (SELECT count(*) FROM job j WHERE j.run = r.n AND j.status = 'WAITING')"""),
            *connection.execute("""
                SELECT j.* FROM job j JOIN run r ON r.n = j.run
                WHERE (j.due_at IS NOT NULL) + (j.held_due_at IS NOT NULL) + (j.lease_until IS NOT NULL)
                        <> (j.status <> 'WAITING')
                    OR (j.held_due_at IS NOT NULL AND r.status <> 'PAUSED')
                    OR (j.due_at IS NOT NULL AND r.status = 'PAUSED')"""),
        ]

    assert run_sync(store._access.read(read)) == []


def test_the_change_sets_meet(open_store: Callable[[str], SqlitePersistence]) -> None:
    """The change-sets of the test above are accepted and refused in every way there is."""
    seen: set[object] = set()
    for seed in range(8):
        store = open_store(f"store{seed}")
        outcomes = commit(store, *Fancy(seed).changes(100))
        seen |= {type(outcome).__name__ for outcome in outcomes}
        seen |= {"opened" for outcome in outcomes if isinstance(outcome, Committed) and outcome.steps}
        seen |= {"paused" for outcome in outcomes if isinstance(outcome, Committed) and outcome.withheld}
        seen |= {wait.status for run in RUNS for wait in run_sync(store.list_run_waits(run_id(run), limit=1_000))}
        run_sync(store.close())
    assert seen >= {"Committed", "Duplicate", "Held", "LeaseLost", "StaleVersion", "opened", "paused", *WaitStatus}
