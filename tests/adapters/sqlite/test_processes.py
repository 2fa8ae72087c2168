"""Several processes on one file, and processes that are killed."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import sqlite3
import subprocess
import sys
import textwrap
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Final

from holdfast.driving import run_sync
from holdfast.entities.run import RunStatus
from holdfast.ports.queries import RunFilter
from holdfast_adapters.sqlite import SqlitePersistence, all_migrations, current_version
from holdfast_adapters.sqlite.filelock import FileLock
from holdfast_adapters.sqlite.lanes import Control
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import (
    MANY,
    begin,
    created,
    events_of,
    everything,
    job,
    key,
    stand,
    started,
    take,
    take_all,
    the_run,
    the_stage,
)

#: What every child begins with: a store at the path it was given, and logs that are checkpointed all the time.
PRELUDE: Final = textwrap.dedent(
    """
    import asyncio, sys, time
    from datetime import UTC, datetime, timedelta
    from pathlib import Path
    from holdfast.change import Change, Fence, Finish, Grant
    from holdfast.driving import run_sync
    from holdfast.entities.run import RunStatus
    from holdfast.entities.stage import StageStatus
    from holdfast_adapters.sqlite import SqlitePersistence, transactions
    from holdfast_testing.contracts.samples import *

    transactions.WAL_BYTES = 64 * 1024

    class Now:
        def now(self):
            return datetime.now(UTC)

    def tell(*words):
        print(*words, flush=True)

    store = SqlitePersistence(sys.argv[1], clock=Now())
    run_sync(store.open())
    tell("ready")
    sys.stdin.readline()
    """
)

#: Whole runs of one stage, eight at a time, for so many seconds; tells every run that was acknowledged to its end.
HAMMER: Final = PRELUDE + textwrap.dedent(
    """
    async def live(numbers, until):
        for number in numbers:
            if time.monotonic() > until:
                return
            at = key(run=number)
            new = job(at, grant=Grant(worker="w", ttl=TTL))
            last = Change(
                run_id=at.run_id,
                fence=Fence(key=at, epoch=1),
                settle=Finish(status=StageStatus.COMPLETED, output=payload('"' + "x" * 500 + '"')),
                step=ended(number, status=RunStatus.COMPLETED).step,
            )
            for change in (created(number), started(number, jobs=[new]), last):
                (outcome,) = await store.commit([change])
                assert outcome.version, outcome
            tell(number)

    async def main(first, seconds):
        until = time.monotonic() + seconds
        await asyncio.gather(*(live(range(first + lane, first + 10**6, 8), until) for lane in range(8)))

    asyncio.run(main(int(sys.argv[2]), float(sys.argv[3])))
    run_sync(store.close())
    tell("done")
    """
)

#: Leases what there is, two jobs at a time, until there is nothing left; tells every job.
LEASE: Final = PRELUDE + textwrap.dedent(
    """
    while leases := run_sync(store.lease(wanted(worker=sys.argv[2], limit=2))):
        for lease in leases:
            tell(lease.key.item)
    run_sync(store.close())
    """
)

OPEN: Final = PRELUDE + "run_sync(store.close())\n"


class Child:
    """A process that has opened the store and waits for the word to go."""

    def __init__(self, script: str, path: Path, *arguments: object) -> None:
        command = [sys.executable, "-c", script, str(path), *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ready(self) -> None:
        """Wait until it is ready."""
        assert self._out.readline() == "ready\n"

    def go(self) -> None:
        """Give the word."""
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def lines(self) -> list[str]:
        """Return what it told until its end."""
        told = self._out.read().splitlines()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()
        self._out.close()
        return told

    @property
    def _out(self) -> IO[str]:
        assert self.process.stdout is not None
        return self.process.stdout


def finish(children: Sequence[Child]) -> list[list[str]]:
    """Let all children go at once and return what each told; all must end well."""
    for child in children:
        child.ready()
    for child in children:
        child.go()
    told = [child.lines() for child in children]
    assert [child.process.returncode for child in children] == [0] * len(children)
    return told


def sound(path: Path) -> bool:
    """Return whether SQLite finds the file sound, every index included."""
    there = sqlite3.connect(path)
    checked = there.execute("PRAGMA integrity_check").fetchall()
    there.close()
    return checked == [("ok",)]


def opened(path: Path) -> SqlitePersistence:
    """Return an opened store at *path*."""
    store = SqlitePersistence(path, clock=FakeClock())
    run_sync(store.open())
    return store


def complete(store: SqlitePersistence, number: int) -> bool:
    """Return whether a run is there from its first event to its last."""
    run = the_run(store, number)
    numbers = [event.number for event in events_of(store, number)]
    return run.status is RunStatus.COMPLETED and run.version == 3 and numbers == list(range(1, run.events + 1))


def test_processes_hammer_one_file(path: Path) -> None:
    """Two processes that write and checkpoint all the time lose nothing, break nothing, and neither is starved."""
    told = finish([Child(HAMMER, path, first, 1.5) for first in (1, 10**6)])
    counts = [len(lines) - 1 for lines in told]
    assert [lines[-1] for lines in told] == ["done", "done"]
    assert min(counts) * 4 > max(counts) > 10, counts
    assert sound(path)
    store = opened(path)
    assert all(complete(store, int(number)) for lines in told for number in lines[:-1])
    run_sync(store.close())


def test_processes_never_lease_the_same_job(path: Path) -> None:
    """Three processes that lease from one queue get all jobs between them and none twice."""
    store = opened(path)
    stand(store, created(), started(jobs=[job(key(item=item)) for item in range(120)]))
    told = finish([Child(LEASE, path, f"w{number}") for number in range(3)])
    assert sorted(int(item) for lines in told for item in lines) == list(range(120))
    assert the_run(store).version == 2 + 120
    run_sync(store.close())


def test_killed_processes_lose_nothing_acknowledged(path: Path) -> None:
    """A process that is killed amid its commits leaves a sound file, all that was acknowledged, and no halves."""
    acknowledged: list[int] = []
    for turn in range(5):
        child = Child(HAMMER, path, 1 + turn * 10**4, 60)
        child.ready()
        child.go()
        acknowledged.extend(int(child._out.readline()) for _ in range(10 + 7 * turn))
        child.process.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in child.lines() if re.fullmatch(r"\d+", line)]
        assert child.process.returncode == -signal.SIGKILL
    store = opened(path)
    assert all(complete(store, number) for number in acknowledged)
    runs = run_sync(store.list_runs(RunFilter(), limit=MANY))
    assert {(run.version, run.events) for run in runs} <= {(1, 1), (2, 3), (3, 4)}
    assert run_sync(store.list_orphans(limit=MANY)) == []
    run_sync(store.close())
    assert sound(path)


def test_a_process_that_dies_leaves_no_lock(path: Path) -> None:
    """Another process goes on at once when the holder of the file lock is killed."""
    store = opened(path)
    child = Child(HAMMER, path, 1, 60)
    child.ready()
    child.go()
    child._out.readline()
    child.process.send_signal(signal.SIGKILL)
    child.lines()
    stand(store, created(5_000_000))
    run_sync(store.close())


def test_two_processes_migrate_at_once(path: Path) -> None:
    """Processes that open a file that is not there yet make it once."""
    finish([Child(OPEN, path) for _ in range(4)])
    assert current_version(path) == len(all_migrations())
    there = sqlite3.connect(path)
    assert there.execute("SELECT count(*) FROM migration").fetchone() == (len(all_migrations()),)
    there.close()


def test_stores_of_one_process_share_a_file(path: Path) -> None:
    """Two stores in one process see each other's commits, and a lease of one is lost to the other."""
    first, second = opened(path), opened(path)
    begin(first)
    lease = take(second)
    assert everything(first) == everything(second)
    assert the_stage(first).worker == lease.worker
    assert take_all(first) == []
    run_sync(first.close())
    stand(second, created(2))
    run_sync(second.close())


