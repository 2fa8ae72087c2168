"""Values on their way: checked before they count, never stale, never another run's, and read no more than needed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from obstore.store import MemoryStore

from holdfast import Context, Flow, Retry, RunStatus, Settings, StageStatus, run_sync, stage, workflow
from holdfast.errors import BlobMissing
from holdfast.ports.blob_store import BlobStore
from holdfast.verdicts import JobOutcome
from holdfast_adapters.blobs import LocalBlobStore, MemoryBlobStore, ObstoreBlobStore
from tests.kernel.behaviour.flows import ONCE, THRICE, Calls, flaky, line, step
from tests.kernel.watching import MANY, MakeHarness


class CountingBlobStore(MemoryBlobStore):
    """A blob store that counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.gets = 0

    async def get(self, key: str) -> bytes:
        """Count and return."""
        self.gets += 1
        return await super().get(key)


@pytest.mark.parametrize("value", ["seven", None, float("nan"), object(), 1j, "\ud800", [1], {1: 2}])
def test_weak_23_output_of_a_wrong_type_never_completes_a_stage(make_harness: MakeHarness, value: Any) -> None:
    """A value that violates the declared output type fails its stage with a clear reason, at once and for good."""

    @stage(retry=THRICE)
    async def answer(_: int, ctx: Context) -> int:
        ctx.services[Calls].note(ctx)
        returned: int = value
        return returned

    flow = workflow("answering", input=int, version="1").pipe(answer).pipe(step("after"))
    harness = make_harness(flow)
    ended = harness.run(flow, 1)

    assert ended.status is RunStatus.FAILED
    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.stage_id) == ("INVALID_OUTPUT", "answer")
    assert 'output of stage "answer"' in ended.failure.message
    assert harness.calls.names == ["answer"]
    assert run_sync(harness.persistence.next_due()) is None


def test_weak_23_output_above_the_limit_fails_its_stage(make_harness: MakeHarness) -> None:
    """An output larger than the kernel accepts fails its stage with the limit, and no blob of it stays behind."""

    @stage(retry=THRICE)
    async def write(_: int) -> str:
        return "x" * 5000

    flow = workflow("writing", input=int, version="1").pipe(write)
    harness = make_harness(flow, settings=Settings(blob_threshold=100, max_payload_bytes=4000))
    ended = harness.run(flow, 1)

    assert ended.failure is not None
    assert ended.failure.code == "INVALID_OUTPUT"
    assert "4,000" in ended.failure.message
    assert run_sync(harness.blob_store.list("", limit=MANY)) == []


def test_weak_24_completed_stage_shows_nothing_of_its_failed_attempts(make_harness: MakeHarness) -> None:
    """A stage that completed at its second attempt has no failure, and the instants of that attempt."""
    flow = workflow("flaky", input=int, version="1").pipe(flaky("a", failures=1))
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.work_off()
    failed = harness.stage(run_id, "a")
    assert failed.failure is not None
    assert failed.finished_at is None
    harness.clock.advance("10s")
    harness.work_off()

    done = harness.stage(run_id, "a")
    assert (done.status, done.failure, done.attempt) == (StageStatus.COMPLETED, None, 2)
    assert done.started_at == done.finished_at == harness.clock.now()
    assert (done.due_at, done.lease_until) == (None, None)


def test_weak_25_missing_blob_is_the_same_error_everywhere(tmp_path: Path) -> None:
    """Getting what does not exist raises BlobMissing with the key in every store; it never gives nothing."""
    stores: list[BlobStore] = [MemoryBlobStore(), LocalBlobStore(tmp_path), ObstoreBlobStore(MemoryStore())]
    for blobs in stores:
        with pytest.raises(BlobMissing, match="a/b"):
            run_sync(blobs.get("a/b"))


def test_weak_25_member_whose_output_is_gone_is_never_left_out(make_harness: MakeHarness) -> None:
    """When the blob of one member of a group is gone, the stage behind is not called with what is left."""

    @stage
    async def write(number: int) -> str:
        return "x" * 500

    @stage(retry=THRICE)
    async def join(parts: tuple[str, str], ctx: Context) -> int:
        ctx.services[Calls].note(ctx)
        return len(parts)

    flow = workflow("joining", input=int, version="1").parallel(write, write.using(name="other")).pipe(join)
    harness = make_harness(flow, settings=Settings(blob_threshold=100))
    run_id = harness.start(flow, 1)
    harness.admit()
    for lease in harness.lease(limit=2):
        harness.execute(lease)
    gone = harness.stage(run_id, "other").output
    assert gone is not None
    assert gone.blob is not None
    run_sync(harness.blob_store.delete(gone.blob))

    executed = harness.execute(*harness.lease())
    assert executed.outcome is JobOutcome.RETRYING
    assert executed.failure is not None
    assert executed.failure.error == "BlobMissing"
    assert harness.calls.names == []


def test_weak_26_artifacts_of_one_run_are_unknown_to_another(make_harness: MakeHarness) -> None:
    """A name saved in one run cannot be loaded in another, and the same name in both keeps two values."""

    @stage(retry=ONCE)
    async def save(number: int, ctx: Context) -> int:
        await ctx.save("result", number)
        return number

    @stage(retry=ONCE)
    async def load(_: int, ctx: Context) -> Any:
        return await ctx.load("result")

    saving = workflow("saving", input=int, version="1").pipe(save).pipe(load)
    loading = workflow("loading", input=int, version="1").pipe(load)
    harness = make_harness(saving, loading)
    first, second = harness.run(saving, 1), harness.run(saving, 2)
    stranger = harness.run(loading, 1)

    assert (first.output, second.output) == (1, 2)
    assert stranger.failure is not None
    assert stranger.failure.error == "ArtifactNotFound"


def _large(length: int) -> Flow[int, str]:
    flow: Flow[Any, Any] = workflow(f"large{length}", input=int, version="1")
    for number in range(length):

        @stage(name=f"s{number}")
        async def write(_: int | str) -> str:
            return "x" * 1000

        flow = flow.pipe(write)
    return flow


def test_weak_29_reads_grow_with_the_length_of_a_run_not_its_square(make_harness: MakeHarness) -> None:
    """A run of 20 stages asks the stores for as little per stage as one of 10: each stage reads what it declares."""
    costs: list[Counter[str]] = []
    for length in (10, 20):
        flow = _large(length)
        blobs = CountingBlobStore()
        harness = make_harness(flow, settings=Settings(blob_threshold=100), blob_store=blobs)
        harness.clock.advance("1s")
        run_id = harness.start(flow, 1)
        harness.admit()
        harness.store.calls.clear()
        assert len(harness.work_off()) == length
        assert blobs.gets == length - 1
        costs.append(Counter(harness.store.calls))
        assert harness.run_of(run_id).status is RunStatus.COMPLETED

    short, long = costs
    assert short == Counter(lease=11, commit=10, get_outputs=9)
    assert long == Counter(lease=21, commit=20, get_outputs=19)


def test_weak_29_worker_that_goes_on_with_a_run_reads_nothing_again(make_harness: MakeHarness) -> None:
    """A worker that keeps a run from stage to stage makes one commit for each and no other call."""
    flow = line(10, retry=Retry(1))
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.store.calls.clear()
    harness.drain()

    calls = Counter(harness.store.calls)

    assert harness.run_of(run_id).status is RunStatus.COMPLETED
    assert calls["commit"] == 11
    assert not {"get_outputs", "find_snapshot", "find_run", "find_stage"} & calls.keys()
