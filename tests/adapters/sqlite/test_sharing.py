"""What queues, tenants, keys and runs share on SQLite they share as in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.change import Committed
from holdfast.driving import run_sync
from holdfast.errors import SingletonTaken
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_adapters.sqlite.turns import MOST_REMEMBERED, Turns, behind
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import MANY, commit, everything
from tests.adapters.fancy import plain, told, untied
from tests.adapters.sharing import Followers, Sharing


@pytest.fixture
def open_store(tmp_path: Path, clock: FakeClock) -> Callable[[str], SqlitePersistence]:
    """Return what opens a store of that name."""

    def opened(name: str) -> SqlitePersistence:
        store = SqlitePersistence(tmp_path / f"{name}.db", clock=clock)
        run_sync(store.open())
        return store

    return opened


@pytest.mark.parametrize("seed", range(12))
def test_work_is_shared_as_in_memory(
    open_store: Callable[[str], SqlitePersistence], clock: FakeClock, seed: int
) -> None:
    """The same moves give the same leases in the same order, whatever limits, turns and pauses there are."""
    store = open_store("store")
    other_clock = FakeClock(clock.now())
    memory = MemoryPersistence(clock=other_clock)
    run_sync(memory.open())
    found = Sharing(store, clock, seed).play(140)
    expected = Sharing(memory, other_clock, seed).play(140)
    for number, (here, there) in enumerate(zip(found, expected, strict=True)):
        assert here == there, number
    run_sync(store.close())


@pytest.mark.parametrize("seed", range(12))
def test_runs_of_a_key_follow_each_other_as_in_memory(
    open_store: Callable[[str], SqlitePersistence], clock: FakeClock, seed: int
) -> None:
    """Judged together, one by one, or in memory, runs of a key go on, are held, refused and told alike."""
    followers = Followers(seed)
    together, apart, memory = open_store("together"), open_store("apart"), MemoryPersistence(clock=clock)
    run_sync(memory.open())
    for _ in range(4):
        changes = followers.changes(30)
        at_once = commit(together, *changes)
        in_turn = [outcome for change in changes for outcome in commit(apart, change)]
        modelled = [outcome for change in changes for outcome in commit(memory, change)]
        assert [told(outcome) for outcome in at_once] == [told(outcome) for outcome in in_turn]
        assert [plain(outcome) for outcome in at_once] == [plain(outcome) for outcome in modelled]
        taken = [outcome.run_id for outcome in at_once if isinstance(outcome, SingletonTaken)]
        assert taken == [outcome.run_id for outcome in modelled if isinstance(outcome, SingletonTaken)]
        found = untied(everything(together, *range(1, 60)))
        assert found == untied(everything(apart, *range(1, 60)))
        assert found == untied(everything(memory, *range(1, 60)))
        clock.advance("25s")
    run_sync(together.close())
    run_sync(apart.close())


def test_the_runs_of_a_key_meet(open_store: Callable[[str], SqlitePersistence]) -> None:
    """The change-sets of the test above are accepted and refused for their keys, many of each."""
    store = open_store("store")
    outcomes = [outcome for seed in range(3) for outcome in commit(store, *Followers(seed).changes(60))]
    assert sum(isinstance(outcome, Committed) for outcome in outcomes) > 30
    assert sum(isinstance(outcome, SingletonTaken) for outcome in outcomes) > 3
    assert len(run_sync(store.list_due_timers(limit=MANY))) > 0
    run_sync(store.close())


def test_turns_of_many_tenants_are_forgotten() -> None:
    """Of more tenants than a store remembers, those whose turn was longest ago begin with their first key again."""
    turns = Turns()
    turns.serve("again", "k")
    for number in range(MOST_REMEMBERED - 1):
        turns.serve(f"t{number}", "k")
    turns.serve("again", "m")
    assert turns.laps_of_keys("t0") == ((behind("k"), b""), ("", "k"))
    turns.serve("new", "k")
    assert turns.laps_of_keys("t0") == (("", b""),)
    assert turns.laps_of_keys("again") == ((behind("m"), b""), ("", "m"))
    assert turns.rank("new") == (True, "new")
    assert turns.rank("o") == (False, "o")
