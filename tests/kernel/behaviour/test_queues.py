"""Queues with limits, tenants and singletons as their users see them, on every store."""

from __future__ import annotations

import itertools
import json
from datetime import timedelta
from typing import Any

import pytest

from holdfast import Context, Retry, RunCreate, RunStatus, Settings, run_sync, stage, workflow
from holdfast.change import Grant
from holdfast.commands.job_execute import JobExecute
from holdfast.commands.queue_configure import QueueConfigure
from holdfast.commands.run_claim_pending import RunClaimPending
from holdfast.commands.timer_fire_due import TimerFireDue
from holdfast.creating import SingletonPolicy
from holdfast.decide.route import Keep
from holdfast.entities.queue import QueueLimits, Rate
from holdfast.entities.stage import StageStatus
from holdfast.errors import IdempotencyMismatch, InvalidInput, SingletonTaken
from holdfast.events import EventType
from holdfast.ports.work import LeaseRequest
from holdfast_testing.clock import FakeClock
from tests.kernel.watching import LEASE_TTL, MakeHarness, WatchedHarness

QUEUES = frozenset({"default", "slow"})
SECOND = timedelta(seconds=1)
KEEP = Keep(grant=Grant(worker="w", ttl=LEASE_TTL), queues=QUEUES)


@stage
async def first(number: int) -> int:
    """Hand the number on."""
    return number + 1


@stage(queue="slow", weight=3, retry=Retry(1))
async def second(number: int, ctx: Context[Any]) -> int:
    """Hand the number on, in a queue of its own."""
    return number + 1


two = workflow("two", input=int, version="1").pipe(first).pipe(second)


def execute(harness: WatchedHarness, run_id: str) -> Any:
    """Admit the run and execute its first job as a worker that would go on with the next."""
    claim = harness.dispatch(RunClaimPending(worker="w", max_claims=1, keep_queues=QUEUES))
    (lease,) = claim.leases
    assert lease.key.run_id == run_id
    return harness.dispatch(JobExecute(job=lease.key, worker="w", lease=lease, keep=KEEP))


def test_a_worker_does_not_go_on_in_a_limited_queue(make_harness: MakeHarness) -> None:
    """The next job of a run waits for its turn when its queue has limits, and the worker is told of the queue."""
    harness = make_harness(two)
    run_id = harness.start(two, 1)
    harness.dispatch(QueueConfigure(queue="slow", concurrency=1))
    done = execute(harness, run_id)
    assert (done.next, done.withheld) == (None, {"slow"})
    assert harness.stage(run_id, "second").status is StageStatus.READY
    harness.drain()
    assert harness.run_of(run_id).status is RunStatus.COMPLETED


def test_a_worker_goes_on_in_a_queue_without_limits(make_harness: MakeHarness) -> None:
    """The next job of a run is leased to the same worker when its queue has no limits."""
    harness = make_harness(two)
    run_id = harness.start(two, 1)
    done = execute(harness, run_id)
    assert done.next is not None
    assert not done.withheld
    harness.dispatch(done.next)


def test_limits_are_configured_as_json(make_harness: MakeHarness) -> None:
    """A host may configure a queue by a message, and gets the limits that stand."""
    harness = make_harness(two)
    message = {"type": "queue.configure", "queue": "slow", "tokens": 100, "period": 60, "perKey": 2}
    answer = run_sync(harness.kernel.dispatch_json(json.loads(json.dumps(message))))
    assert answer["limits"]["name"] == "slow"
    (state,) = run_sync(harness.kernel.ports.persistence.list_queues())
    rate = Rate(tokens=100, period=timedelta(minutes=1))
    assert state.limits == QueueLimits(name="slow", per_key=2, rate=rate)


