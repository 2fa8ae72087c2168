"""The contract of the Queues port, and of how limits are heeded: one test for each sentence."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import attrs

from holdfast.change import Finish, Grant, Requeue, Step
from holdfast.driving import run_sync
from holdfast.entities.queue import QueueLimits, QueueState, Rate
from holdfast.entities.stage import StageStatus
from holdfast.events import EventType
from holdfast.ports.persistence import Persistence
from holdfast.ports.work import QUEUE_LOOK, LeaseRef
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import (
    MANY,
    SECOND,
    TTL,
    begin,
    completed,
    events_of,
    gate_rule,
    job,
    key,
    reaching,
    settled,
    stand,
    suspended,
    take,
    take_all,
    the_stage,
    wanted,
)
from holdfast_testing.contracts.turns import begin_for, begun, owned_by, runs_of

_GRANT: Final = Grant(worker="w1", ttl=TTL)
_PERIOD: Final = timedelta(seconds=10)


def limit(persistence: Persistence, *, name: str = "default", **limits: Any) -> None:
    """Give a queue these limits."""
    run_sync(persistence.set_queue(QueueLimits(name=name, **limits)))


def states(persistence: Persistence) -> list[QueueState]:
    """Return all queues."""
    return list(run_sync(persistence.list_queues()))


class QueuesContract:
    """How every store keeps and heeds the limits of queues."""

    # set_queue and list_queues

    def test_queues_without_limits_are_those_with_jobs(self, persistence: Persistence, clock: FakeClock) -> None:
        """A queue that nobody configured is listed while it has live jobs, with how much waits and since when."""
        assert states(persistence) == []
        begin(persistence, "a", "b", "c")
        take(persistence, key("c"))
        clock.advance("5s")
        expected = QueueState(limits=QueueLimits(name="default"), ready=2, leased=1, oldest=timedelta(seconds=5))
        assert states(persistence) == [expected]

    def test_queues_that_have_limits_are_listed(self, persistence: Persistence) -> None:
        """A queue that has limits is listed with them, in order of name, whether it has jobs or not."""
        rate = Rate(tokens=3, period=_PERIOD, burst=5)
        limit(persistence, name="b", concurrency=2, per_key=1, rate=rate, paused=True)
        limit(persistence, name="a", per_key=4)
        assert [state.limits for state in states(persistence)] == [
            QueueLimits(name="a", per_key=4),
            QueueLimits(name="b", concurrency=2, per_key=1, rate=rate, paused=True),
        ]
        assert [(state.ready, state.leased, state.oldest) for state in states(persistence)] == [(0, 0, None)] * 2

    def test_limits_replace_those_before(self, persistence: Persistence) -> None:
        """New limits take the place of the old ones as a whole."""
        limit(persistence, concurrency=2, per_key=1)
        limit(persistence, concurrency=3)
        assert [state.limits for state in states(persistence)] == [QueueLimits(name="default", concurrency=3)]

    def test_limits_that_hold_nothing_back_go(self, persistence: Persistence) -> None:
        """A queue whose limits are lifted is like one that nobody configured."""
        limit(persistence, concurrency=1)
        limit(persistence)
        assert states(persistence) == []
        begin(persistence, "a", "b")
        assert len(take_all(persistence)) == 2

    def test_leases_past_their_end_are_not_counted_as_leased(self, persistence: Persistence, clock: FakeClock) -> None:
        """What is listed as leased are leases that have not ended."""
        begin(persistence)
        take(persistence)
        clock.advance(TTL)
        (state,) = states(persistence)
        assert (state.ready, state.leased) == (0, 0)

    # concurrency

    def test_no_more_are_leased_than_the_limit(self, persistence: Persistence) -> None:
        """A queue gives jobs until as many are leased as its limit says, and one more for each that ends."""
        limit(persistence, concurrency=2)
        begin(persistence, "a", "b", "c", "d")
        first, second = take_all(persistence)
        assert take_all(persistence) == []
        stand(persistence, completed(first))
        (third,) = take_all(persistence)
        stand(persistence, settled(second, Requeue(delay=SECOND, attempt=1)))
        assert len(take_all(persistence)) == 1
        assert third.key not in {first.key, second.key}

    def test_exactly_one_job_heeds_the_limit(self, persistence: Persistence) -> None:
        """A job that is asked for by its key is not given while its queue has no room."""
        limit(persistence, concurrency=1)
        begin(persistence, "a", "b")
        take(persistence, key("a"))
        assert run_sync(persistence.lease_one(key("b"), worker="w", ttl=TTL)) is None

    def test_other_queues_are_not_held_up(self, persistence: Persistence, clock: FakeClock) -> None:
        """A queue without room stands in nobody's way, whatever the priority of its jobs."""
        limit(persistence, name="slow", concurrency=1)
        for number in range(1, 4):
            stand(persistence, *begun(owned_by(number, "t", priority=9), queue="slow"))
            clock.advance("1ms")
        stand(persistence, *begun(owned_by(4, "t")))
        queues = frozenset({"default", "slow"})
        assert runs_of(take_all(persistence, wanted(queues=queues))) == [1, 4]
        assert take_all(persistence, wanted(queues=queues)) == []

    def test_leases_from_before_the_limit_count(self, persistence: Persistence) -> None:
        """What was leased before a limit was set counts against it, and is not taken away."""
        begin(persistence, "a", "b", "c")
        leases = [take(persistence, key(name)) for name in "ab"]
        limit(persistence, concurrency=2)
        assert take_all(persistence) == []
        stand(persistence, completed(leases[0]))
        assert len(take_all(persistence)) == 1
        stand(persistence, completed(leases[1]))

    def test_a_grant_from_before_the_limit_counts(self, persistence: Persistence) -> None:
        """So it is with a lease that a change-set granted."""
        begin(persistence)
        new = Step(jobs=(job(key("b"), grant=_GRANT), job(key("c"))))
        stand(persistence, completed(take(persistence), step=new))
        limit(persistence, concurrency=1)
        assert take_all(persistence) == []

    def test_expired_leases_never_count(self, persistence: Persistence, clock: FakeClock) -> None:
        """A lease past its end leaves room at once, before anybody takes it back."""
        limit(persistence, concurrency=1, per_key=1)
        begin(persistence, "a", "b")
        take(persistence, key("a"))
        clock.advance(TTL - SECOND)
        assert take_all(persistence) == []
        clock.advance(SECOND)
        assert [lease.key for lease in take_all(persistence)] == [key("b")]

    def test_expired_leases_of_a_limited_queue_are_not_extended(
        self, persistence: Persistence, clock: FakeClock
    ) -> None:
        """A lease past its end is lost where another job may have its place, and extended where none can."""
        limit(persistence, name="slow", concurrency=1)
        for number, queue in enumerate(("slow", "default"), 1):
            stand(persistence, *begun(owned_by(number, "t"), queue=queue))
        slow, free = (take(persistence, key(run=number)) for number in (1, 2))
        refs = [LeaseRef(key=lease.key, epoch=lease.epoch) for lease in (slow, free)]
        clock.advance(TTL - SECOND)
        assert run_sync(persistence.extend(refs, ttl=TTL)) == []
        clock.advance(TTL)
        assert run_sync(persistence.extend(refs, ttl=TTL)) == [refs[0]]

    def test_an_expired_lease_may_still_settle(self, persistence: Persistence, clock: FakeClock) -> None:
        """A holder that comes late may complete its job as long as nobody took it back, in a limited queue too."""
        limit(persistence, concurrency=1)
        begin(persistence, "a", "b", "c")
        late = take(persistence, key("a"))
        clock.advance(TTL)
        take(persistence, key("b"))
        stand(persistence, completed(late))
        assert take_all(persistence) == []

    def test_polls_count_as_long_as_they_are_leased(self, persistence: Persistence, clock: FakeClock) -> None:
        """A suspended job takes no room until it is leased to be polled."""
        limit(persistence, concurrency=1)
        suspended(persistence)
        begin(persistence, run=2)
        other = take(persistence, key(run=2))
        clock.advance(SECOND)
        assert take_all(persistence) == []
        stand(persistence, completed(other))
        assert [lease.status for lease in take_all(persistence)] == [StageStatus.SUSPENDED]

    # per key

    def test_no_more_of_a_key_are_leased_than_its_limit(self, persistence: Persistence, clock: FakeClock) -> None:
        """Of each tenant and key as many are leased as the limit says; other keys go on, and so does no key."""
        limit(persistence, per_key=1)
        begin_for(persistence, clock, [("t", "x"), ("t", "x"), ("t", "y"), ("u", "x"), ("t", ""), ("t", "")])
        assert sorted(runs_of(take_all(persistence))) == [1, 3, 4, 5]
        assert take_all(persistence) == []

    def test_a_full_key_is_not_walked_through(self, persistence: Persistence, clock: FakeClock) -> None:
        """However many jobs of a full key are due, those of the next one are found behind them."""
        limit(persistence, per_key=2)
        begin_for(persistence, clock, [("t", "x")] * 400 + [("t", "y")])
        assert runs_of(take_all(persistence, wanted(limit=3))) == [1, 2, 401]
        assert take_all(persistence) == []

    def test_a_key_has_room_when_one_of_it_ends(self, persistence: Persistence, clock: FakeClock) -> None:
        """The next job of a key is given when one of it has ended."""
        limit(persistence, per_key=1)
        begin_for(persistence, clock, [("t", "x"), ("t", "x")])
        (lease,) = take_all(persistence)
        stand(persistence, completed(lease))
        assert runs_of(take_all(persistence)) == [2]

    def test_both_limits_hold(self, persistence: Persistence, clock: FakeClock) -> None:
        """A queue may limit its jobs and those of each key at once."""
        limit(persistence, concurrency=3, per_key=2)
        begin_for(persistence, clock, [("t", "x")] * 3 + [("t", "y")] * 3)
        assert runs_of(take_all(persistence)) == [1, 2, 4]

    # rate

    def test_a_rate_gives_what_is_saved_up(self, persistence: Persistence, clock: FakeClock) -> None:
        """A full bucket gives its burst at once and then as fast as it is filled."""
        limit(persistence, rate=Rate(tokens=2, period=_PERIOD))
        begin(persistence, *"abcdef")
        assert len(take_all(persistence)) == 2
        clock.advance(_PERIOD / 2 - timedelta(microseconds=1))
        assert take_all(persistence) == []
        clock.advance(timedelta(microseconds=1))
        assert len(take_all(persistence)) == 1
        clock.advance(_PERIOD * 3)
        assert len(take_all(persistence)) == 2

    def test_a_job_takes_what_it_weighs(self, persistence: Persistence, clock: FakeClock) -> None:
        """Tokens are taken by weight, and while they do not suffice for the next in line none behind it is given."""
        limit(persistence, rate=Rate(tokens=10, period=_PERIOD))
        for number, weight in enumerate((6, 5, 1), 1):
            stand(persistence, *begun(owned_by(number, "t"), weight=weight))
            clock.advance("1ms")
        assert runs_of(take_all(persistence)) == [1]
        clock.advance(SECOND)
        assert runs_of(take_all(persistence)) == [2]
        clock.advance(SECOND)
        assert runs_of(take_all(persistence)) == [3]

    def test_a_job_that_weighs_more_than_the_burst(self, persistence: Persistence, clock: FakeClock) -> None:
        """It begins when the bucket is full, and its debt is paid before the next."""
        limit(persistence, rate=Rate(tokens=2, period=_PERIOD))
        for number, weight in enumerate((4, 1), 1):
            stand(persistence, *begun(owned_by(number, "t"), weight=weight))
            clock.advance("1ms")
        assert runs_of(take_all(persistence)) == [1]
        clock.advance(_PERIOD)
        assert take_all(persistence) == []
        clock.advance(_PERIOD / 2)
        assert runs_of(take_all(persistence)) == [2]

    def test_polls_and_weightless_jobs_take_no_tokens(self, persistence: Persistence, clock: FakeClock) -> None:
        """A poll is no new beginning, and a job that weighs nothing needs no token."""
        limit(persistence, rate=Rate(tokens=1, period=timedelta(hours=1)))
        suspended(persistence)
        clock.advance(SECOND)
        stand(persistence, *begun(owned_by(2, "t"), weight=0))
        assert sorted(runs_of(take_all(persistence))) == [1, 2]

    def test_the_same_rate_keeps_its_bucket(self, persistence: Persistence) -> None:
        """Setting other limits beside the same rate fills no bucket; another rate begins with a full one."""
        rate = Rate(tokens=1, period=_PERIOD)
        limit(persistence, rate=rate)
        begin(persistence, "a", "b", "c")
        assert len(take_all(persistence)) == 1
        limit(persistence, rate=rate, concurrency=5)
        assert take_all(persistence) == []
        limit(persistence, rate=attrs.evolve(rate, burst=2))
        assert len(take_all(persistence)) == 2

    def test_exactly_one_job_takes_its_tokens(self, persistence: Persistence) -> None:
        """A job that is asked for by its key takes tokens as any other does."""
        limit(persistence, rate=Rate(tokens=1, period=_PERIOD))
        begin(persistence, "a", "b")
        take(persistence, key("a"))
        assert run_sync(persistence.lease_one(key("b"), worker="w", ttl=TTL)) is None

    # pause

    def test_a_paused_queue_gives_nothing(self, persistence: Persistence) -> None:
        """No job of a paused queue is leased until it goes on; what is leased goes on."""
        begin(persistence, "a", "b")
        lease = take(persistence, key("a"))
        limit(persistence, paused=True)
        assert take_all(persistence) == []
        assert run_sync(persistence.lease_one(key("b"), worker="w", ttl=TTL)) is None
        stand(persistence, completed(lease))
        limit(persistence)
        assert [lease.key for lease in take_all(persistence)] == [key("b")]

    # grants

    def test_grants_in_a_limited_queue_are_withheld(self, persistence: Persistence) -> None:
        """A job that asks for a grant in a queue with limits is READY, told to be released, and then handed out."""
        begin(persistence)
        lease = take(persistence)
        limit(persistence, name="slow", concurrency=5)
        rule = gate_rule(arity=1, opens=Step(jobs=(job(key("c"), queue="slow", grant=_GRANT),)))
        new = Step(jobs=(job(key("b"), queue="slow", grant=_GRANT), job(key("d"), grant=_GRANT)))
        assert stand(persistence, reaching(completed(lease, step=new), rule)).withheld == {"slow"}
        for name in "bc":
            stage = the_stage(persistence, key(name))
            assert (stage.status, stage.epoch, stage.attempt) == (StageStatus.READY, 0, 0)
            assert (stage.worker, stage.lease_until, stage.started_at) == (None, None, None)
        assert the_stage(persistence, key("d")).status is StageStatus.RUNNING
        told = [(event.type, event.key) for event in events_of(persistence)[-2:]]
        assert told == [(EventType.STAGE_RELEASED, key("b")), (EventType.STAGE_RELEASED, key("c"))]
        slow = wanted(queues=frozenset({"slow"}))
        assert sorted(lease.key.stage_id for lease in take_all(persistence, slow)) == ["b", "c"]

    def test_limits_that_were_lifted_withhold_nothing(self, persistence: Persistence) -> None:
        """Grants are given again when the limits are gone."""
        limit(persistence, concurrency=1)
        begin(persistence)
        lease = take(persistence)
        limit(persistence)
        new = Step(jobs=(job(key("b"), grant=_GRANT),))
        assert not stand(persistence, completed(lease, step=new)).withheld
        assert the_stage(persistence, key("b")).status is StageStatus.RUNNING

    # next_due

    def test_due_jobs_of_a_limited_queue_are_looked_at_soon(self, persistence: Persistence, clock: FakeClock) -> None:
        """They count as due in a moment, with or without room; delayed ones when they are due."""
        limit(persistence, concurrency=1)
        begin(persistence, "a", "b")
        assert run_sync(persistence.next_due()) == QUEUE_LOOK
        (lease,) = take_all(persistence)
        assert run_sync(persistence.next_due()) == QUEUE_LOOK
        finish = Finish(status=StageStatus.COMPLETED)
        new = Step(jobs=(job(key("c"), delay=timedelta(milliseconds=1)),))
        stand(persistence, settled(lease, finish, step=new))
        assert run_sync(persistence.next_due()) == timedelta(milliseconds=1)
        clock.advance("1s")
        assert run_sync(persistence.next_due()) == QUEUE_LOOK
        limit(persistence, paused=True)
        assert run_sync(persistence.next_due()) is None
        limit(persistence)
        assert run_sync(persistence.next_due()) == timedelta()

    def test_limits_cost_others_nothing(self, persistence: Persistence) -> None:
        """Jobs of a queue without limits are due at once whatever other queues do."""
        limit(persistence, name="slow", concurrency=1)
        begin(persistence)
        assert run_sync(persistence.next_due()) == timedelta()
        assert len(take_all(persistence, wanted(limit=MANY))) == 1