# The file lock.


def test_a_write_waits_for_the_file_lock(path: Path) -> None:
    """While another process is at the file, a commit waits; reads do not."""
    store = opened(path)
    stand(store, created())
    other = FileLock(path.with_name(path.name + "-lock"))
    with other:
        writing = threading.Thread(target=stand, args=(store, created(2)))
        writing.start()
        writing.join(timeout=0.2)
        assert writing.is_alive()
        assert the_run(store).version == 1
    writing.join()
    assert the_run(store, 2).version == 1
    other.close()
    run_sync(store.close())


class Watched:
    """A connection that notes which statements were executed without the file lock."""

    def __init__(self, connection: sqlite3.Connection, lock: Path) -> None:
        self._connection = connection
        self._lock = os.open(lock, os.O_RDWR)
        self.seen: list[str] = []
        self.unlocked: list[str] = []

    def execute(self, text: str, parameters: Any = ()) -> sqlite3.Cursor:
        """Execute *text* and note whether somebody else could have held the lock."""
        self._look(text)
        return self._connection.execute(text, parameters)

    def close(self) -> None:
        """Close both."""
        self._look("close")
        self._connection.close()
        os.close(self._lock)

    def _look(self, what: str) -> None:
        self.seen.append(what)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return
        fcntl.flock(self._lock, fcntl.LOCK_UN)
        self.unlocked.append(what)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def test_nothing_is_written_or_checkpointed_without_the_lock(path: Path) -> None:
    """Transactions, checkpoints, when idle, when due and at the end, and the closing itself happen under the lock."""
    store = opened(path)
    writer = store._access.opened.writer
    assert writer is not None
    watched = Watched(writer._connection, path.with_name(path.name + "-lock"))
    writer._connection = watched  # type: ignore[assignment]  # behaves as a connection
    writer._checkpoint_above = 0
    stand(store, created())
    # On the lane's own thread, behind what the batch before left to be done.
    lanes = store._access.opened
    run_sync(lanes.writing.submit(Control(lanes._idle)))
    stand(store, created(2))
    run_sync(store.close())
    done = [what for what in watched.seen if what.startswith(("BEGIN", "COMMIT", "PRAGMA wal_checkpoint", "close"))]
    assert [what.removeprefix("PRAGMA wal_checkpoint") for what in done] == [
        *("BEGIN IMMEDIATE", "COMMIT", "(PASSIVE)", "(PASSIVE)"),
        *("BEGIN IMMEDIATE", "COMMIT", "(TRUNCATE)", "close"),
    ]
    assert watched.unlocked == []
