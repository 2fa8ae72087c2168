"""What a blob store that fails does to an attempt."""

from __future__ import annotations

from holdfast import Retry, RunStatus, Settings, run_sync, stage, workflow
from holdfast.errors import Unavailable
from holdfast_adapters.blobs.memory import MemoryBlobStore
from tests.kernel.watching import MakeHarness

executed: list[int] = []


@stage
async def write(words: int) -> list[str]:
    """Write more than fits in a row."""
    executed.append(words)
    return ["word"] * words


@stage(retry=Retry(3, base="1s"))
async def count(words: list[str]) -> int:
    """Count what was written."""
    return len(words)


large = workflow("large", input=int).pipe(write.using(retry=Retry(3, base="1s"))).pipe(count)
SMALL_ROWS = Settings(blob_threshold=1000)


class RefusingBlobStore(MemoryBlobStore):
    """Refuses to put anything as often as it is told."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.times = times

    async def put(self, key: str, data: bytes) -> None:
        """Refuse, or store."""
        if self.times:
            self.times -= 1
            raise Unavailable("the blob store is away")
        await super().put(key, data)


def test_missing_blob_ends_in_a_failure_that_names_it(make_harness: MakeHarness) -> None:
    """An input whose blob is gone fails the stage once its attempts are used up; it is not tried for ever."""
    blobs = MemoryBlobStore()
    harness = make_harness(large, blob_store=blobs, settings=SMALL_ROWS)
    run_id = harness.start(large, 1000)
    harness.admit()
    (lease,) = harness.lease()
    harness.execute(lease)
    for key in run_sync(blobs.list("", limit=100)):
        run_sync(blobs.delete(key))
    harness.drain()
    ended = harness.look(large, run_id)
    assert ended.status is RunStatus.FAILED
    assert ended.attempts("count") == 3
    assert ended.failure is not None
    assert "was not found" in ended.failure.message


def test_output_that_cannot_be_put_uses_up_the_attempt(make_harness: MakeHarness) -> None:
    """A body that ran has used its attempt, whatever keeps its output from the blob store."""
    for times, status in ((2, RunStatus.COMPLETED), (3, RunStatus.FAILED)):
        executed.clear()
        harness = make_harness(large, blob_store=RefusingBlobStore(times), settings=SMALL_ROWS)
        ended = harness.run(large, 1000)
        assert ended.status is status
        assert executed == [1000] * 3
