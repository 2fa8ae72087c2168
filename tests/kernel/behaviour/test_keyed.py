"""Keyed stages: what one run did under a key is not done again by another one, and nobody does it at the same time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from holdfast import Context, Flow, Retry, RunCancel, RunRerunFrom, RunStatus, Settings, StageStatus, stage, workflow
from holdfast.authoring.results import Ok
from holdfast.commands.lease_reap_stale import LeaseReapStale
from holdfast.events import EventType
from holdfast.verdicts import JobOutcome
from holdfast_testing.faults import Fault, FaultPlan, ProcessDied
from tests.kernel.watching import MakeHarness, WatchedHarness


class Order(BaseModel):
    """What is charged."""

    id: str
    amount: int = 1


class Bank:
    """Counts charges, and breaks off as often as it is told."""

    def __init__(self, *, failures: int = 0) -> None:
        self.charged: list[str] = []
        self.failures = failures

    def charge(self, order: Order) -> str:
        """Take the money."""
        self.charged.append(order.id)
        if self.failures:
            self.failures -= 1
            raise ConnectionError("line broke")
        return f"receipt {len(self.charged)}"


def order_id(order: Order) -> str:
    """Return what tells charges apart."""
    return order.id


@stage(key=order_id, retry=Retry(1))
async def charge(order: Order, ctx: Context) -> str:
    """Charge once for each order."""
    return ctx.services[Bank].charge(order)


@stage
async def thank(receipt: str) -> str:
    """End."""
    return f"thanks for {receipt}"


@stage(key=order_id, retry=Retry(1))
async def slowly(order: Order, ctx: Context) -> str:
    """Charge, but not at once."""
    await ctx.sleep("night", "10m")
    return ctx.services[Bank].charge(order)


SHOP = workflow("shop", input=Order, version="1").pipe(charge).pipe(thank)
SHOP_2 = workflow("shop", input=Order, version="2").pipe(charge)
OTHER = workflow("other", input=Order, version="1").pipe(charge)
TWICE = workflow("twice", input=Order, version="1").parallel(charge, charge.using(name="again"))
SLOW = workflow("slow", input=Order, version="1").pipe(slowly)
BOOK = Order(id="book")


@pytest.fixture
def bank() -> Bank:
    """Return whom the stages ask."""
    return Bank()


@pytest.fixture
def harness(make_harness: MakeHarness, bank: Bank) -> WatchedHarness:
    """Return a harness with the workflows of this module."""
    return make_harness(SHOP, SHOP_2, OTHER, TWICE, SLOW, services={Bank: bank})


def completions(harness: WatchedHarness, run_id: str, stage_id: str = "charge") -> list[dict[str, Any]]:
    """Return what the timeline tells of the completions of the stage."""
    return [
        dict(event.data)
        for event in harness.events(run_id)
        if event.type is EventType.STAGE_COMPLETED and event.key is not None and event.key.stage_id == stage_id
    ]


def test_result_is_shared_by_all_runs_and_the_timeline_says_so(harness: WatchedHarness, bank: Bank) -> None:
    """A second run with the same key gets the first one's output, does not execute, and goes on behind it."""
    first, second = harness.run(SHOP, BOOK), harness.run(SHOP, BOOK)

    assert bank.charged == ["book"]
    assert first.output == second.output == "thanks for receipt 1"
    assert completions(harness, first.run.id) == [{"attempt": 1}]
    assert completions(harness, second.run.id) == [{"attempt": 1, "cached": True}]
    assert harness.run(SHOP, Order(id="pen")).output == "thanks for receipt 2"


def test_weak_75_key_is_shared_by_versions_but_not_by_tenants_workflows_or_stages(
    harness: WatchedHarness, bank: Bank
) -> None:
    """Whoever asks from another tenant, workflow or stage executes; another version of the workflow does not."""
    harness.run(SHOP, BOOK)
    harness.run(SHOP, BOOK, tenant="acme")
    harness.run(OTHER, BOOK)
    both = harness.run(TWICE, BOOK)
    assert bank.charged == ["book"] * 5
    assert both.output == ("receipt 4", "receipt 5")
    assert harness.run(SHOP_2, BOOK).output == "receipt 1"
    assert harness.run(SHOP, BOOK, tenant="acme").output == "thanks for receipt 2"
    assert len(bank.charged) == 5


