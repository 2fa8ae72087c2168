"""The memory store may be used from several threads at once."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest

from holdfast.change import Committed
from holdfast.driving import run_sync
from holdfast_adapters.memory import MemoryPersistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import (
    SINK,
    TTL,
    commit,
    completed,
    created,
    events_of,
    job,
    key,
    noted,
    stand,
    started,
    take_all,
    the_run,
    wanted,
)

THREADS = 4
JOBS = 200


@pytest.fixture(autouse=True)
def _restless() -> Iterator[None]:
    """Make threads change places after nearly every step."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


def together(*works: threading.Thread) -> None:
    """Run threads to their ends."""
    for work in works:
        work.start()
    for work in works:
        work.join()


def test_threads_share_jobs_without_losing_or_doubling_any() -> None:
    """Workers in threads lease and complete all jobs of a run, each once, and the run counts every change."""
    store = MemoryPersistence(clock=FakeClock())
    stand(store, created(), started(jobs=[job(key(item=item)) for item in range(JOBS)]))
    done: list[int] = []

    def work(name: str) -> None:
        while leases := take_all(store, wanted(worker=name, limit=3)):
            outcomes = commit(store, *(completed(lease) for lease in leases))
            assert all(isinstance(outcome, Committed) for outcome in outcomes)
            done.extend(lease.key.item for lease in leases)

    together(*(threading.Thread(target=work, args=(f"w{n}",)) for n in range(THREADS)))
    assert sorted(done) == list(range(JOBS))
    assert the_run(store).version == 2 + 2 * JOBS
    assert [event.number for event in events_of(store)] == list(range(1, 3 * JOBS + 3))


def test_threads_write_read_and_deliver_side_by_side() -> None:
    """While threads create runs and tell events, others read and deliver; nothing is lost and nothing raises."""
    store = MemoryPersistence(clock=FakeClock())
    read_to_the_end: list[str] = []
    delivered: list[tuple[str, int]] = []
    finished = threading.Event()

    def write(first: int) -> None:
        for number in range(first, first + 50):
            stand(store, created(number), started(number), noted(number))

    def read() -> None:
        while not finished.is_set():
            run_sync(store.count())
            run_sync(store.next_due())
        read_to_the_end.append("read")

    def deliver() -> None:
        while not finished.is_set():
            streams = run_sync(store.lease_streams(sink=SINK, limit=5, events=20, ttl=TTL))
            delivered.extend((stream.run_id, event.number) for stream in streams for event in stream.events)
        read_to_the_end.append("deliver")

    others = [threading.Thread(target=read), threading.Thread(target=deliver)]
    for other in others:
        other.start()
    together(*(threading.Thread(target=write, args=(1 + 100 * n,)) for n in range(THREADS)))
    finished.set()
    for other in others:
        other.join()
    assert sorted(read_to_the_end) == ["deliver", "read"]
    counts = run_sync(store.count())
    assert sum(counts.runs.values()) == counts.ready == counts.undelivered == 50 * THREADS
    # Nobody settles a stream, so that none may be handed out twice.
    assert len(delivered) == len(set(delivered))
