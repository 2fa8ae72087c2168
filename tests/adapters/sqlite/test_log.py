"""The write-ahead log stays short and is put away, whoever reads meanwhile."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from holdfast.driving import run_sync
from holdfast_adapters.sqlite import SqlitePersistence, transactions
from holdfast_adapters.sqlite.lanes import Control, Lane, Request
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import completed, created, job, key, stand, started, take, the_run

LIMIT = 256 * 1024
OUTPUT = '"' + "x" * 20_000 + '"'


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoint early."""
    monkeypatch.setattr(transactions, "WAL_BYTES", LIMIT)


def wal(path: Path) -> int:
    """Return the size of the log."""
    return path.with_name(path.name + "-wal").stat().st_size


@pytest.fixture
def small(path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch) -> SqlitePersistence:
    """Return an opened store whose log shrinks to the early limit."""
    monkeypatch.setattr("holdfast_adapters.sqlite.connection.WAL_BYTES", LIMIT)
    store = SqlitePersistence(path, clock=clock)
    run_sync(store.open())
    return store


def fill(store: SqlitePersistence, count: int, *, each: Callable[[], None] = lambda: None) -> None:
    """Complete *count* stages with outputs of twenty kilobytes."""
    stand(store, created(), started(jobs=[job(key(item=item)) for item in range(count)]))
    for item in range(count):
        stand(store, completed(take(store, key(item=item)), output=OUTPUT))
        each()


def test_the_log_stays_short(small: SqlitePersistence, path: Path) -> None:
    """However much is written, the log never grows much beyond its limit."""
    sizes: list[int] = []
    fill(small, 150, each=lambda: sizes.append(wal(path)))
    assert max(sizes) < 2 * LIMIT
    assert path.stat().st_size > 4 * LIMIT
    run_sync(small.close())


def test_a_reader_delays_the_log_and_nothing_else(small: SqlitePersistence, path: Path) -> None:
    """While a long read pins the log it grows and commits stand; when the read ends the log is short again."""
    stand(small, created(2))
    reader = sqlite3.connect(path)
    reader.execute("BEGIN")
    assert reader.execute("SELECT count(*) FROM run").fetchone() == (1,)
    fill(small, 60)
    assert wal(path) > 3 * LIMIT
    assert reader.execute("SELECT count(*) FROM run").fetchone() == (1,)
    reader.close()
    stand(small, *(created(number) for number in range(100, 250)))
    assert wal(path) <= 2 * LIMIT
    run_sync(small.close())


def test_an_idle_store_puts_its_log_away(store: SqlitePersistence, path: Path) -> None:
    """A store that has nothing to do for a while brings its log into the file, and then uses the log's space again."""
    fill(store, 3)
    before = wal(path)
    assert before > 0
    lanes = store._access.opened
    run_sync(lanes.writing.submit(Control(lanes._idle)))
    assert versions_without_log(path) == [8]
    assert wal(path) == before
    stand(store, created(2))
    assert wal(path) == before
    assert the_run(store).version == 8


def versions_without_log(path: Path) -> list[int]:
    """Return the versions of the runs that the database file holds by itself."""
    copy = path.with_name("copy.db")
    shutil.copy(path, copy)
    connection = sqlite3.connect(copy)
    try:
        return [version for (version,) in connection.execute("SELECT version FROM run ORDER BY n")]
    finally:
        connection.close()


def test_idleness_is_noticed_once() -> None:
    """A lane calls its idle work once after it was busy, and then waits without waking up."""
    called = threading.Semaphore(0)
    lane = Lane("test", lambda batch: None, idle=called.release, idle_after=0.001)
    run_sync(lane.submit(Request[None]()))
    assert called.acquire(timeout=10)
    assert not called.acquire(timeout=0.05)
    run_sync(lane.submit(Request[None]()))
    assert called.acquire(timeout=10)
    lane.end()


def test_callers_do_not_wait_for_the_rest() -> None:
    """What a batch leaves to be done is done behind its answer, once a batch, and before the next one."""
    rested, go_on = threading.Semaphore(0), threading.Semaphore(0)

    def rest() -> None:
        rested.release()
        assert go_on.acquire(timeout=10)

    lane = Lane("test", lambda batch: None, rest=rest)
    run_sync(lane.submit(Request[None]()))
    assert rested.acquire(timeout=10)
    go_on.release(2)
    run_sync(lane.submit(Request[None]()))
    assert rested.acquire(timeout=10)
    # Nothing is left to be done behind a control, which may have closed all.
    run_sync(lane.submit(Control(lambda: None)))
    lane.end()
    assert not rested.acquire(blocking=False)


def test_closing_leaves_one_file(store: SqlitePersistence, path: Path) -> None:
    """After the last store is closed everything is in the file, and no log stands beside it."""
    fill(store, 3)
    run_sync(store.close())
    assert sorted(each.name for each in path.parent.iterdir()) == ["store.db", "store.db-lock"]
    there = sqlite3.connect(f"file:{path}?immutable=1", uri=True)
    assert there.execute("SELECT count(*) FROM stage").fetchone() == (3,)
    there.close()