def test_weak_75_run_waits_while_another_one_executes_under_its_key(make_harness: MakeHarness, bank: Bank) -> None:
    """Of two runs that execute at the same moment one does the work; the other looks again and takes the result."""
    seen: list[object] = []

    @stage(key=order_id, retry=Retry(1))
    async def overlapping(order: Order, ctx: Context) -> str:
        if not seen:
            seen.append(None)
            (lease,) = host.lease(worker="w2")
            executed = host.execute(lease)
            seen[0] = (executed.outcome, executed.delay, ctx.run_id)
        return ctx.services[Bank].charge(order)

    flow = workflow("overlapping", input=Order, version="1").pipe(overlapping)
    host = make_harness(flow, services={Bank: bank})
    first, second = host.start(flow, BOOK), host.start(flow, BOOK)
    host.admit()
    host.execute(*host.lease())
    assert seen == [(JobOutcome.RETRYING, timedelta(seconds=1), first)]
    awaited = [event.data for event in host.events(second) if event.type is EventType.STAGE_KEY_AWAITED]
    assert awaited == [{"holder": first, "delaySeconds": 1.0}]
    assert host.stage(second, "overlapping").attempt == 0
    assert host.lease() == []
    host.drain()

    assert bank.charged == ["book"]
    assert [host.look(flow, run_id).output for run_id in (first, second)] == ["receipt 1"] * 2
    assert completions(host, second, "overlapping") == [{"attempt": 1, "cached": True}]


def test_run_looks_ever_more_seldom_whether_a_key_is_free(harness: WatchedHarness, bank: Bank) -> None:
    """While the holder sleeps the other run looks after 1, 2, 4… seconds, at last once a minute."""
    first = harness.start(SLOW, BOOK)
    harness.drain(until=timedelta())
    second = harness.start(SLOW, BOOK)
    harness.drain(until=timedelta(minutes=5))
    looks = [event.data["delaySeconds"] for event in harness.events(second) if event.type.value == "stage.key_awaited"]
    assert looks == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0]
    assert harness.look(SLOW, second).status is RunStatus.RUNNING
    harness.drain()

    assert bank.charged == ["book"]
    assert harness.look(SLOW, first).output == harness.look(SLOW, second).output == "receipt 1"
    assert (
        harness.look(SLOW, second).attempts("slowly")
        == len([event for event in harness.events(second) if event.type is EventType.STAGE_KEY_AWAITED]) + 1
    )


@pytest.mark.parametrize("is_done", [True, False])
def test_weak_75_same_key_with_another_input_is_an_error(harness: WatchedHarness, is_done: bool) -> None:
    """A key that does not tell inputs apart fails the second run, whether the first is done or under way."""
    first = harness.start(SLOW, BOOK)
    harness.drain(until=None if is_done else timedelta())
    second = harness.start(SLOW, Order(id="book", amount=2))
    harness.drain(until=timedelta())

    failure = harness.run_of(second).failure
    assert failure is not None
    assert (failure.code, failure.stage_id) == ("KEY_MISMATCH", "slowly")
    assert '"book"' in failure.message
    assert first in failure.message
    harness.drain()
    assert harness.look(SLOW, first).output == "receipt 1"


def test_key_is_free_again_when_its_holder_fails(make_harness: MakeHarness) -> None:
    """After a failure, by error or by the loss of the worker, the next run executes; a failure is not shared."""
    bank = Bank(failures=1)
    harness = make_harness(SHOP, services={Bank: bank})
    assert harness.run(SHOP, BOOK).status is RunStatus.FAILED
    assert harness.run(SHOP, BOOK).output == "thanks for receipt 2"

    plan = FaultPlan()
    dying = make_harness(SHOP, services={Bank: bank}, plan=plan)
    lost = harness.start(SHOP, Order(id="pen"))
    harness.admit()
    (lease,) = harness.lease()

    def die(order: Order) -> str:
        plan.die("in the middle of a charge")

    bank.charge = die  # type: ignore[method-assign]  # the process ends here
    with pytest.raises(ProcessDied):
        dying.execute(lease)
    harness.clock.advance("31s")
    assert harness.dispatch(LeaseReapStale()).failed == 1
    assert harness.run_of(lost).status is RunStatus.FAILED
    del bank.charge
    assert harness.run(SHOP, Order(id="pen")).output == "thanks for receipt 3"


