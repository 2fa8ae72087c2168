"""What went wrong in other engines and must not here, on every store; the numbers are those of a list of such bugs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

import pytest

from holdfast import Context, Retry, RunStatus, Settings, run_sync, stage, workflow
from holdfast.commands.lease_reap_stale import LeaseReapStale
from holdfast.commands.run_claim_pending import RunClaimPending
from holdfast.commands.timer_fire_due import TimerFireDue
from holdfast.decide.fire import REST
from holdfast.entities.wait import WaitStatus
from holdfast.errors import BlobMissing, ChildFailed
from holdfast_adapters.blobs import MemoryBlobStore
from tests.kernel.watching import LEASE_TTL, MakeHarness

ONCE: Final = Retry(1)
#: What no store can hold as it is, or is often held wrongly.
ODD_TEXTS: Final = ("a\x00b", "a\ud800b", "\U0001f600", "\\u0000", "\x1b[31m")
SMALL: Final = Settings(blob_threshold=64, max_payload_bytes=700)


@stage(retry=ONCE)
async def much(text: str, ctx: Context) -> str:
    """Return more than fits into a row, which is larger still within another text."""
    return text * 300


@stage(retry=ONCE)
async def delegates(text: str, ctx: Context) -> str:
    """Have another run do it."""
    try:
        return await ctx.call("part", MUCH, text)
    except ChildFailed as error:
        return str(error.failure_code)


@stage(retry=ONCE, waits={"answer": str})
async def asks(text: str, ctx: Context) -> str:
    """Wait for an answer, for a second."""
    return await ctx.wait_for("answer", str, timeout="1s")


MUCH: Any = workflow("much", input=str).pipe(much)
PARENT: Any = workflow("parent", input=str).pipe(delegates)
ASKING: Any = workflow("asking", input=str).pipe(asks)


class LosingBlobStore(MemoryBlobStore):
    """A place that has lost what certain runs put there."""

    def __init__(self) -> None:
        super().__init__()
        #: How the keys begin that are lost.
        self.lost: tuple[str, ...] = ()

    async def get(self, key: str) -> bytes:
        """Return the blob unless it is lost."""
        if key.startswith(self.lost) and "/input" not in key:
            raise BlobMissing(key)
        return await super().get(key)


def test_peer_08_timer_about_which_nothing_can_be_decided_hides_no_other(make_harness: MakeHarness) -> None:
    """The end of a child whose output is lost stands in front of all timers; they fire, and it is tried again later."""
    blobs = LosingBlobStore()
    harness = make_harness(PARENT, MUCH, ASKING, blob_store=blobs, settings=SMALL)
    parent, asking = harness.start(PARENT, "x"), harness.start(ASKING, "y")
    while not harness.children(parent):
        run_sync(harness.step())
    (child,) = harness.children(parent)
    blobs.lost = (child,)
    while run_sync(harness.step()):
        pass
    assert harness.run_of(child).status is RunStatus.COMPLETED
    harness.clock.advance("1s")

    # One at a time, so that the other is never on the page of the first.
    assert [harness.dispatch(TimerFireDue(limit=1)).fired for _ in range(3)].count(1) == 1
    assert [wait.status for wait in harness.waits(asking)] == [WaitStatus.EXPIRED]
    assert harness.run_of(parent).status is RunStatus.WAITING
    blobs.lost = ("nothing",)
    harness.clock.advance(REST)
    harness.drain()
    assert harness.look(PARENT, parent).output == "x" * 300


def test_peer_08_result_that_is_too_large_for_its_parent_is_told_as_a_failure(make_harness: MakeHarness) -> None:
    """What can never be handed over is told at once, and does not stay in front of other timers."""
    harness = make_harness(PARENT, MUCH, blob_store=MemoryBlobStore(), settings=SMALL)
    parent = harness.start(PARENT, '"')
    harness.drain()
    (child,) = harness.children(parent)
    assert harness.run_of(child).status is RunStatus.COMPLETED
    assert harness.look(PARENT, parent).output == "RESULT_TOO_LARGE"
    assert run_sync(harness.persistence.list_due_timers(limit=10)) == []


def test_peer_08_leases_that_a_host_knows_nothing_of_hide_no_others(make_harness: MakeHarness) -> None:
    """A host takes back expired leases of workflows that it does not know, page by page, until all are taken back."""
    harness, other = make_harness(MUCH), make_harness(ASKING)
    strangers = [harness.start(MUCH, "x") for _ in range(12)]
    own = other.start(ASKING, "y")
    for host in (harness, other):
        host.dispatch(RunClaimPending(worker="w", max_claims=20))
        assert host.lease(limit=20)
    harness.clock.advance(LEASE_TTL)
    # Their only attempts are used up.
    assert [other.dispatch(LeaseReapStale(limit=3)).failed for _ in range(6)] == [3, 3, 3, 3, 1, 0]
    assert {harness.run_of(run_id).status for run_id in (*strangers, own)} == {RunStatus.FAILED}


def test_peer_08_pending_runs_that_a_host_knows_nothing_of_hide_no_others(make_harness: MakeHarness) -> None:
    """Runs of other workflows that have waited for longer do not keep a host from those that it knows."""
    harness, other = make_harness(MUCH), make_harness(ASKING)
    for _ in range(12):
        harness.start(MUCH, "x")
    own = other.start(ASKING, "y")
    claimed = other.dispatch(RunClaimPending(worker="w", max_claims=3)).claimed
    assert [run.run_id for run in claimed] == [own]


@pytest.mark.parametrize("odd", ODD_TEXTS, ids=ascii)
def test_peer_18_odd_text_anywhere_ends_the_run(make_harness: MakeHarness, odd: str) -> None:
    """NUL and lone surrogates in outputs, errors, logs and annotations leave no run stuck; what is legal is kept."""

    @stage(retry=Retry(2, backoff="fixed", base="1s", jitter=0))
    async def speaks(text: str, ctx: Context) -> str:
        ctx.log(odd, data=odd)
        ctx.annotate("odd", odd)
        await ctx.once("kept", lambda: odd)
        if ctx.attempt == 1:
            raise ConnectionError(odd)
        return odd

    flow: Any = workflow("speaks", input=str).pipe(speaks)
    harness = make_harness(flow)
    run_id = harness.start(flow, "x")
    other = harness.start(flow, "x")
    harness.drain()
    ended = harness.look(flow, run_id)
    assert ended.run.status.is_terminal
    assert ended.run.status is harness.run_of(other).status
    if odd.isascii() or odd.isprintable():
        assert ended.output == odd
    else:
        assert ended.run.status is RunStatus.FAILED
    assert harness.waits(run_id) == ()
    harness.clock.advance(timedelta(hours=1))
    assert run_sync(harness.persistence.list_expired(limit=10)) == []


@pytest.mark.parametrize("number", [float("nan"), float("inf"), -float("inf")])
def test_peer_18_number_without_a_form_fails_the_stage(make_harness: MakeHarness, number: float) -> None:
    """An output that JSON has no form for fails its stage, whose failure is kept by a commit of its own."""

    @stage(retry=ONCE)
    async def counts(text: str, ctx: Context) -> float:
        return number

    flow: Any = workflow("counts", input=str).pipe(counts)
    harness = make_harness(flow)
    run_id = harness.start(flow, "x")
    harness.drain()
    failure = harness.run_of(run_id).failure
    assert failure is not None
    assert failure.stage_id == "counts"
