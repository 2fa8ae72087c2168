"""Plain steps are committed in one round trip, and what a store knows of a run is never believed once it is not so."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Final

import attrs
import psycopg
import pytest

from holdfast.change import Change, Committed, Fence, Requeue, Step
from holdfast.driving import run_sync
from holdfast.entities.queue import QueueLimits
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import Lease
from holdfast.errors import CommitUnknown, InvalidInput, LeaseLost
from holdfast.ports.persistence import Persistence
from holdfast.ports.retention import Terms
from holdfast.ports.work import LeaseRef
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.postgres import PostgresPersistence, applying, known, writes
from holdfast_adapters.postgres.statements import Statement
from holdfast_adapters.postgres.wave import COMMIT
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import (
    MANY,
    TTL,
    commit,
    created,
    ended,
    everything,
    header,
    job,
    key,
    moved,
    noted,
    run_id,
    stand,
    started,
    wanted,
)
from tests.adapters.fancy import plain
from tests.adapters.postgres.proxy import Cut, proxy
from tests.adapters.postgres.steps import GRANT, begun, step
from tests.adapters.postgres.test_waves import broken
from tests.postgres import bridged

AT_ONCE: Final = Terms(runs=timedelta(), results=timedelta(), operations=timedelta())


@attrs.frozen
class Three:
    """Two stores of one database, and the model of both."""

    one: Persistence
    other: Persistence
    model: Persistence
    native: PostgresPersistence
    clock: FakeClock

    def trips(self, *changes: Change) -> int:
        """Commit *changes* by the first store and return how many round trips that took."""
        before = self.native.access.traffic.trips
        at_once = commit(self.one, *changes)
        taken = self.native.access.traffic.trips - before
        modelled = [outcome for change in changes for outcome in commit(self.model, change)]
        assert [plain(outcome) for outcome in at_once] == [plain(outcome) for outcome in modelled]
        assert everything(self.one, 1, 2) == everything(self.model, 1, 2)
        return taken

    def elsewhere(self, act: Callable[[Persistence], object]) -> None:
        """Let the other store do what the model does."""
        act(self.other)
        act(self.model)


@pytest.fixture
def three(url: str, clock: FakeClock) -> Iterator[Three]:
    """Give opened stores."""
    native = PostgresPersistence(url, clock=clock, connections=2)
    stores = [bridged(native), bridged(PostgresPersistence(url, clock=clock, connections=2))]
    model = MemoryPersistence(clock=clock)
    for each in (*stores, model):
        run_sync(each.open())
    yield Three(stores[0], stores[1], model, native, clock)
    for each in stores:
        run_sync(each.close())


def test_plain_steps_take_one_trip(three: Three) -> None:
    """A store that has committed to a run last commits each further plain step of it in one round trip."""
    three.trips(*begun())
    assert [three.trips(step(at)) for at in range(5)] == [1] * 5
    three.trips(*begun(2))
    assert three.trips(step(5), step(0, number=2)) == 1


def last(at: int, *, number: int = 1, status: RunStatus = RunStatus.COMPLETED) -> Change:
    """Return the step that completes a stage and ends its run."""
    end = ended(number, status=status).step
    return attrs.evolve(step(at, number=number), step=end)


@pytest.mark.parametrize("status", [RunStatus.COMPLETED, RunStatus.FAILED])
def test_ends_take_one_trip(three: Three, status: RunStatus) -> None:
    """A run that nobody else heeds ends in one round trip too, with whatever else of it is still open."""
    three.trips(*begun())
    three.trips(step(0, beside=True))
    assert three.trips(last(1, status=status)) == 1
    assert three.trips(step(2)) > 1


def test_ends_of_children_are_told_to_their_parents(three: Three) -> None:
    """The end of a run that has a parent is judged with the parent locked, and both go on behind it."""
    three.trips(*begun())
    child = attrs.evolve(header(2), parent_id=run_id())
    three.trips(created(2, head=child), begun(2)[1])
    assert three.trips(step(0, number=2)) == 1
    assert three.trips(last(1, number=2)) > 1
    assert len(run_sync(three.one.list_due_timers(limit=MANY))) == 1
    assert three.trips(step(0)) == 1


def test_ends_of_singletons_pass_the_turn_on(three: Three) -> None:
    """The end of a run with a singleton key is judged with the key, and the next one of it has its turn."""
    for number in (1, 2):
        new = created(number)
        assert new.create is not None
        three.trips(attrs.evolve(new, create=attrs.evolve(new.create, singleton="only", queues_up=True)))
    three.trips(begun()[1])
    assert three.trips(step(0)) == 1
    assert three.trips(last(1)) > 1
    assert len(run_sync(three.one.list_due_timers(limit=MANY))) == 1


@pytest.mark.parametrize(
    "change",
    [
        attrs.evolve(step(2), settle=Requeue(delay=timedelta(), attempt=1)),
        attrs.evolve(step(2), fence=Fence(key=key("s2"), epoch=2)),
        attrs.evolve(step(2), fence=Fence(key=key("s2"), epoch=1, expired=True)),
        attrs.evolve(step(2), patch={"x": 1}),
        step(1),
        noted(),
        ended(),
    ],
    ids=["requeue", "epoch", "expired", "patch", "again", "note", "end"],
)
def test_whatever_else_is_judged_by_the_store(three: Three, change: Change) -> None:
    """What is no plain step, or would be refused, is judged by what the store holds, and steps go on behind it."""
    three.trips(*begun())
    three.trips(step(0))
    three.trips(step(1))
    assert three.trips(change) > 1
    three.trips(step(2))
    three.trips(step(3))


def _lease(store: Persistence) -> list[Lease]:
    return list(run_sync(store.lease(wanted())))


def _extend(store: Persistence) -> object:
    return run_sync(store.extend([LeaseRef(key=key("s2"), epoch=1)], ttl=2 * TTL))


def _limit(store: Persistence) -> None:
    run_sync(store.set_queue(QueueLimits(name="default", concurrency=1)))


def _begin_anew(store: Persistence) -> None:
    stand(store, ended())
    run_sync(store.prune(AT_ONCE, limit=MANY))
    # As many versions, and the same job.
    stand(store, created(), started(jobs=[job(key("s2"), grant=GRANT)]), noted(), noted())


def _prune(store: Persistence) -> None:
    stand(store, ended())
    run_sync(store.prune(AT_ONCE, limit=MANY))


#: What others do to a run, or to what its steps are judged by.
ACTS: Final[dict[str, Callable[[Persistence], object]]] = {
    "commits": lambda store: stand(store, noted()),
    "steps": lambda store: stand(store, step(2)),
    "leases": _lease,
    "pauses": lambda store: stand(store, moved(status=RunStatus.PAUSED)),
    "cancels": lambda store: stand(store, ended()),
    "fails": lambda store: stand(store, ended(status=RunStatus.FAILED)),
    "limits": _limit,
    "prunes": _prune,
    "begins anew": _begin_anew,
}


def stale(three: Three, act: Callable[[Persistence], object]) -> int:
    """Let the other store *act* on a run that the first one knows, and return how many trips its next step takes."""
    three.trips(*begun())
    three.trips(step(0, beside=True))
    assert three.trips(step(1)) == 1
    three.elsewhere(act)
    return three.trips(step(2))


@pytest.mark.parametrize("act", ACTS.values(), ids=ACTS)
def test_what_others_did_is_seen(three: Three, url: str, act: Callable[[Persistence], object]) -> None:
    """Whatever another store did, the next step is judged as if nothing had been known, and so are those behind it."""
    assert stale(three, act) > 1
    three.trips(step(3))
    three.trips(step(4))
    assert broken(url) == []


def test_what_no_step_is_judged_by_does_not_matter(three: Three) -> None:
    """An extended lease leaves the run what it was, and the step that settles it takes one round trip."""
    assert stale(three, _extend) == 1


@pytest.mark.parametrize("column", ["generation", "events", "active", "waiting"])
def test_runs_of_the_same_version_are_compared_too(three: Three, url: str, column: str) -> None:
    """A run that has its version, but not the rest of the row, is not believed to be the one that was committed to."""
    three.trips(*begun())
    three.trips(step(0))
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"UPDATE holdfast.run SET {column} = {column} + 10".encode())
    before = three.native.access.traffic.trips
    commit(three.one, step(1))
    assert three.native.access.traffic.trips - before > 1


def test_leases_that_were_taken_back_are_lost(three: Three) -> None:
    """A job that another store took back and leased anew is not settled under the lease that was."""
    three.trips(*begun())
    three.trips(step(0))
    three.clock.advance(2 * TTL)
    taken = Change(
        run_id=run_id(),
        fence=Fence(key=key("s1"), epoch=1, expired=True),
        settle=Requeue(delay=timedelta(), attempt=1),
    )
    three.elsewhere(lambda store: (stand(store, taken), _lease(store)))
    assert three.trips(step(1)) > 1


def test_leases_past_their_end_settle_in_one_trip(three: Three) -> None:
    """A lease that has ended and that nobody took back is settled like any other."""
    three.trips(*begun())
    three.trips(step(0))
    three.clock.advance(2 * TTL)
    assert three.trips(step(1)) == 1


def settle_what_changed(three: Three, url: str) -> None:
    """Change the job of a run behind everybody's back, and let nobody settle it."""
    three.trips(*begun())
    three.trips(step(0))
    for change in ("epoch = 2", "lease_until = NULL, due_at = 1"):
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"UPDATE holdfast.job SET {change}".encode())
        (outcome,) = commit(three.one, step(1))
        assert isinstance(outcome, LeaseLost)