def test_attempt_takes_the_key_of_the_one_before(make_harness: MakeHarness) -> None:
    """A retried attempt goes on under the key that its instance holds, and other runs still wait for it."""
    bank = Bank(failures=2)
    patient = charge.using(retry=Retry(3, base="10s", backoff="fixed", jitter=0))
    flow = workflow("patient", input=Order, version="1").pipe(patient)
    harness = make_harness(flow, services={Bank: bank})
    first, second = harness.start(flow, BOOK), harness.start(flow, BOOK)
    harness.drain(until=timedelta())
    assert harness.kinds(second)[-1] == "stage.key_awaited"
    harness.drain()
    assert harness.look(flow, first).output == harness.look(flow, second).output == "receipt 3"
    assert len(bank.charged) == 3


def test_key_is_free_again_when_its_holder_is_cancelled(harness: WatchedHarness, bank: Bank) -> None:
    """A run that is cancelled while it holds a key lets the one that waits for it execute."""
    first = harness.start(SLOW, BOOK)
    harness.drain(until=timedelta())
    second = harness.start(SLOW, BOOK)
    harness.drain(until=timedelta(seconds=3))
    harness.dispatch(RunCancel(run_id=first))
    harness.drain()

    assert harness.look(SLOW, second).output == "receipt 1"
    assert completions(harness, second, "slowly") == [{"attempt": 1}]
    assert bank.charged == ["book"]


def test_crash_before_the_result_is_stored_leaves_the_key_with_its_holder(
    make_harness: MakeHarness, bank: Bank
) -> None:
    """The worker that dies at its commit is the only one that executed; the retry executes under the same key."""
    plan = FaultPlan()
    retried = workflow("retried", input=Order, version="1").pipe(charge.using(retry=Retry(2, base="1s")))
    harness = make_harness(retried, services={Bank: bank})
    dying = make_harness(retried, services={Bank: bank}, plan=plan)
    first, second = harness.start(retried, BOOK), harness.start(retried, BOOK)
    harness.admit()
    (lease,) = harness.lease()
    original = bank.charge

    def last_words(order: Order) -> str:
        plan.fail_next(Fault.DIE_BEFORE)
        return original(order)

    bank.charge = last_words  # type: ignore[method-assign]  # the process ends behind it
    with pytest.raises(ProcessDied):
        dying.execute(lease)
    del bank.charge
    harness.drain()

    assert bank.charged == ["book", "book"]
    assert [harness.look(retried, one).output for one in (first, second)] == ["receipt 2"] * 2


def test_key_whose_taking_is_not_confirmed_is_taken_once(make_harness: MakeHarness, bank: Bank) -> None:
    """When the commit that takes the key may have happened it is repeated, and its own key does not hold it up."""
    plan = FaultPlan()
    harness = make_harness(SHOP, services={Bank: bank}, plan=plan)
    run_id = harness.start(SHOP, BOOK)
    harness.admit()
    (lease,) = harness.lease()
    plan.fail_next(Fault.FAIL_AFTER)
    assert harness.execute(lease).outcome is JobOutcome.COMPLETED
    harness.drain()
    assert harness.look(SHOP, run_id).output == "thanks for receipt 1"
    assert bank.charged == ["book"]


def test_retried_run_executes_under_its_key_again(make_harness: MakeHarness) -> None:
    """`run.retry` of a run whose keyed stage failed executes it, unless somebody else did so meanwhile."""
    bank = Bank(failures=2)
    harness = make_harness(SHOP, services={Bank: bank})
    first, second = harness.run(SHOP, BOOK), harness.run(SHOP, BOOK)
    assert [first.status, second.status] == [RunStatus.FAILED] * 2
    for ended in (first, second):
        harness.retry(ended.run.id)
        harness.drain()
        assert harness.look(SHOP, ended.run.id).output == "thanks for receipt 3"
    assert len(bank.charged) == 3


