"""The contract of the Work port: one test for each sentence of its docstrings, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import attrs

from holdfast.change import ZERO, Change, Finish, Grant, Requeue, Step
from holdfast.driving import run_sync
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import Lease, StageStatus
from holdfast.errors import LeaseLost
from holdfast.events import EventType
from holdfast.ports.outbox import Delivery
from holdfast.ports.persistence import Persistence
from holdfast.ports.work import KnownWorkflow, LeaseRef
from holdfast_testing.clock import START, FakeClock
from holdfast_testing.contracts.samples import (
    HOUR,
    KNOWN,
    MANY,
    SECOND,
    SINK,
    TTL,
    answered,
    begin,
    completed,
    created,
    deadline,
    ended,
    events_of,
    everything,
    header,
    job,
    key,
    moved,
    noted,
    payload,
    refuse,
    run_id,
    settled,
    stand,
    started,
    suspended,
    take,
    take_all,
    the_run,
    the_stage,
    wait_for,
    wanted,
)

#: How many rows nobody here may take stand in front of one that somebody may.
CROWD: Final = 1_000
TICK: Final = timedelta(microseconds=1)
READY_ONLY: Final = frozenset({StageStatus.READY})
SUSPENDED_ONLY: Final = frozenset({StageStatus.SUSPENDED})


def begin_with(persistence: Persistence, number: int, *, priority: int = 5, delay: timedelta = ZERO) -> None:
    """Create and start the *number*-th run with one job of that priority and delay."""
    head = header(number, priority=priority)
    stand(
        persistence,
        created(head=head),
        started(number, head=head, jobs=[job(key(run=number), head=head, delay=delay)]),
    )


def ref(lease: Lease) -> LeaseRef:
    """Return the identity of a lease."""
    return LeaseRef(key=lease.key, epoch=lease.epoch)


def numbers(leases: Sequence[Lease]) -> list[int]:
    """Return the numbers of the runs that were leased from."""
    return [int(lease.key.run_id[-12:]) for lease in leases]


class WorkContract:
    """What every store must do when it hands out work."""

    def _pending(
        self, persistence: Persistence, *, limit: int = MANY, known: frozenset[KnownWorkflow] = KNOWN
    ) -> list[int]:
        return [int(run.id[-12:]) for run in run_sync(persistence.list_pending(limit=limit, known=known))]

    def _expired(self, persistence: Persistence, *, limit: int = MANY) -> list[tuple[str, int]]:
        return [(lease.key.stage_id, lease.epoch) for lease in run_sync(persistence.list_expired(limit=limit))]

    def _timers(self, persistence: Persistence, *, limit: int = MANY) -> list[tuple[str, str]]:
        return [(timer.run_id, timer.id) for timer in run_sync(persistence.list_due_timers(limit=limit))]

    def _next_due(self, persistence: Persistence) -> timedelta | None:
        return run_sync(persistence.next_due())

    # list_pending

    def test_pending_are_the_pending_runs(self, persistence: Persistence) -> None:
        """Only PENDING runs are listed, as they are, and listing changes nothing."""
        stand(persistence, created(1), created(2), started(2), created(3))
        before = everything(persistence, 1, 2, 3)
        assert list(run_sync(persistence.list_pending(limit=MANY, known=KNOWN))) == [
            the_run(persistence, 1),
            the_run(persistence, 3),
        ]
        assert everything(persistence, 1, 2, 3) == before
        stand(persistence, started(1), started(3))
        assert self._pending(persistence) == []

    def test_parity_054_nothing_pending(self, persistence: Persistence) -> None:
        """A store without pending runs lists none."""
        assert self._pending(persistence) == []

    def test_pending_are_at_most_limit(self, persistence: Persistence) -> None:
        """At most *limit* runs are listed, the first ones."""
        stand(persistence, *(created(number) for number in range(1, 6)))
        assert self._pending(persistence, limit=0) == []
        assert self._pending(persistence, limit=2) == [1, 2]
        assert self._pending(persistence, limit=5) == [1, 2, 3, 4, 5]

    def test_pending_are_of_known_versions(self, persistence: Persistence) -> None:
        """Only runs of the known workflow versions are listed: id and version must both match."""
        heads = [header(1), header(2, version="2"), header(3, workflow="x"), header(4, workflow="x", version="2")]
        stand(persistence, *(created(head=head) for head in heads))
        assert self._pending(persistence) == [1]
        assert self._pending(persistence, known=frozenset({("review", "2"), ("x", "1.0.0")})) == [2, 3]
        assert self._pending(persistence, known=frozenset()) == []

    def test_parity_056_pending_by_priority_then_age(self, persistence: Persistence, clock: FakeClock) -> None:
        """Higher priority comes first, negative ones last, then the older run."""
        for number, priority in ((5, 0), (4, 10), (3, -3), (2, 10), (1, 0)):
            stand(persistence, created(head=header(number, priority=priority)))
            clock.advance("1s")
        assert self._pending(persistence) == [4, 2, 5, 1, 3]

    def test_pending_of_one_instant_are_by_id(self, persistence: Persistence) -> None:
        """Runs of one priority and instant are listed in order of id."""
        stand(persistence, *(created(number) for number in (3, 1, 2)))
        assert self._pending(persistence) == [1, 2, 3]

    def test_unknown_pending_runs_hide_no_known_one(self, persistence: Persistence) -> None:
        """A crowd of older, more urgent runs of unknown workflows does not hide a known one."""
        crowd = [created(head=header(number, workflow="x", priority=9)) for number in range(1, CROWD + 1)]
        run_sync(persistence.commit(crowd))
        stand(persistence, created(CROWD + 1))
        assert self._pending(persistence, limit=1) == [CROWD + 1]

    # lease

    def test_nothing_to_lease(self, persistence: Persistence) -> None:
        """An empty store, and one whose runs are all pending, grants nothing."""
        assert take_all(persistence) == []
        stand(persistence, created())
        assert take_all(persistence) == []

    def test_lease_at_most_limit(self, persistence: Persistence) -> None:
        """At most *limit* leases are granted in one call; the rest stays for the next."""
        for number in range(1, 6):
            begin(persistence, run=number)
        assert take_all(persistence, wanted(limit=0)) == []
        assert numbers(take_all(persistence, wanted(limit=2))) == [1, 2]
        assert numbers(take_all(persistence, wanted(limit=2))) == [3, 4]
        assert numbers(take_all(persistence, wanted(limit=2))) == [5]
        assert take_all(persistence, wanted(limit=2)) == []

    def test_parity_121_highest_priority_first(self, persistence: Persistence) -> None:
        """Higher priority comes first; equal ones of one instant come in the order they were made."""
        for number, priority in ((1, 0), (2, 10), (3, -1), (4, 10), (5, 0)):
            begin_with(persistence, number, priority=priority)
        assert numbers(take_all(persistence)) == [2, 4, 1, 5, 3]

    def test_parity_121_longest_due_first(self, persistence: Persistence, clock: FakeClock) -> None:
        """Among equal priorities the job that has been due the longest comes first, whenever it was made."""
        begin_with(persistence, 1, delay=3 * SECOND)
        begin_with(persistence, 2, delay=SECOND)
        clock.advance("2s")
        begin_with(persistence, 3)
        clock.advance("2s")
        begin_with(persistence, 4)
        assert numbers(take_all(persistence)) == [2, 3, 1, 4]

    def test_a_requeued_job_goes_to_the_back(self, persistence: Persistence, clock: FakeClock) -> None:
        """A job that comes back waits behind those that have been due longer."""
        begin(persistence, run=1)
        begin(persistence, run=2)
        clock.advance("1s")
        first = take(persistence, key(run=1))
        stand(persistence, settled(first, Requeue(delay=ZERO, attempt=0)))
        assert numbers(take_all(persistence)) == [2, 1]

    def test_order_holds_across_queues_workflows_and_statuses(self, persistence: Persistence, clock: FakeClock) -> None:
        """One order holds over everything that is eligible."""
        suspended(persistence, delay=2 * SECOND)
        clock.advance("1s")
        stand(
            persistence,
            created(2),
            started(2, jobs=[job(key(run=2), queue="gpu")]),
            created(head=header(3, workflow="x")),
            started(3, jobs=[job(key(run=3), head=header(3, workflow="x"))]),
        )
        clock.advance("1s")
        begin_with(persistence, 4, priority=9)
        begin_with(persistence, 5)
        request = wanted(known=KNOWN | {("x", "1.0.0")}, queues=frozenset({"default", "gpu"}))
        assert numbers(take_all(persistence, request)) == [4, 2, 3, 1, 5]

    def test_parity_122_not_before_it_is_due(self, persistence: Persistence, clock: FakeClock) -> None:
        """A job that is not due yet is not granted, whatever its priority, and is at its instant."""
        begin_with(persistence, 1, priority=99, delay=SECOND)
        begin_with(persistence, 2)
        assert numbers(take_all(persistence)) == [2]
        clock.advance(SECOND - TICK)
        assert take_all(persistence) == []
        clock.advance(TICK)
        assert numbers(take_all(persistence)) == [1]

    def test_a_suspended_job_is_eligible_when_its_poll_is_due(self, persistence: Persistence, clock: FakeClock) -> None:
        """A suspended job is granted at its poll's instant, not before, and not while it is leased."""
        suspended(persistence)
        clock.advance(SECOND - TICK)
        assert take_all(persistence) == []
        clock.advance(TICK)
        (poll,) = take_all(persistence)
        assert poll.status is StageStatus.SUSPENDED
        assert take_all(persistence) == []

    def test_only_known_workflow_versions(self, persistence: Persistence) -> None:
        """A job of an unknown workflow or version is left alone: id and version must both match."""
        for head in (header(1), header(2, version="2"), header(3, workflow="x")):
            number = int(head.id[-12:])
            stand(persistence, created(head=head), started(number, head=head, jobs=[job(key(run=number), head=head)]))
        assert take_all(persistence, wanted(known=frozenset())) == []
        assert take_all(persistence, wanted(known=frozenset({("x", "2")}))) == []
        assert numbers(take_all(persistence)) == [1]
        assert numbers(take_all(persistence, wanted(known=frozenset({("x", "1.0.0"), ("review", "2")})))) == [2, 3]

    def test_only_wanted_queues(self, persistence: Persistence) -> None:
        """A job of another queue is left alone."""
        stand(persistence, created(), started(jobs=[job(key("a")), job(key("b"), queue="gpu")]))
        (lease,) = take_all(persistence, wanted(queues=frozenset({"gpu", "none"})))
        assert (lease.key, lease.queue) == (key("b"), "gpu")
        assert take_all(persistence, wanted(queues=frozenset())) == []
        (lease,) = take_all(persistence)
        assert (lease.key, lease.queue) == (key("a"), "default")

    def test_only_wanted_statuses(self, persistence: Persistence, clock: FakeClock) -> None:
        """A request may ask for jobs to execute, jobs to poll, or none."""
        suspended(persistence)
        clock.advance("1s")
        begin(persistence, run=2)
        assert take_all(persistence, wanted(statuses=frozenset())) == []
        assert numbers(take_all(persistence, wanted(statuses=READY_ONLY))) == [2]
        assert numbers(take_all(persistence, wanted(statuses=SUSPENDED_ONLY))) == [1]

    def test_parity_123_a_ready_job_becomes_running(self, persistence: Persistence, clock: FakeClock) -> None:
        """A leased READY job is RUNNING, held by the worker until *ttl* from now, its epoch and attempt risen by 1."""
        begin(persistence)
        clock.advance("1s")
        (lease,) = take_all(persistence, wanted(worker="w7"))
        assert (lease.key, lease.status, lease.worker) == (key(), StageStatus.RUNNING, "w7")
        assert (lease.epoch, lease.attempt, lease.max_attempts) == (1, 1, 3)
        assert (lease.state, lease.overdue, lease.run) == (None, False, header())
        stage = the_stage(persistence)
        assert (stage.status, stage.epoch, stage.attempt, stage.worker) == (StageStatus.RUNNING, 1, 1, "w7")
        assert (stage.lease_until, stage.started_at, stage.due_at) == (START + SECOND + TTL, START + SECOND, None)

    def test_a_lease_tells_how_its_job_came_to_be(self, persistence: Persistence) -> None:
        """The way, the depth and the origin of a job come back with its lease and with its instance."""
        new = attrs.evolve(job(), via=("b", "a"), depth=7, origin=3)
        stand(persistence, created(), started(jobs=[new, job(key("b"))]))
        lease, plain = take_all(persistence)
        assert (lease.via, lease.depth, lease.origin) == (("b", "a"), 7, 3)
        assert (plain.via, plain.depth, plain.origin) == ((), 1, 1)
        stand(persistence, completed(lease))
        stage = the_stage(persistence)
        assert (stage.via, stage.depth, stage.origin) == (("b", "a"), 7, 3)

    def test_a_waiting_job_is_not_eligible(self, persistence: Persistence, clock: FakeClock) -> None:
        """A WAITING job is not granted, by name or otherwise, before one of its waits has ended."""
        begin(persistence)
        wait_for(persistence)
        clock.advance(HOUR)
        assert take_all(persistence) == []
        assert run_sync(persistence.lease_one(key(), worker="w", ttl=TTL)) is None
        stand(persistence, answered())
        assert take_all(persistence, wanted(statuses=SUSPENDED_ONLY)) == []
        assert numbers(take_all(persistence)) == [1]

    def test_an_answered_job_goes_to_the_back(self, persistence: Persistence, clock: FakeClock) -> None:
        """A job that was answered is due since the answer, not since it was made."""
        begin(persistence, run=1)
        wait_for(persistence)
        begin(persistence, run=2)
        clock.advance("1s")
        stand(persistence, answered())
        assert numbers(take_all(persistence)) == [2, 1]

    def test_jobs_of_a_paused_run_hide_no_other(self, persistence: Persistence) -> None:
        """A crowd of more urgent jobs in a paused run does not hide one of another run."""
        urgent = header(1, priority=9)
        jobs = [job(key(item=item), head=urgent) for item in range(CROWD)]
        stand(persistence, created(head=urgent), started(head=urgent, jobs=jobs), moved(status=RunStatus.PAUSED))
        begin(persistence, run=2)
        assert numbers(take_all(persistence, wanted(limit=1))) == [2]

    def test_a_started_event_is_appended_for_a_ready_job(self, persistence: Persistence, clock: FakeClock) -> None:
        """The grant on a READY job appends `stage.started` with the attempt and the worker."""
        begin(persistence)
        clock.advance("1s")
        take_all(persistence, wanted(worker="w7"))
        event = events_of(persistence)[-1]
        assert (event.type, event.key, event.at) == (EventType.STAGE_STARTED, key(), START + SECOND)
        assert event.data == {"attempt": 1, "worker": "w7"}
        assert event.number == the_run(persistence).events == 4

    def test_a_suspended_job_stays_suspended(self, persistence: Persistence, clock: FakeClock) -> None:
        """A leased SUSPENDED job stays SUSPENDED, without an event; its poll is an attempt that begins now."""
        suspended(persistence)
        clock.advance("1s")
        told = len(events_of(persistence))
        (lease,) = take_all(persistence, wanted(worker="w7"))
        assert (lease.status, lease.epoch, lease.attempt) == (StageStatus.SUSPENDED, 3, 1)
        assert lease.state == payload('{"batch":"b1"}')
        assert len(events_of(persistence)) == told
        stage = the_stage(persistence)
        assert (stage.status, stage.worker, stage.due_at) == (StageStatus.SUSPENDED, "w7", None)
        assert (stage.lease_until, stage.started_at) == (START + SECOND + TTL, START + SECOND)

    def test_the_version_rises_for_each_job(self, persistence: Persistence, clock: FakeClock) -> None:
        """The version of a run rises by 1 for each of its jobs that is leased, suspended ones too."""
        begin(persistence, "a", "b", "c")
        version = the_run(persistence).version
        take_all(persistence, wanted(limit=2))
        assert the_run(persistence).version == version + 2
        take_all(persistence)
        assert the_run(persistence).version == version + 3
        take_all(persistence)
        assert the_run(persistence).version == version + 3

    def test_the_version_rises_for_a_poll(self, persistence: Persistence, clock: FakeClock) -> None:
        """The grant on a suspended job makes the run's version rise as well."""
        suspended(persistence)
        clock.advance("1s")
        version = the_run(persistence).version
        take(persistence)
        assert the_run(persistence).version == version + 1

    def test_two_callers_never_get_the_same_job(self, persistence: Persistence) -> None:
        """Workers that lease in turn get all jobs between them and none twice."""
        stand(persistence, created(), started(jobs=[job(key(item=item)) for item in range(30)]))
        got = [take_all(persistence, wanted(worker=f"w{turn}", limit=4)) for turn in range(10)]
        items = [lease.key.item for leases in got for lease in leases]
        assert sorted(items) == list(range(30))

    def test_a_lease_past_its_end_is_not_granted_anew(self, persistence: Persistence, clock: FakeClock) -> None:
        """A job whose lease is past its end is not eligible until somebody takes it back."""
        begin(persistence)
        stale = take(persistence)
        clock.advance(HOUR)
        assert take_all(persistence) == []
        stand(persistence, settled(stale, Requeue(delay=ZERO, attempt=1), expired=True))
        assert len(take_all(persistence)) == 1

    def test_parity_119_a_released_job_goes_to_any_worker(self, persistence: Persistence) -> None:
        """A job that was handed back is granted to any worker, complete and at its old priority."""
        begin_with(persistence, 1, priority=7)
        begin_with(persistence, 2, priority=6)
        first = take(persistence, worker="w1")
        stand(persistence, settled(first, Requeue(delay=ZERO, attempt=0)))
        (second, _) = take_all(persistence, wanted(worker="w2"))
        assert second == attrs.evolve(first, worker="w2", epoch=first.epoch + 2)

    def test_unclaimable_jobs_hide_no_claimable_one(self, persistence: Persistence, clock: FakeClock) -> None:
        """A crowd of older, more urgent jobs that nobody here may take does not hide one that somebody may."""
        strange = header(1, workflow="x", priority=9)
        known = header(2, priority=9)
        jobs = [job(key(item=item), head=strange) for item in range(CROWD)]
        others = [job(key(run=2, item=item), head=known, queue="gpu") for item in range(CROWD)]
        later = [job(key("b", run=2, item=item), head=known, delay=HOUR) for item in range(CROWD)]
        stand(
            persistence,
            created(head=strange),
            started(head=strange, jobs=jobs),
            created(head=known),
            started(2, head=known, jobs=[*others, *later]),
        )
        clock.advance("1s")
        begin_with(persistence, 3, priority=-9)
        assert numbers(take_all(persistence, wanted(limit=1))) == [3]

    # lease_one

    def test_lease_one_grants_exactly_this_job(self, persistence: Persistence, clock: FakeClock) -> None:
        """The named job is granted as `lease` would, whatever else is more urgent."""
        begin(persistence, "a", "b")
        clock.advance("1s")
        lease = run_sync(persistence.lease_one(key("b"), worker="w7", ttl=TTL))
        assert lease is not None
        assert (lease.key, lease.status, lease.worker) == (key("b"), StageStatus.RUNNING, "w7")
        assert (lease.epoch, lease.attempt, lease.run) == (1, 1, header())
        assert the_stage(persistence, key("b")).lease_until == START + SECOND + TTL
        assert the_run(persistence).version == 3
        assert events_of(persistence)[-1].data == {"attempt": 1, "worker": "w7"}
        assert the_stage(persistence).status is StageStatus.READY

    def test_lease_one_is_of_any_queue_and_workflow(self, persistence: Persistence) -> None:
        """The named job is granted in whatever queue it stands."""
        head = header(workflow="x", version="9")
        stand(persistence, created(head=head), started(head=head, jobs=[job(head=head, queue="gpu")]))
        assert take(persistence).queue == "gpu"

    def test_lease_one_polls(self, persistence: Persistence, clock: FakeClock) -> None:
        """A suspended job whose poll is due is granted by name."""
        suspended(persistence)
        clock.advance("1s")
        assert take(persistence).status is StageStatus.SUSPENDED

    def test_lease_one_of_what_is_not_eligible(self, persistence: Persistence, clock: FakeClock) -> None:
        """None is returned for a job that is unknown, delayed, leased, past its lease, or done; nothing changes."""
        stand(persistence, created(), started(jobs=[job(key("a")), job(key("b"), delay=HOUR), job(key("c"))]))
        take(persistence)
        stand(persistence, completed(take(persistence, key("c"))))
        clock.advance(TTL)
        before = everything(persistence)
        for at in (key("a"), key("b"), key("c"), key("d"), key(run=2), key("b", item=1)):
            assert run_sync(persistence.lease_one(at, worker="w", ttl=TTL)) is None
        assert everything(persistence) == before

    def test_lease_one_of_a_poll_that_is_not_due(self, persistence: Persistence) -> None:
        """A suspended job is not granted by name before its poll is due."""
        suspended(persistence)
        assert run_sync(persistence.lease_one(key(), worker="w", ttl=TTL)) is None

    # extend

    def test_parity_120_extend_moves_the_end(self, persistence: Persistence, clock: FakeClock) -> None:
        """An extended lease ends *ttl* from now; another one ends as before."""
        begin(persistence, "a", "b")
        kept, _ = take(persistence, key("a")), take(persistence, key("b"))
        clock.advance("20s")
        assert list(run_sync(persistence.extend([ref(kept)], ttl=TTL))) == []
        assert the_stage(persistence).lease_until == START + 20 * SECOND + TTL
        clock.advance("10s")
        assert self._expired(persistence) == [("b", 1)]
        clock.advance("20s")
        assert self._expired(persistence) == [("b", 1), ("a", 1)]

    def test_extend_may_shorten(self, persistence: Persistence, clock: FakeClock) -> None:
        """The new end counts from now, even when it comes before the old one."""
        begin(persistence)
        run_sync(persistence.extend([ref(take(persistence, ttl=HOUR))], ttl=SECOND))
        clock.advance("1s")
        assert self._expired(persistence) == [("a", 1)]

    def test_extend_a_poll(self, persistence: Persistence, clock: FakeClock) -> None:
        """The lease on a suspended job is extended like any other."""
        suspended(persistence)
        clock.advance("1s")
        poll = take(persistence)
        clock.advance("20s")
        assert list(run_sync(persistence.extend([ref(poll)], ttl=TTL))) == []
        clock.advance("20s")
        assert self._expired(persistence) == []

    def test_extend_tells_what_is_lost(self, persistence: Persistence) -> None:
        """Lost are leases whose job is gone, not leased, or has another epoch; they come in the order given."""
        begin(persistence, "held", "done", "back", "again")
        held, done, back, again = (take(persistence, key(name)) for name in ("held", "done", "back", "again"))
        stand(persistence, completed(done))
        stand(persistence, settled(back, Requeue(delay=HOUR, attempt=0)))
        stand(persistence, settled(again, Requeue(delay=ZERO, attempt=0)))
        fresh = take(persistence, key("again"), worker="other")
        unknown = LeaseRef(key=key("unknown"), epoch=1)
        before = the_stage(persistence, key("again"))
        lost = run_sync(persistence.extend([ref(done), ref(held), unknown, ref(again), ref(back)], ttl=HOUR))
        assert list(lost) == [ref(done), unknown, ref(again), ref(back)]
        assert the_stage(persistence, key("again")) == before
        assert the_stage(persistence, key("held")).lease_until == START + HOUR
        assert the_stage(persistence, key("back")).lease_until is None
        assert list(run_sync(persistence.extend([ref(fresh)], ttl=HOUR))) == []

    def test_extend_after_the_run_ended(self, persistence: Persistence) -> None:
        """The leases of a run that ended are lost."""
        begin(persistence)
        lease = take(persistence)
        stand(persistence, ended())
        assert list(run_sync(persistence.extend([ref(lease)], ttl=TTL))) == [ref(lease)]

    def test_extend_nothing(self, persistence: Persistence) -> None:
        """No leases are no lost leases."""
        assert list(run_sync(persistence.extend([], ttl=TTL))) == []

    def test_extend_past_the_end(self, persistence: Persistence, clock: FakeClock) -> None:
        """A lease past its end that nobody took back is extended and no longer expired."""
        begin(persistence)
        lease = take(persistence)
        clock.advance(HOUR)
        assert list(run_sync(persistence.extend([ref(lease)], ttl=TTL))) == []
        assert self._expired(persistence) == []
        stand(persistence, completed(lease))

    def test_extend_after_it_was_taken_back(self, persistence: Persistence, clock: FakeClock) -> None:
        """A lease that the reaper took back is lost."""
        begin(persistence)
        lease = take(persistence)
        clock.advance(TTL)
        stand(persistence, settled(lease, Requeue(delay=ZERO, attempt=1), expired=True))
        assert list(run_sync(persistence.extend([ref(lease)], ttl=TTL))) == [ref(lease)]
        assert the_stage(persistence).lease_until is None

    def test_extend_changes_nothing_that_a_decision_reads(self, persistence: Persistence) -> None:
        """An extension leaves the run's version, events, epoch and attempt as they were."""
        begin(persistence)
        lease = take(persistence)
        run, stage, told = the_run(persistence), the_stage(persistence), events_of(persistence)
        run_sync(persistence.extend([ref(lease)], ttl=HOUR))
        assert (the_run(persistence), events_of(persistence)) == (run, told)
        assert the_stage(persistence) == attrs.evolve(stage, lease_until=START + HOUR)

    # list_expired

    def test_parity_118_expired_are_leases_past_their_end(self, persistence: Persistence, clock: FakeClock) -> None:
        """Only leases whose end has come are listed; ready, suspended, done and younger ones are not."""
        begin(persistence, "a", "b", "ready", "done", "suspended")
        take(persistence, key("a"))
        stand(persistence, completed(take(persistence, key("done"))))
        stand(persistence, settled(take(persistence, key("suspended")), Requeue(delay=ZERO, attempt=0)))
        clock.advance("1s")
        take(persistence, key("b"))
        clock.advance(TTL - SECOND - TICK)
        assert self._expired(persistence) == []
        clock.advance(TICK)
        assert self._expired(persistence) == [("a", 1)]

    def test_expired_tells_what_the_reaper_needs(self, persistence: Persistence, clock: FakeClock) -> None:
        """An expired lease names its key, epoch, attempt, attempts at most, worker and status."""
        suspended(persistence)
        clock.advance("1s")
        take(persistence, worker="w7")
        begin(persistence, run=2)
        clock.advance("1s")
        take(persistence, key(run=2), worker="w8")
        clock.advance(TTL)
        poll, stage = run_sync(persistence.list_expired(limit=MANY))
        assert (poll.key, poll.epoch, poll.attempt, poll.max_attempts) == (key(), 3, 1, 3)
        assert (poll.worker, poll.status) == ("w7", StageStatus.SUSPENDED)
        assert (stage.key, stage.epoch, stage.attempt, stage.max_attempts) == (key(run=2), 1, 1, 3)
        assert (stage.worker, stage.status) == ("w8", StageStatus.RUNNING)

    def test_expired_tells_what_is_guarded(self, persistence: Persistence, clock: FakeClock) -> None:
        """An expired lease tells whether more follows from the failure of its job than the end of its run."""
        guarded = attrs.evolve(job(), guarded=True)
        granted = attrs.evolve(guarded, key=key("b"), grant=Grant(worker="w1", ttl=TTL))
        stand(persistence, created(), started(jobs=[guarded, granted, job(key("c"))]))
        take_all(persistence)
        clock.advance(TTL)
        found = {lease.key.stage_id: lease.guarded for lease in run_sync(persistence.list_expired(limit=MANY))}
        assert found == {"a": True, "b": True, "c": False}

    def test_expired_are_the_longest_past_first(self, persistence: Persistence, clock: FakeClock) -> None:
        """At most *limit* leases are listed, those longest past their end first; listing takes nothing."""
        begin(persistence, "a", "b", "c")
        for name, ttl in (("a", 3), ("b", 1), ("c", 2)):
            take(persistence, key(name), ttl=timedelta(seconds=ttl))
        clock.advance("1m")
        assert self._expired(persistence, limit=0) == []
        assert self._expired(persistence, limit=2) == [("b", 1), ("c", 1)]
        assert self._expired(persistence) == [("b", 1), ("c", 1), ("a", 1)]

    def test_expired_until_taken_back(self, persistence: Persistence, clock: FakeClock) -> None:
        """A lease is listed until it is taken back or settled, and only the first of two reapers takes it."""
        begin(persistence, "a", "b")
        first, second = take(persistence, key("a")), take(persistence, key("b"))
        clock.advance(TTL)
        reap = settled(first, Requeue(delay=ZERO, attempt=1), expired=True)
        stand(persistence, reap)
        assert isinstance(refuse(persistence, reap), LeaseLost)
        assert self._expired(persistence) == [("b", 1)]
        stand(persistence, completed(second))
        assert self._expired(persistence) == []

    # list_due_timers

    def test_timers_are_due_at_their_instant(self, persistence: Persistence, clock: FakeClock) -> None:
        """A timer is listed from its instant on, until it is consumed; listing takes nothing."""
        stand(persistence, created(), started(timers=[deadline()]))
        clock.advance(HOUR - TICK)
        assert self._timers(persistence) == []
        clock.advance(TICK)
        for _ in range(2):
            assert self._timers(persistence) == [(run_id(), "deadline")]
        stand(persistence, attrs.evolve(noted(), fired="deadline"))
        assert self._timers(persistence) == []

    def test_timers_are_the_earliest_first(self, persistence: Persistence, clock: FakeClock) -> None:
        """At most *limit* timers are listed, the earliest first, over all runs."""
        for number, seconds in ((1, 3), (2, 1), (3, 2)):
            timers = [deadline(delay=timedelta(seconds=seconds)), deadline("later", delay=HOUR)]
            stand(persistence, created(number), started(number, timers=timers))
        clock.advance("1m")
        assert self._timers(persistence, limit=0) == []
        assert self._timers(persistence, limit=2) == [(run_id(2), "deadline"), (run_id(3), "deadline")]
        assert len(self._timers(persistence)) == 3

    # next_due

    def test_parity_102_nothing_is_due(self, persistence: Persistence) -> None:
        """Nothing will be due in a store that is empty, or whose runs are pending or have ended."""
        assert self._next_due(persistence) is None
        stand(persistence, created())
        assert self._next_due(persistence) is None
        stand(persistence, started(), ended())
        assert self._next_due(persistence) is None

    def test_next_due_of_a_ready_job(self, persistence: Persistence) -> None:
        """A job that is due already makes the span zero."""
        begin(persistence)
        assert self._next_due(persistence) == ZERO

    def test_next_due_is_never_negative(self, persistence: Persistence, clock: FakeClock) -> None:
        """What has been due for a while is due now."""
        begin(persistence)
        clock.advance(HOUR)
        assert self._next_due(persistence) == ZERO

    def test_next_due_of_a_delayed_job(self, persistence: Persistence, clock: FakeClock) -> None:
        """A delayed job is due when its delay is over; sleeping that long makes it eligible."""
        begin_with(persistence, 1, delay=HOUR)
        clock.advance("1s")
        assert self._next_due(persistence) == HOUR - SECOND
        clock.advance(HOUR - SECOND)
        assert len(take_all(persistence)) == 1

    def test_next_due_of_a_poll(self, persistence: Persistence, clock: FakeClock) -> None:
        """A suspended job is due at its poll."""
        suspended(persistence, delay=5 * SECOND)
        assert self._next_due(persistence) == 5 * SECOND
        clock.advance("5s")
        assert self._next_due(persistence) == ZERO

    def test_next_due_of_a_timer(self, persistence: Persistence, clock: FakeClock) -> None:
        """A timer is due at its instant, and no longer once it is consumed."""
        stand(persistence, created(), started(jobs=(), timers=[deadline()]))
        assert self._next_due(persistence) == HOUR
        clock.advance(HOUR)
        assert self._next_due(persistence) == ZERO
        stand(persistence, attrs.evolve(noted(), fired="deadline"))
        assert self._next_due(persistence) is None

    def test_next_due_of_a_lease_end(self, persistence: Persistence, clock: FakeClock) -> None:
        """A lease is due at its end, moves with an extension, and sleeping that long makes it expired."""
        begin(persistence)
        lease = take(persistence)
        assert self._next_due(persistence) == TTL
        run_sync(persistence.extend([ref(lease)], ttl=2 * TTL))
        assert self._next_due(persistence) == 2 * TTL
        clock.advance(2 * TTL)
        assert self._next_due(persistence) == ZERO
        assert self._expired(persistence) == [("a", 1)]

    def test_next_due_of_a_granted_job(self, persistence: Persistence) -> None:
        """A job that was made with a lease is due at its end."""
        stand(persistence, created(), started(jobs=[job(grant=Grant(worker="w1", ttl=TTL))]))
        assert self._next_due(persistence) == TTL

    def test_next_due_of_an_event_delivery(self, persistence: Persistence, clock: FakeClock) -> None:
        """Events are due for sinks that have asked before; a delayed or leased stream is due when that ends."""
        stand(persistence, created())
        assert self._next_due(persistence) is None
        (stream,) = run_sync(persistence.lease_streams(sink=SINK, limit=1, events=9, ttl=TTL))
        assert self._next_due(persistence) == TTL
        failed = Delivery(run_id=run_id(), sink=SINK, epoch=stream.epoch, position=0, failures=1, delay=SECOND)
        run_sync(persistence.settle_streams([failed]))
        assert self._next_due(persistence) == SECOND
        clock.advance("1s")
        assert self._next_due(persistence) == ZERO
        (stream,) = run_sync(persistence.lease_streams(sink=SINK, limit=1, events=9, ttl=TTL))
        taken = Delivery(run_id=run_id(), sink=SINK, epoch=stream.epoch, position=1)
        run_sync(persistence.settle_streams([taken]))
        assert self._next_due(persistence) is None
        stand(persistence, created(2))
        assert self._next_due(persistence) == ZERO

    def test_next_due_leaves_parked_streams_aside(self, persistence: Persistence) -> None:
        """A parked stream is never due by itself."""
        stand(persistence, created())
        (stream,) = run_sync(persistence.lease_streams(sink=SINK, limit=1, events=9, ttl=TTL))
        parked = Delivery(run_id=run_id(), sink=SINK, epoch=stream.epoch, position=0, failures=9, parked=True)
        run_sync(persistence.settle_streams([parked]))
        assert self._next_due(persistence) is None
        run_sync(persistence.replay_parked(sink=SINK, limit=1))
        assert self._next_due(persistence) == ZERO

    def test_next_due_is_the_earliest(self, persistence: Persistence, clock: FakeClock) -> None:
        """Of several the earliest counts, and the next when it is gone."""
        stand(
            persistence,
            created(),
            started(
                jobs=[job(key("a"), delay=3 * SECOND), job(key("b"), delay=5 * SECOND)],
                timers=[deadline(delay=4 * SECOND)],
            ),
        )
        assert self._next_due(persistence) == 3 * SECOND
        clock.advance("3s")
        stand(persistence, settled(take(persistence), Finish(status=StageStatus.COMPLETED)))
        assert self._next_due(persistence) == SECOND
        replaced = Change(run_id=run_id(), step=Step(timers=(deadline(delay=HOUR),)))
        stand(persistence, replaced)
        assert self._next_due(persistence) == 2 * SECOND

    def test_next_due_counts_unknown_workflows(self, persistence: Persistence) -> None:
        """Work of a workflow version that nobody here knows is due all the same."""
        head = header(workflow="nobody", version="knows")
        stand(persistence, created(head=head), started(head=head, jobs=[job(head=head, queue="strange")]))
        assert self._next_due(persistence) == ZERO

    def test_a_run_goes_through_its_life(self, persistence: Persistence, clock: FakeClock) -> None:
        """A run is admitted, leased, retried, reaped, polled and completed, and nothing is left of it to do."""
        begin(persistence)
        stand(persistence, settled(take(persistence), Requeue(delay=SECOND, attempt=1)))
        clock.advance("1s")
        lost = take(persistence)
        clock.advance(TTL)
        stand(persistence, settled(lost, Requeue(delay=ZERO, attempt=2), expired=True))
        last = take(persistence)
        assert (last.attempt, last.epoch) == (3, 5)
        final = ended(status=RunStatus.COMPLETED, output_of=("a",)).step
        stand(persistence, completed(last, output="17", step=final))
        assert the_run(persistence).status is RunStatus.COMPLETED
        assert self._next_due(persistence) is None
        assert [event.number for event in events_of(persistence)] == list(range(1, 1 + the_run(persistence).events))