@pytest.mark.parametrize(
    ("fields", "what"),
    [
        ({"queue": ""}, "queue"),
        ({"queue": "q", "concurrency": 0}, "concurrency"),
        ({"queue": "q", "per_key": -1}, "per_key"),
        ({"queue": "q", "tokens": 5}, "rate"),
        ({"queue": "q", "period": SECOND}, "rate"),
        ({"queue": "q", "burst": 5}, "burst"),
        ({"queue": "q", "tokens": 0, "period": SECOND}, "tokens"),
        ({"queue": "q", "tokens": 5, "period": 0 * SECOND}, "period"),
        ({"queue": "q", "tokens": 5, "period": 10**9 * SECOND}, "period"),
        ({"queue": "q", "tokens": 5, "period": SECOND, "burst": 0}, "burst"),
    ],
)
def test_limits_that_cannot_be_are_refused(make_harness: MakeHarness, fields: dict[str, Any], what: str) -> None:
    """Each number has to be one that a limit can have; the refusal names it, and nothing is stored."""
    harness = make_harness(two)
    with pytest.raises(InvalidInput) as refused:
        harness.dispatch(QueueConfigure(**fields))
    assert refused.value.what == what
    assert run_sync(harness.kernel.ports.persistence.list_queues()) == []


def single(policy: SingletonPolicy, number: int = 1, **options: Any) -> RunCreate:
    """Return the command that creates a run of which one goes on at a time."""
    return RunCreate(workflow_id="two", input=number, singleton="account-7", singleton_policy=policy, **options)


def test_runs_of_a_key_follow_each_other(make_harness: MakeHarness) -> None:
    """A run that queues up begins when those before it have ended, in order of creation."""
    harness = make_harness(two)
    created = [harness.dispatch(single(SingletonPolicy.QUEUE, number)).run_id for number in range(3)]
    harness.drain()
    runs = [harness.run_of(run_id) for run_id in created]
    assert [run.status for run in runs] == [RunStatus.COMPLETED] * 3
    for earlier, later in itertools.pairwise(runs):
        assert earlier.finished_at is not None
        assert later.started_at is not None
        assert earlier.finished_at <= later.started_at
    kinds = [event.type for event in harness.events(created[1])]
    assert kinds[:3] == [EventType.RUN_CREATED, EventType.RUN_DUE, EventType.RUN_STARTED]


def test_a_run_is_skipped_while_another_one_is_live(make_harness: MakeHarness) -> None:
    """A run that is to be skipped is not created; the answer is the run that is there, and it stays the answer."""
    harness = make_harness(two)
    there = harness.dispatch(single(SingletonPolicy.QUEUE))
    assert not there.skipped
    skip = single(SingletonPolicy.SKIP, 2, idempotency_key="k")
    skipped = harness.dispatch(skip)
    assert (skipped.run_id, skipped.skipped, skipped.status) == (there.run_id, True, RunStatus.PENDING)
    harness.drain()
    assert harness.dispatch(skip) == skipped
    with pytest.raises(IdempotencyMismatch):
        harness.dispatch(single(SingletonPolicy.QUEUE, 2, idempotency_key="k"))
    assert harness.dispatch(single(SingletonPolicy.SKIP, 2)).run_id != there.run_id


def test_a_run_replaces_those_before_it(make_harness: MakeHarness) -> None:
    """A run that replaces cancels the live runs of its key before it, and begins when they have ended."""
    harness = make_harness(two)
    old = [harness.dispatch(single(SingletonPolicy.QUEUE, number)).run_id for number in range(2)]
    claimed = harness.dispatch(RunClaimPending(worker="w", max_claims=1)).claimed
    assert [run.run_id for run in claimed] == [old[0]]
    new = harness.dispatch(single(SingletonPolicy.REPLACE, 5))
    assert [harness.run_of(run_id).status for run_id in old] == [RunStatus.CANCELLED] * 2
    harness.drain()
    assert harness.look(two, new.run_id).output == 7
    assert harness.dispatch(single(SingletonPolicy.REPLACE, 6)).run_id != new.run_id


def test_a_replacement_told_twice_replaces_once(make_harness: MakeHarness) -> None:
    """A repeated request neither creates a second run nor cancels one that came after it."""
    harness = make_harness(two)
    harness.dispatch(single(SingletonPolicy.QUEUE))
    replace = single(SingletonPolicy.REPLACE, 5, idempotency_key="k")
    new = harness.dispatch(replace)
    later = harness.dispatch(single(SingletonPolicy.QUEUE, 6))
    assert harness.dispatch(replace) == new
    harness.drain()
    assert [harness.run_of(run_id).status for run_id in (new.run_id, later.run_id)] == [RunStatus.COMPLETED] * 2