def test_rerun_finds_the_result_of_the_key(harness: WatchedHarness, bank: Bank) -> None:
    """The result stays until the key changes, so a rerun of the stage is cached as well."""
    ended = harness.run(SHOP, BOOK)
    harness.dispatch(RunRerunFrom(run_id=ended.run.id, from_stage_id="charge"))
    harness.drain()
    assert harness.look(SHOP, ended.run.id).output == "thanks for receipt 1"
    assert bank.charged == ["book"]


def test_weak_76_replayed_result_patches_the_state_as_the_first_execution_did(make_harness: MakeHarness) -> None:
    """The patch of a cached result is merged into its own run's state, deep, with deletions."""

    @stage(key=order_id)
    async def note(order: Order, ctx: Context) -> Ok[str]:
        return Ok(order.id, patch={"order": {"seen": True, "old": None}})

    flow = workflow("noted", input=Order, version="1", state=True).pipe(note)
    harness = make_harness(flow)
    state = {"order": {"keep": 1, "old": 2}, "other": [1]}
    first, second = (harness.run(flow, BOOK, initial_state=state) for _ in range(2))
    third = harness.run(flow, BOOK)

    assert completions(harness, second.run.id, "note")[0].get("cached") is True
    assert first.state == second.state == {"order": {"keep": 1, "seen": True}, "other": [1]}
    assert third.state == {"order": {"seen": True}}


def test_large_result_is_a_payload_of_its_own_for_every_run(make_harness: MakeHarness) -> None:
    """A result in a blob is copied for the run that takes it, so that the first run may be deleted."""

    @stage(key=order_id)
    async def long(order: Order) -> str:
        return order.id * 1000

    flow = workflow("long", input=Order, version="1").pipe(long)
    harness = make_harness(flow, settings=Settings(blob_threshold=100))
    first, second = harness.run(flow, BOOK), harness.run(flow, BOOK)
    blobs = [harness.stage(ended.run.id, "long").output for ended in (first, second)]
    assert blobs[0] is not None
    assert blobs[1] is not None
    assert blobs[0].digest == blobs[1].digest
    assert blobs[0].blob != blobs[1].blob
    assert second.output == "book" * 1000


def _exit(_: object) -> str:
    raise SystemExit(3)


def _missing(order: Any) -> str:
    return str(order.nothing)


def _anything(value: object) -> Callable[[Any], Any]:
    return lambda _: value


@pytest.mark.parametrize(
    ("key", "said"),
    [
        (_anything(None), "NoneType"),
        (_anything(5), "int"),
        (_anything(""), "text of 0 characters"),
        (_anything("k" * 10_000), "text of 10000 characters"),
        (_anything("a\nb"), "text of 3 characters"),
        (_anything("\ud800"), "text of 1 characters"),
        (_missing, "raised AttributeError"),
        (_exit, "raised SystemExit"),
    ],
)
def test_key_function_that_raises_or_returns_rubbish_fails_its_stage(
    make_harness: MakeHarness, bank: Bank, key: Callable[[Any], str], said: str
) -> None:
    """A key that is no key is told as such, is not retried, and nothing is executed."""
    unfit = charge.using(key=key, retry=Retry(3))
    flow: Flow[Order, str] = workflow("unfit", input=Order, version="1").pipe(unfit)
    harness = make_harness(flow, services={Bank: bank})
    ended = harness.run(flow, BOOK)

    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.stage_id) == ("INVALID_KEY", "charge")
    assert said in ended.failure.message
    assert ended.attempts("charge") == 1
    assert bank.charged == []


def test_keys_of_items_are_those_of_their_inputs(harness: WatchedHarness, bank: Bank) -> None:
    """Items of a map with the same key share one execution, like runs do."""
    flow = workflow("mapped", input=list[Order], version="1").map(charge, limit=3)
    harness.know(flow)
    orders = [Order(id=name) for name in ("a", "b", "a", "a")]
    ended = harness.run(flow, orders)
    assert ended.output == ["receipt 1", "receipt 2", "receipt 1", "receipt 1"]
    assert [bool(data.get("cached")) for data in completions(harness, ended.run.id)].count(True) == 2
    assert all(one.status is StageStatus.COMPLETED for one in ended.stages)
