"""Judging many change-sets together on Postgres gives what the memory store gives one by one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from holdfast.change import Change, Committed
from holdfast.driving import run_sync
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.postgres import PostgresPersistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import MANY, commit, everything, run_id
from tests.adapters.fancy import CHILDREN, LATER, RUNS, Fancy, plain, took, untied
from tests.postgres import empty_url, fresh_store

NUMBERS = (*RUNS, *LATER, *CHILDREN)


@pytest.mark.parametrize("seed", range(24))
def test_together_is_as_good_as_one_by_one_in_memory(clock: FakeClock, seed: int) -> None:
    """The same change-sets have the same outcomes, and leave the same, in memory one by one and on Postgres at once."""
    fancy = Fancy(seed)
    url, together, memory = empty_url(), fresh_store(clock), MemoryPersistence(clock=clock)
    run_sync(memory.open())
    for changes in (fancy.changes(60), fancy.more(40), fancy.more(40)):
        at_once = commit(together, *changes)
        modelled = [outcome for change in changes for outcome in commit(memory, change)]
        assert [plain(outcome) for outcome in at_once] == [plain(outcome) for outcome in modelled]
        assert untied(everything(together, *NUMBERS)) == untied(everything(memory, *NUMBERS))
        assert broken(url) == []
        clock.advance("1s")
        assert took(together) == took(memory)
    run_sync(together.close())


@pytest.mark.parametrize("seed", range(6))
def test_processes_that_meet_leave_every_run_whole(seed: int, url: str) -> None:
    """What processes commit at the same moment to the same runs stands one after the other, each of it whole."""
    fancy = Fancy(seed)

    async def main() -> list[str]:
        stores = [PostgresPersistence(url) for _ in range(4)]
        for store in stores:
            await store.open()
        stood = await _in_turn(stores[0], fancy.changes(0))
        for each in await asyncio.gather(*(_in_turn(store, fancy.more(60)) for store in stores)):
            stood += each
        for number in NUMBERS:
            run = await stores[0].find_run(run_id(number))
            assert stood.count(run_id(number)) == (0 if run is None else run.version)
            events = await stores[0].list_events(run_id(number), limit=MANY)
            assert [event.number for event in events] == list(range(1, 1 + (0 if run is None else run.events)))
            assert [event.at for event in events] == sorted(event.at for event in events)
        for store in stores:
            await store.close()
        return stood

    assert len(asyncio.run(main())) > 20
    assert broken(url) == []


async def _in_turn(store: PostgresPersistence, changes: Sequence[Change]) -> list[str]:
    """Commit *changes* one after the other and return the runs of those that stand."""
    stood: list[str] = []
    for change in changes:
        (outcome,) = await store.commit([change])
        if isinstance(outcome, Committed):
            stood.append(change.run_id)
    return stood


def broken(url: str) -> list[Any]:
    """Return runs whose counted jobs are not those of their rows, and jobs that are in no place or in two."""
    with psycopg.connect(url, autocommit=True) as connection:
        return [
            *connection.execute("""
                SELECT r.id, r.active, r.waiting FROM holdfast.run r CROSS JOIN LATERAL (
                    SELECT count(*) FILTER (WHERE j.status <> 'WAITING') active,
                        count(*) FILTER (WHERE j.status = 'WAITING') waiting
                    FROM holdfast.job j WHERE j.run = r.n
                ) found
                WHERE (r.active, r.waiting) <> (found.active, found.waiting)"""),
            *connection.execute("""
                SELECT j.* FROM holdfast.job j JOIN holdfast.run r ON r.n = j.run
                WHERE num_nonnulls(j.due_at, j.held_due_at, j.lease_until) <> (j.status <> 'WAITING')::integer
                    OR (j.held_due_at IS NOT NULL AND r.status <> 'PAUSED')
                    OR (j.due_at IS NOT NULL AND r.status = 'PAUSED')"""),
            *connection.execute("""
                SELECT j.run FROM holdfast.job j
                JOIN holdfast.stage s USING (run, stage_id, generation, turn, item)"""),
            *connection.execute("""
                SELECT t.* FROM holdfast.timer t JOIN holdfast.run r ON r.n = t.run
                WHERE r.status IN ('COMPLETED', 'FAILED', 'CANCELLED')"""),
        ]


def test_one_batch_of_more_than_fits_is_taken_whole(clock: FakeClock) -> None:
    """A call with more change-sets than a transaction usually takes is one transaction all the same."""
    store = fresh_store(clock)
    changes = Fancy(1).changes(500)
    assert len(commit(store, *changes)) == len(changes)
    assert run_sync(store.next_due()) == timedelta()
    run_sync(store.close())