def test_jobs_that_changed_unseen_are_not_settled(three: Three, url: str) -> None:
    """A job of another epoch is not settled, even if the version of its run tells of nothing."""
    settle_what_changed(three, url)


def test_undelivered_events_are_marked_again(three: Three) -> None:
    """Events of a step are delivered although another store has taken those before away, as far as the first knew."""

    def take(store: Persistence) -> list[int]:
        streams = run_sync(store.lease_streams(sink="log", limit=MANY, events=MANY, ttl=TTL))
        return [len(stream.events) for stream in streams]

    three.trips(*begun())
    three.trips(step(0))
    assert take(three.other) == take(three.model)
    three.clock.advance(2 * TTL)
    assert three.trips(step(1)) == 1
    assert take(three.other) == take(three.model) != []


def test_comparison_of_the_runs_is_what_shows_it(three: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the comparison of versions a step goes past a pause, which leaves neither an event nor another job."""
    for name in ("SAME_RUNS", "SAME_RUNS_TO_GRANT"):
        monkeypatch.setattr(applying, name, Statement("SELECT $1::bigint[], $2::text[]"))
    with pytest.raises(AssertionError):
        stale(three, ACTS["pauses"])


def test_look_at_the_limits_is_what_shows_them(three: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the look at the limits the test of them fails."""
    monkeypatch.setattr(applying, "SAME_CLOCK", Statement("SELECT coalesce($1::bigint, $2::bigint), $3::text[]"))
    with pytest.raises(AssertionError):
        stale(three, _limit)


def test_epochs_of_the_jobs_are_compared(three: Three, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the comparison of epochs the test of them fails."""
    careless = writes.FINISH_JOB.sql.decode().replace("AND j.epoch = v.epoch AND j.lease_until IS NOT NULL", "")
    monkeypatch.setattr(writes, "FINISH_JOB", Statement(careless))
    with pytest.raises(AssertionError):
        settle_what_changed(three, url)


def test_nothing_is_known_after_a_refusal_or_an_error(three: Three) -> None:
    """After a refusal, and after an error, a step is judged by what the store holds; the one behind it takes a trip."""
    three.trips(*begun())
    three.trips(step(0))
    three.trips(step(0))
    assert [three.trips(step(1)), three.trips(step(2))] == [2, 1]
    with pytest.raises(InvalidInput):
        commit(three.one, attrs.evolve(step(3), step=Step(jobs=(job(key("no\x00 text"), grant=GRANT),))))
    assert [three.trips(step(3)), three.trips(step(4))] == [2, 1]


def test_only_so_many_runs_are_known(three: Three, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of more runs than are remembered those that were committed to longest ago are judged by what the store holds."""
    monkeypatch.setattr(known, "MOST_RUNS", 1)
    for number in (1, 2):
        three.trips(*begun(number))
        three.trips(step(0, number=number))
    assert [three.trips(step(1, number=2)), three.trips(step(1)), three.trips(step(2))] == [1, 2, 1]


@pytest.mark.parametrize("how", [Cut.BEFORE, Cut.AFTER])
def test_step_whose_answer_is_lost_is_unknown(url: str, clock: FakeClock, how: Cut) -> None:
    """A connection lost while a step is under way leaves open whether it stands, and what comes next finds out."""

    async def main() -> None:
        async with proxy(url) as way:
            store = PostgresPersistence(way.url, clock=clock)
            await store.open()
            for change in (*begun(), step(0)):
                await store.commit([change])
            way.cut_at(COMMIT.name, how)
            with pytest.raises(CommitUnknown):
                await store.commit([step(1)])
            assert await store.is_settled(key("s1"), epoch=1) is (how is Cut.AFTER)
            (again,) = await store.commit([step(1)])
            assert isinstance(again, LeaseLost if how is Cut.AFTER else Committed)
            (outcome,) = await store.commit([step(2)])
            assert isinstance(outcome, Committed)
            await store.close()

    asyncio.run(main())
    assert broken(url) == []


def test_step_that_waits_for_a_lock_sees_what_it_waited_for(three: Three, url: str) -> None:
    """A step that waited for the lock of its run goes by the version that whoever had it has left."""
    three.trips(*begun())
    three.trips(step(0))
    with ThreadPoolExecutor(1) as pool:
        with psycopg.connect(url) as connection, psycopg.connect(url, autocommit=True) as looking:
            connection.execute("UPDATE holdfast.run SET version = version + 1, status = 'PAUSED'")
            waiting = pool.submit(commit, three.one, step(1))
            while not looking.execute("SELECT 1 FROM pg_locks WHERE NOT granted").fetchall():
                assert not waiting.done()
        (outcome,) = waiting.result()
    assert isinstance(outcome, Committed)
    assert (outcome.version, outcome.paused) == (5, True)
