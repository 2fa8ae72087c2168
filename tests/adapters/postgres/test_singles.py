"""Of the runs that share a singleton key one goes on at a time, whoever creates, ends and lets go at once."""

from __future__ import annotations

import asyncio

import attrs
import psycopg
import pytest

from holdfast.change import Change, RunPatch, Step
from holdfast.entities.run import RunStatus
from holdfast.errors import SingletonTaken, UnusableTransaction
from holdfast_adapters.postgres import PostgresPersistence
from holdfast_adapters.postgres.singles import orderly, take_singles
from holdfast_testing.contracts.samples import KNOWN, MANY, run_id
from holdfast_testing.contracts.singletons import cancelled, let_go, single
from tests.adapters.postgres.test_locks import deadlocks, stand, two_stores


def began(number: int) -> Change:
    """Return the change-set that starts a run which has nothing to do."""
    return attrs.evolve(let_go(number), fired=None, step=Step(run=RunPatch(status=RunStatus.RUNNING)))


async def rest(store: PostgresPersistence) -> list[str]:
    """Return the runs that nothing will ever advance."""
    return list(await store.list_orphans(limit=MANY))


def test_of_two_that_are_created_at_once_one_goes_on(url: str) -> None:
    """Of runs of one key that two processes create at once one may go on; the other queues up or is refused."""

    async def main() -> None:
        async with two_stores(url) as stores:
            for number in range(1, 41, 2):
                queues_up, name = number % 4 == 1, f"s{number}"
                made = [single(number + side, queues_up=queues_up, name=name) for side in range(2)]
                outcomes = [
                    outcome
                    for (outcome,) in await asyncio.gather(
                        *(store.commit([each]) for store, each in zip(stores, made, strict=True))
                    )
                ]
                refused = [outcome for outcome in outcomes if isinstance(outcome, SingletonTaken)]
                found = await stores[0].list_singletons(tenant="acme", workflow_id="review", key=name)
                assert len(refused) == (0 if queues_up else 1)
                assert [run.held for run in found].count(False) == 1
                assert len(found) == 2 - len(refused)

    asyncio.run(main())


def test_no_turn_is_lost_between_an_end_and_a_creation(url: str) -> None:
    """Whichever comes first, the end of a run or the creation of the next, that one goes on."""

    async def main() -> None:
        async with two_stores(url) as (one, other):
            for number in range(1, 61, 2):
                name = f"s{number}"
                await stand(one, [single(number, name=name)])
                await asyncio.gather(stand(one, [cancelled(number)]), stand(other, [single(number + 1, name=name)]))
            assert await rest(one) == []
            told = {timer.run_id for timer in await one.list_due_timers(limit=MANY)}
            free = {run.id for run in await one.list_pending(limit=MANY, known=KNOWN)}
            assert told | free == {run_id(number) for number in range(2, 61, 2)}

    asyncio.run(main())


def test_runs_of_few_keys_follow_each_other(url: str) -> None:
    """Two processes that let go, start and cancel runs of the same keys in opposite orders bring all to their end."""
    before = deadlocks(url)
    number = 60

    async def main() -> None:
        async with two_stores(url) as stores:
            made = [single(each, name=f"s{each % 3}") for each in range(1, number + 1)]
            await asyncio.gather(
                *(store.commit(order) for store, order in zip(stores, (made[::2], made[1::2][::-1]), strict=True))
            )

            async def work(store: PostgresPersistence, *, backwards: bool) -> None:
                while True:
                    counts = await store.count()
                    if sum(number for status, number in counts.runs.items() if not status.is_terminal) == 0:
                        return
                    due = [int(timer.run_id[-12:]) for timer in await store.list_due_timers(limit=MANY)]
                    free = [int(run.id[-12:]) for run in await store.list_pending(limit=MANY, known=KNOWN)]
                    changes = [let_go(each) for each in due if each % 10 or backwards]
                    changes += [change for each in free for change in (began(each), cancelled(each))]
                    # Some are cancelled while they are held.
                    changes += [cancelled(each) for each in due if not each % 10 and not backwards]
                    await store.commit(changes[::-1] if backwards else changes)
                    found = [
                        run
                        for key in range(3)
                        for run in await store.list_singletons(tenant="acme", workflow_id="review", key=f"s{key}")
                    ]
                    active = [run.singleton for run in found if not run.held]
                    assert len(active) == len(set(active))

            async with asyncio.timeout(30):
                await asyncio.gather(
                    *(work(store, backwards=side) for store, side in zip(stores, (False, True), strict=True))
                )
            assert await rest(stores[0]) == []

    asyncio.run(main())
    assert deadlocks(url) == before


def test_the_database_itself_knows_of_one_that_goes_on(url: str) -> None:
    """That a second run of a key goes on is refused by a unique index, whatever else may fail."""

    async def main() -> None:
        async with two_stores(url) as (store, _):
            await stand(store, [single(1), single(2)])

    asyncio.run(main())
    with psycopg.connect(url) as connection, pytest.raises(psycopg.errors.UniqueViolation):
        connection.execute("UPDATE holdfast.run SET held = false WHERE id = %s", (run_id(2),))


def test_a_key_is_not_decided_on_by_what_was_long_ago() -> None:
    """In a transaction that does not see what others commit meanwhile no decision on a key is made."""
    with pytest.raises(UnusableTransaction):
        take_singles([[], [(None, "repeatable read")], [], []])


def test_what_was_set_before_is_set_again(url: str) -> None:
    """What lets a statement read an index in order leaves the settings of the transaction as they were."""
    read = "SELECT current_setting('enable_indexscan'), current_setting('enable_bitmapscan')"
    with psycopg.connect(url) as connection:
        for before in ("off", "on"):
            connection.execute("SELECT set_config('enable_indexscan', %s, true)", (before,))
            first, last = orderly()
            connection.execute(first[0].sql)
            assert connection.execute(read).fetchone() == ("on", "off")
            connection.execute(last[0].sql)
            assert connection.execute(read).fetchone() == (before, "on")