def test_a_run_is_not_done_again_beside_another(make_harness: MakeHarness) -> None:
    """A rerun of a run whose key another live one has is refused, and works when that has ended."""
    harness = make_harness(two)
    old = harness.dispatch(single(SingletonPolicy.QUEUE)).run_id
    harness.drain()
    new = harness.dispatch(single(SingletonPolicy.QUEUE, 2)).run_id
    with pytest.raises(SingletonTaken) as refused:
        harness.rerun(old, "second")
    assert refused.value.run_id == new
    harness.drain()
    harness.rerun(old, "second")
    harness.drain()
    assert harness.run_of(old).generation == 2


def test_a_start_that_is_due_while_the_key_is_taken(make_harness: MakeHarness, clock: FakeClock) -> None:
    """A run whose start comes while another one of its key is live begins when that has ended."""
    harness = make_harness(two)
    later = harness.dispatch(single(SingletonPolicy.QUEUE, 1, start_at=clock.now() + timedelta(minutes=1))).run_id
    assert harness.run_of(later).held
    harness.cancel(later)
    first_one = harness.dispatch(single(SingletonPolicy.QUEUE, 1)).run_id
    later = harness.dispatch(single(SingletonPolicy.QUEUE, 1, start_at=clock.now() + timedelta(minutes=1))).run_id
    clock.advance("2m")
    assert harness.dispatch(TimerFireDue()).fired == 0
    assert harness.run_of(later).held
    harness.drain()
    assert [harness.run_of(run_id).status for run_id in (first_one, later)] == [RunStatus.COMPLETED] * 2


def test_what_a_run_was_given_is_told(make_harness: MakeHarness) -> None:
    """The first event of a run names its concurrency key and its singleton key."""
    harness = make_harness(two)
    run_id = harness.dispatch(single(SingletonPolicy.QUEUE, concurrency_key="customer-1")).run_id
    (created, *_) = harness.events(run_id)
    assert (created.data["singleton"], created.data["concurrencyKey"]) == ("account-7", "customer-1")
    assert harness.run_of(run_id).header.concurrency_key == "customer-1"


def test_the_weight_of_a_stage_is_taken_from_the_rate(make_harness: MakeHarness) -> None:
    """Attempts take as many tokens as their stage weighs."""
    harness = make_harness(two)
    harness.dispatch(QueueConfigure(queue="slow", tokens=6, period=timedelta(hours=1)))
    runs = [harness.start(two, number) for number in range(3)]
    for lease in harness.dispatch(RunClaimPending(worker="w", keep_queues=frozenset({"default"}))).leases:
        harness.execute(lease)
    assert {harness.stage(run_id, "second").status for run_id in runs} == {StageStatus.READY}
    known = harness.registry.known()
    slow = LeaseRequest(worker="w", limit=9, ttl=LEASE_TTL, known=known, queues=frozenset({"slow"}))
    assert len(run_sync(harness.persistence.lease(slow))) == 2


def test_a_key_that_is_free_again_leaves_nobody_behind(make_harness: MakeHarness, clock: FakeClock) -> None:
    """A run whose start was refused because of another one goes on although that ends before anything is noted."""
    harness = make_harness(two)
    holder = harness.dispatch(single(SingletonPolicy.QUEUE, 1)).run_id
    later = harness.dispatch(single(SingletonPolicy.QUEUE, 1, start_at=clock.now() + timedelta(minutes=1))).run_id
    clock.advance("2m")

    def end_the_holder() -> None:
        harness.store.before_commit = lambda: harness.cancel(holder)

    # The first commit is refused, the second notes what to do about that; the holder ends between them.
    harness.store.before_commit = end_the_holder
    harness.dispatch(TimerFireDue())
    assert harness.run_of(holder).status is RunStatus.CANCELLED
    harness.drain()
    assert harness.run_of(later).status is RunStatus.COMPLETED


def test_a_run_is_skipped_however_few_tries_there_are(make_harness: MakeHarness) -> None:
    """That another run is there is an answer, also where nobody may try again after a conflict."""
    harness = make_harness(two, settings=Settings(conflict_tries=1))
    there = harness.dispatch(single(SingletonPolicy.QUEUE))
    skipped = harness.dispatch(single(SingletonPolicy.SKIP, 2, idempotency_key="k"))
    assert (skipped.run_id, skipped.skipped) == (there.run_id, True)
