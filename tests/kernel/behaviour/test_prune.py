"""Retention: runs go with their blobs once nothing needs them, and what a crash leaves behind is found."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import pytest

from holdfast import Context, RunCreate, Settings, run_sync, stage, workflow
from holdfast.commands.blob_collect import BlobCollect
from holdfast.commands.run_prune import RunPrune
from holdfast.errors import Unavailable
from holdfast.ports.persistence import Persistence
from holdfast.ports.queries import RunFilter
from holdfast_adapters.blobs.memory import MemoryBlobStore
from holdfast_testing.clock import FakeClock
from holdfast_testing.harness import Harness

DAY: Final = timedelta(days=1)
SMALL_ROWS: Final = Settings(blob_threshold=100)


def number(words: int) -> str:
    """Return what tells texts apart."""
    return f"{words} words"


@stage(key=number)
async def write(words: int) -> list[str]:
    """Write more than fits in a row."""
    return ["word"] * words


@stage
async def save(words: list[str], ctx: Context) -> int:
    """Keep the words under a name, too."""
    await ctx.save("words", words)
    return len(words)


large = workflow("large", input=int).pipe(write).pipe(save)


class CrashingBlobStore(MemoryBlobStore):
    """Fails the delete calls that it is told to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False

    async def delete(self, key: str) -> None:
        """Delete, or fail."""
        if self.is_away:
            raise Unavailable("the blob store is away")
        await super().delete(key)


@pytest.fixture
def blobs() -> CrashingBlobStore:
    """Return the blob store of the harness."""
    return CrashingBlobStore()


@pytest.fixture
def harness(store: Persistence, clock: FakeClock, blobs: CrashingBlobStore) -> Harness:
    """Return a harness whose payloads become blobs soon."""
    return Harness(large, persistence=store, clock=clock, blob_store=blobs, settings=SMALL_ROWS)


def keys(harness: Harness) -> list[str]:
    """Return the keys of all blobs."""
    return list(run_sync(harness.blob_store.list("", limit=1_000)))


def test_a_run_goes_with_its_blobs(harness: Harness) -> None:
    """A month after its end a run goes by default, and its blobs with it; others keep theirs."""
    harness.run(large, 1000)
    harness.clock.advance(29 * DAY)
    kept = harness.run(large, 2000)
    before = keys(harness)
    assert harness.dispatch(RunPrune()).pruned == 0
    harness.clock.advance(DAY)
    done = harness.dispatch(RunPrune())
    assert (done.pruned, done.looked_at, done.next) == (1, 1, None)
    assert done.blobs == len(before) - len(keys(harness)) > 0
    assert {key.partition("/")[0] for key in keys(harness)} == {kept.run.id}
    assert harness.look(large, kept.run.id).output == 2000


def test_a_result_under_a_key_outlives_the_run_that_made_it(harness: Harness) -> None:
    """A run that took the result of another one keeps it, also when that one has gone with its blobs."""
    harness.run(large, 1000)
    taker = harness.run(large, 1000)
    first = run_sync(harness.persistence.list_runs(RunFilter(), limit=2))[-1].id
    harness.clock.advance(30 * DAY - timedelta(seconds=1))
    harness.dispatch(RunPrune(older_than=DAY))
    assert run_sync(harness.persistence.find_run(first)) is not None
    assert run_sync(harness.persistence.find_run(taker.run.id)) is None
    later = harness.run(large, 1000)
    assert later.attempts("write") == 1
    harness.clock.advance(timedelta(seconds=1))
    assert harness.dispatch(RunPrune(older_than=DAY)).pruned == 1
    harness.rerun(later.run.id, "save")
    harness.drain()
    assert harness.look(large, later.run.id).output == 1000


def test_idempotency_keys_outlive_their_run(harness: Harness) -> None:
    """The same key creates no second run for a month after the first one went, and then it does."""
    command = RunCreate(workflow_id="large", input=1, idempotency_key="once")
    created = harness.dispatch(command)
    harness.drain()
    harness.clock.advance(100 * DAY)
    assert harness.dispatch(RunPrune()).pruned == 1
    harness.clock.advance(30 * DAY - timedelta(seconds=1))
    assert harness.dispatch(RunPrune()).operations == 0
    assert harness.dispatch(command).run_id == created.run_id
    harness.clock.advance(timedelta(seconds=1))
    assert harness.dispatch(RunPrune()).operations == 1
    assert harness.dispatch(command).run_id != created.run_id


def test_a_trial_counts_and_removes_nothing(harness: Harness) -> None:
    """A trial tells how many runs would go, batch by batch, and touches neither rows nor blobs."""
    for number in range(3):
        harness.run(large, 1000 + number)
    harness.clock.advance(30 * DAY)
    before = keys(harness)
    first = harness.dispatch(RunPrune(limit=2, trial=True))
    assert (first.pruned, first.blobs) == (2, 0)
    assert harness.dispatch(RunPrune(limit=2, trial=True, after=first.next)).pruned == 1
    assert keys(harness) == before
    assert harness.dispatch(RunPrune()).pruned == 3


def test_i30_a_crash_leaves_blobs_without_a_run_and_never_the_other_way_round(
    harness: Harness, blobs: CrashingBlobStore
) -> None:
    """When blobs cannot be removed the run has gone all the same, and the collector finds what it left."""
    harness.run(large, 1000)
    harness.clock.advance(30 * DAY)
    left = keys(harness)
    blobs.is_away = True
    with pytest.raises(Unavailable):
        harness.dispatch(RunPrune())
    assert run_sync(harness.persistence.list_runs(RunFilter(), limit=1)) == []
    assert keys(harness) == left
    blobs.is_away = False
    kept = harness.run(large, 1000)
    assert harness.dispatch(BlobCollect(trial=True)).collected == len(left)
    done = harness.dispatch(BlobCollect())
    assert (done.collected, done.next) == (len(left), None)
    assert {key.partition("/")[0] for key in keys(harness)} == {kept.run.id}


def test_i30_the_collector_leaves_alone_what_is_not_its_own(harness: Harness, blobs: CrashingBlobStore) -> None:
    """Blobs of runs that exist, of runs that may be about to, and of anything but runs stay."""
    young = harness.kernel.ports.ids.new_id()
    others = [f"{young}/input-x", "workers/w@000000001", "notes", "0000-7000/x", f"x{young}/input"]
    for key in others:
        run_sync(blobs.put(key, b"x"))
    there = harness.run(large, 1000)
    mine = {key for key in keys(harness) if key.startswith(there.run.id)}
    assert mine
    assert harness.dispatch(BlobCollect()).collected == 0
    harness.clock.advance(DAY - timedelta(milliseconds=1))
    assert harness.dispatch(BlobCollect()).collected == 0
    harness.clock.advance(timedelta(milliseconds=1))
    assert harness.dispatch(BlobCollect()).collected == 1
    assert set(keys(harness)) == mine | set(others[1:])


def test_the_collector_goes_on_where_it_was(harness: Harness, blobs: CrashingBlobStore) -> None:
    """Each batch looks at so many blobs and tells where the next one begins."""
    gone = harness.kernel.ports.ids.new_id()
    for number in range(5):
        run_sync(blobs.put(f"{gone}/{number}", b"x"))
    harness.clock.advance(2 * DAY)
    after: str | None = None
    removed: list[int] = []
    while True:
        done = harness.dispatch(BlobCollect(limit=2, after=after))
        assert done.looked_at <= 2
        removed.append(done.collected)
        if done.next is None:
            break
        after = done.next
    assert removed == [2, 2, 1]
    assert keys(harness) == []
