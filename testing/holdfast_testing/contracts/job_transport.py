"""The contract of the JobTransport port: one test for each sentence of its docstrings, in their order."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import pytest

from holdfast.change import ZERO
from holdfast.driving import run_sync
from holdfast.entities.stage import Lease, StageKey, StageStatus
from holdfast.errors import StoreUnavailable
from holdfast.events import EventType
from holdfast.ports.job_transport import JobHint, JobTransport
from holdfast.ports.persistence import Persistence
from holdfast.ports.work import LeaseRef, LeaseRequest
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import (
    SECOND,
    TTL,
    begin,
    completed,
    created,
    events_of,
    header,
    job,
    key,
    stand,
    started,
    suspended,
    take,
    the_stage,
    wanted,
)

LETTERS: Final = "abcdef"


def hint(at: StageKey | None = None, *, queue: str = "default", delay: timedelta = ZERO) -> JobHint:
    """Return a hint, by default of the job of stage a."""
    return JobHint(key=at or key(), queue=queue, delay=delay)


def enqueue(job_transport: JobTransport, *hints: JobHint) -> None:
    """Send hints."""
    run_sync(job_transport.enqueue(hints))


def dequeue(job_transport: JobTransport, request: LeaseRequest | None = None) -> list[Lease]:
    """Return what one call gives, by default everything."""
    return list(run_sync(job_transport.dequeue(request or wanted())))


def drain(job_transport: JobTransport, request: LeaseRequest | None = None) -> list[Lease]:
    """Return what calls give until one gives nothing."""
    leases: list[Lease] = []
    while more := dequeue(job_transport, request):
        leases += more
    return leases


def stages(leases: Sequence[Lease]) -> list[str]:
    """Return the stages of *leases*."""
    return [lease.key.stage_id for lease in leases]


class JobTransportContract:
    """What every transport must do. `persistence` is the store behind `job_transport`, on the FakeClock `clock`."""

    # Losing, repeating, delaying or reordering hints costs latency and nothing else.

    def test_lost_hint_loses_no_job(self, job_transport: JobTransport, persistence: Persistence) -> None:
        """Jobs that nobody hinted at reach a worker."""
        begin(persistence, *LETTERS)
        assert sorted(stages(drain(job_transport))) == list(LETTERS)

    def test_some_hints_hide_no_job(self, job_transport: JobTransport, persistence: Persistence) -> None:
        """Jobs whose hints were lost reach a worker beside those whose hints arrived."""
        begin(persistence, *LETTERS)
        enqueue(job_transport, hint(key("c")), hint(key("e")))
        assert sorted(stages(drain(job_transport))) == list(LETTERS)

    def test_stream_of_hints_does_not_keep_back_a_job(
        self, job_transport: JobTransport, persistence: Persistence
    ) -> None:
        """A job whose hint was lost gets its turn although other hints never cease."""
        begin(persistence, "a")
        for run in range(2, 1_000):
            begin(persistence, "b", run=run)
            enqueue(job_transport, hint(key("b", run=run)))
            if "a" in stages(dequeue(job_transport, wanted(limit=1))):
                return
        pytest.fail("the job whose hint was lost was never handed out")

    def test_repeated_hint_hands_a_job_out_once(self, job_transport: JobTransport, persistence: Persistence) -> None:
        """However often a job is hinted at, before and after it was handed out, it is handed out once."""
        begin(persistence)
        enqueue(job_transport, *[hint()] * 5)
        leases = drain(job_transport)
        enqueue(job_transport, *[hint()] * 5)
        assert stages(leases + drain(job_transport)) == ["a"]

    def test_late_hint_of_a_done_job_is_harmless(self, job_transport: JobTransport, persistence: Persistence) -> None:
        """A hint of a job that is completed hands nothing out."""
        begin(persistence)
        stand(persistence, completed(take(persistence)))
        enqueue(job_transport, hint())
        assert dequeue(job_transport) == []

    def test_reordered_hints_lose_no_job(self, job_transport: JobTransport, persistence: Persistence) -> None:
        """Hints may come in any order."""
        begin(persistence, *LETTERS)
        enqueue(job_transport, *(hint(key(stage)) for stage in reversed(LETTERS)))
        assert sorted(stages(drain(job_transport))) == list(LETTERS)

    def test_false_hint_is_harmless(self, job_transport: JobTransport, persistence: Persistence) -> None:
        """A hint of a job that does not exist hands nothing out and disturbs no other."""
        begin(persistence)
        enqueue(job_transport, hint(key("z")), hint(key(run=99)), hint())
        assert stages(drain(job_transport)) == ["a"]

    # Subscribe.

    def test_subscriber_learns_when_the_first_is_due(self, job_transport: JobTransport) -> None:
        """Each subscriber is called with the shortest delay of the hints that arrive together."""
        first: list[timedelta] = []
        second: list[timedelta] = []
        job_transport.subscribe(first.append)
        job_transport.subscribe(second.append)
        enqueue(job_transport, hint(delay=3 * SECOND), hint(key("b"), delay=SECOND))
        enqueue(job_transport, hint())
        assert first == second == [SECOND, ZERO]

    def test_subscriber_of_queues_hears_of_these_alone(self, job_transport: JobTransport) -> None:
        """Hints for jobs of other queues do not count for a subscriber that names its own."""
        woken: list[timedelta] = []
        job_transport.subscribe(woken.append, queues=frozenset({"gpu", "tpu"}))
        enqueue(job_transport, hint(), hint(key("b"), queue="gpu", delay=SECOND))
        enqueue(job_transport, hint())
        enqueue(job_transport, hint(queue="tpu"), hint(key("b"), queue="gpu", delay=SECOND))
        assert woken == [SECOND, ZERO]

    def test_error_of_a_subscriber_disturbs_nobody(self, job_transport: JobTransport, persistence: Persistence) -> None:
        """A subscriber that raises fails neither the hint nor the other subscribers."""
        begin(persistence)
        woken: list[timedelta] = []

        def stopped(delay: timedelta) -> None:
            raise RuntimeError("Event loop is closed")

        job_transport.subscribe(stopped)
        job_transport.subscribe(woken.append)
        enqueue(job_transport, hint())
        assert woken == [ZERO]
        assert stages(dequeue(job_transport)) == ["a"]

    def test_subscription_ends(self, job_transport: JobTransport) -> None:
        """The returned function ends the calls of that subscriber alone, and may be called again."""
        ended: list[timedelta] = []
        woken: list[timedelta] = []
        unsubscribe = job_transport.subscribe(ended.append)
        job_transport.subscribe(woken.append)
        unsubscribe()
        unsubscribe()
        enqueue(job_transport, hint())
        assert ended == []
        assert woken == [ZERO]

    # Enqueue.

    def test_no_hints_wake_nobody(self, job_transport: JobTransport) -> None:
        """A call without hints does nothing."""
        woken: list[timedelta] = []
        job_transport.subscribe(woken.append)
        enqueue(job_transport)
        assert woken == []

    def test_hint_of_a_delayed_job_is_not_early(
        self, job_transport: JobTransport, persistence: Persistence, clock: FakeClock
    ) -> None:
        """A job that is hinted at before it is due, even as due, is handed out when it is due by the store's clock."""
        stand(persistence, created(), started(jobs=[job(delay=SECOND)]))
        enqueue(job_transport, hint(delay=SECOND), hint())
        assert dequeue(job_transport) == []
        clock.advance(SECOND)
        assert stages(dequeue(job_transport)) == ["a"]

    def test_hint_is_taken_while_the_store_is_closed(
        self, job_transport: JobTransport, persistence: Persistence
    ) -> None:
        """Hinting never raises because something cannot be reached."""
        run_sync(persistence.close())
        enqueue(job_transport, hint())

    # Dequeue.

    @pytest.mark.parametrize("is_hinted", [False, True])
    def test_lease_is_granted_as_by_the_store(
        self, *, job_transport: JobTransport, persistence: Persistence, is_hinted: bool
    ) -> None:
        """A job that is handed out is leased to the worker, its epoch and attempt counted, and its start told."""
        begin(persistence)
        if is_hinted:
            enqueue(job_transport, hint())
        (lease,) = dequeue(job_transport, wanted(worker="w7"))
        assert (lease.key, lease.worker, lease.epoch, lease.attempt) == (key(), "w7", 1, 1)
        assert lease.run == header()
        assert the_stage(persistence).status is StageStatus.RUNNING
        assert events_of(persistence)[-1].type is EventType.STAGE_STARTED
        stand(persistence, completed(lease))

    @pytest.mark.parametrize("is_hinted", [False, True])
    @pytest.mark.parametrize("limit", [1, 2, 5, 6, 100])
    def test_no_more_than_the_limit(
        self, *, job_transport: JobTransport, persistence: Persistence, is_hinted: bool, limit: int
    ) -> None:
        """One call gives at most as many leases as were asked for, and not none while there are jobs."""
        begin(persistence, *LETTERS)
        if is_hinted:
            enqueue(job_transport, *(hint(key(stage)) for stage in LETTERS))
        assert 1 <= len(dequeue(job_transport, wanted(limit=limit))) <= limit

    @pytest.mark.parametrize("is_hinted", [False, True])
    def test_only_jobs_of_known_workflows(
        self, *, job_transport: JobTransport, persistence: Persistence, is_hinted: bool
    ) -> None:
        """A job of another version stays for the workers that know it, hinted at or not."""
        head = header(version="2.0.0")
        stand(persistence, created(head=head), started(head=head))
        if is_hinted:
            enqueue(job_transport, hint())
        assert drain(job_transport) == []
        assert the_stage(persistence).attempt == 0
        assert stages(drain(job_transport, wanted(known=frozenset({("review", "2.0.0")})))) == ["a"]

    @pytest.mark.parametrize("is_hinted", [False, True])
    def test_only_jobs_of_wanted_queues(
        self, *, job_transport: JobTransport, persistence: Persistence, is_hinted: bool
    ) -> None:
        """A job of another queue stays for the workers of that queue, hinted at or not."""
        stand(persistence, created(), started(jobs=[job(queue="gpu")]))
        if is_hinted:
            enqueue(job_transport, hint(queue="gpu"))
        assert drain(job_transport) == []
        assert stages(drain(job_transport, wanted(queues=frozenset({"gpu"})))) == ["a"]

    @pytest.mark.parametrize("is_hinted", [False, True])
    def test_only_jobs_of_wanted_statuses(
        self, *, job_transport: JobTransport, persistence: Persistence, clock: FakeClock, is_hinted: bool
    ) -> None:
        """A suspended job stays for those who poll, hinted at or not."""
        suspended(persistence)
        clock.advance(SECOND)
        if is_hinted:
            enqueue(job_transport, hint())
        assert drain(job_transport, wanted(statuses=frozenset({StageStatus.READY}))) == []
        (lease,) = drain(job_transport, wanted(statuses=frozenset({StageStatus.SUSPENDED})))
        assert lease.status is StageStatus.SUSPENDED

    def test_two_callers_never_get_the_same_job(self, job_transport: JobTransport, persistence: Persistence) -> None:
        """A job that one worker was given is not given to another while the lease stands."""
        begin(persistence, *LETTERS)
        enqueue(job_transport, *(hint(key(stage)) for stage in LETTERS[:3]))
        leases: list[Lease] = []
        for n in range(20):
            leases += dequeue(job_transport, wanted(worker=f"w{n % 2}", limit=1))
        assert sorted(stages(leases)) == list(LETTERS)

    @pytest.mark.parametrize("is_hinted", [False, True])
    def test_unreachable_store_is_no_empty_queue(
        self, *, job_transport: JobTransport, persistence: Persistence, is_hinted: bool
    ) -> None:
        """A worker that cannot reach the store is told so, whatever hints are there."""
        begin(persistence)
        if is_hinted:
            enqueue(job_transport, hint())
        run_sync(persistence.close())
        with pytest.raises(StoreUnavailable):
            dequeue(job_transport)

    # Claim.

    def test_claim_takes_exactly_that_job(self, job_transport: JobTransport, persistence: Persistence) -> None:
        """A claim leases the job that it names."""
        begin(persistence, *LETTERS)
        lease = run_sync(job_transport.claim(key("d"), worker="w7", ttl=TTL))
        assert lease is not None
        assert (lease.key, lease.worker, lease.attempt) == (key("d"), "w7", 1)
        assert sorted(stages(drain(job_transport))) == ["a", "b", "c", "e", "f"]

    def test_claim_of_what_is_not_eligible_is_none(self, job_transport: JobTransport, persistence: Persistence) -> None:
        """A job that is leased, not yet due, done or unknown cannot be claimed."""
        stand(persistence, created(), started(jobs=[job(key("a")), job(key("b")), job(key("c"), delay=SECOND)]))
        take(persistence, key("a"))
        stand(persistence, completed(take(persistence, key("b"))))
        for stage in "abcz":
            assert run_sync(job_transport.claim(key(stage), worker="w7", ttl=TTL)) is None

    # Extend.

    def test_extend_moves_the_end(
        self, job_transport: JobTransport, persistence: Persistence, clock: FakeClock
    ) -> None:
        """A lease that is extended ends *ttl* after that."""
        begin(persistence)
        (lease,) = dequeue(job_transport)
        clock.advance(TTL - SECOND)
        assert list(run_sync(job_transport.extend([LeaseRef(key=lease.key, epoch=lease.epoch)], ttl=TTL))) == []
        clock.advance(TTL - SECOND)
        assert list(run_sync(persistence.list_expired(limit=10))) == []
        clock.advance(2 * SECOND)
        assert [expired.key for expired in run_sync(persistence.list_expired(limit=10))] == [key()]

    def test_extend_tells_what_is_lost(self, job_transport: JobTransport, persistence: Persistence) -> None:
        """Leases of another epoch, of done jobs and of unknown ones come back, those that stand do not."""
        begin(persistence, "a", "b", "c")
        leases = {lease.key.stage_id: lease for lease in drain(job_transport)}
        stand(persistence, completed(leases["b"]))
        stands = LeaseRef(key=key("a"), epoch=1)
        lost = [
            LeaseRef(key=key("b"), epoch=1),
            LeaseRef(key=key("c"), epoch=2),
            LeaseRef(key=key("z"), epoch=1),
        ]
        assert list(run_sync(job_transport.extend([stands, *lost], ttl=TTL))) == lost

    # Release.

    def test_released_job_goes_to_another_worker_at_once(
        self, job_transport: JobTransport, persistence: Persistence
    ) -> None:
        """A job that is handed back is READY, its attempt refunded, and the old lease counts no more."""
        begin(persistence)
        (lease,) = dequeue(job_transport, wanted(worker="w1"))
        assert run_sync(job_transport.release(lease))
        assert the_stage(persistence).status is StageStatus.READY
        (again,) = dequeue(job_transport, wanted(worker="w2"))
        assert (again.worker, again.attempt) == ("w2", 1)
        assert again.epoch > lease.epoch
        old = LeaseRef(key=lease.key, epoch=lease.epoch)
        assert list(run_sync(job_transport.extend([old], ttl=TTL))) == [old]

    def test_released_job_waits_for_its_delay(
        self, job_transport: JobTransport, persistence: Persistence, clock: FakeClock
    ) -> None:
        """A job that is handed back with a delay is due after it, and not before."""
        begin(persistence)
        (lease,) = dequeue(job_transport)
        assert run_sync(job_transport.release(lease, delay=SECOND))
        assert dequeue(job_transport) == []
        clock.advance(SECOND)
        assert stages(dequeue(job_transport)) == ["a"]

    def test_release_wakes_hosts(self, job_transport: JobTransport, persistence: Persistence) -> None:
        """A job that is handed back is hinted at, with its delay."""
        begin(persistence)
        (lease,) = dequeue(job_transport)
        woken: list[timedelta] = []
        job_transport.subscribe(woken.append)
        run_sync(job_transport.release(lease, delay=SECOND))
        assert woken == [SECOND]

    def test_released_poll_stays_suspended(
        self, job_transport: JobTransport, persistence: Persistence, clock: FakeClock
    ) -> None:
        """A poll that is handed back is due again as a poll."""
        suspended(persistence)
        clock.advance(SECOND)
        (lease,) = dequeue(job_transport)
        assert run_sync(job_transport.release(lease))
        assert the_stage(persistence).status is StageStatus.SUSPENDED
        (again,) = dequeue(job_transport)
        assert (again.status, again.attempt) == (StageStatus.SUSPENDED, lease.attempt)

    def test_release_of_a_lost_lease_changes_nothing(
        self, job_transport: JobTransport, persistence: Persistence
    ) -> None:
        """Handing back what was lost, done, or handed back before says so and disturbs nobody."""
        begin(persistence, "a", "b")
        leases = {lease.key.stage_id: lease for lease in drain(job_transport)}
        stand(persistence, completed(leases["b"]))
        assert not run_sync(job_transport.release(leases["b"]))
        assert run_sync(job_transport.release(leases["a"]))
        assert not run_sync(job_transport.release(leases["a"]))
        (again,) = drain(job_transport)
        assert not run_sync(job_transport.release(leases["a"]))
        stand(persistence, completed(again))

    # Settle.

    def test_settled_job_does_not_come_again(
        self, job_transport: JobTransport, persistence: Persistence, clock: FakeClock
    ) -> None:
        """A job whose outcome is committed is not handed out again, settled once, twice, or never."""
        begin(persistence, "a", "b", "c")
        enqueue(job_transport, *(hint(key(stage)) for stage in "abc"))
        for times, lease in enumerate(drain(job_transport)):
            stand(persistence, completed(lease))
            for _ in range(times):
                run_sync(job_transport.settle(lease))
        clock.advance(2 * TTL)
        assert dequeue(job_transport) == []
