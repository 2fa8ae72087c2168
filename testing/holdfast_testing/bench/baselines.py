"""What the machine can do without an engine, measured in the same minute and in the same directory."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

import attrs

from holdfast.codec import digest, payload_type
from holdfast_testing.bench.hosts import Server
from holdfast_testing.bench.numbers import percentile
from holdfast_testing.bench.plan import Sizes

BATCH_ROWS: Final = 100
#: Commits before the first that counts: drivers prepare a statement when they have seen it a few times.
_WARM_UP: Final = 10
#: As large as the output of a small stage.
_TEXT: Final = "x" * 100


@attrs.frozen(kw_only=True)
class DiskBaseline:
    """What a database does on its disk without an engine.

    SQLite in a file of its own with the settings of the store, WAL and synchronous FULL; a server in a database of its
    own, with the settings that it has.
    """

    #: One INSERT of one row in a transaction of its own, in microseconds.
    commit_p50: float
    commit_p99: float
    #: Rows inserted in one second, 100 in a transaction.
    rows_per_second: float


def measure_disk(directory: Path, sizes: Sizes) -> DiskBaseline:
    """Measure the disk that *directory* is on."""
    with tempfile.TemporaryDirectory(prefix=".holdfast-bench-", dir=directory) as folder:
        connection = sqlite3.connect(Path(folder) / "bare.db", isolation_level=None)
        try:
            for pragma in ("journal_mode = WAL", "synchronous = FULL", "wal_autocheckpoint = 0"):
                connection.execute(f"PRAGMA {pragma}").fetchall()
            connection.execute("CREATE TABLE bare (n INTEGER PRIMARY KEY, text TEXT NOT NULL) STRICT")
            _go_round_the_log(connection, sizes.log_bytes)
            return _measure(connection, sizes)
        finally:
            connection.close()


def _go_round_the_log(connection: sqlite3.Connection, size: int) -> None:
    """Bring the log to the size that it has in use: commits that lengthen it take a third longer."""
    connection.execute("CREATE TABLE filler (bytes BLOB)")
    connection.execute("INSERT INTO filler VALUES (zeroblob(?))", (size,))
    connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def _measure(connection: sqlite3.Connection, sizes: Sizes) -> DiskBaseline:
    insert = "INSERT INTO bare (text) VALUES (?)"
    commits: list[float] = []
    for _ in range(sizes.commits):
        begun = time.perf_counter()
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(insert, (_TEXT,))
        connection.execute("COMMIT")
        commits.append(time.perf_counter() - begun)
    rows = [(_TEXT,)] * BATCH_ROWS
    begun = time.perf_counter()
    for _ in range(sizes.batches):
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert, rows)
        connection.execute("COMMIT")
    seconds = time.perf_counter() - begun
    return DiskBaseline(
        commit_p50=percentile(commits, 50) * 1e6,
        commit_p99=percentile(commits, 99) * 1e6,
        rows_per_second=sizes.batches * BATCH_ROWS / seconds,
    )


def measure_server(server: Server, sizes: Sizes) -> DiskBaseline:
    """Measure a database server."""
    commits: list[float] = []
    with server.fresh(uuid4().hex[:12]) as store, server.bare(store) as insert:
        for _ in range(_WARM_UP + sizes.commits):
            begun = time.perf_counter()
            insert(1)
            commits.append(time.perf_counter() - begun)
        del commits[:_WARM_UP]
        insert(BATCH_ROWS)
        begun = time.perf_counter()
        for _ in range(sizes.batches):
            insert(BATCH_ROWS)
        seconds = time.perf_counter() - begun
    return DiskBaseline(
        commit_p50=percentile(commits, 50) * 1e6,
        commit_p99=percentile(commits, 99) * 1e6,
        rows_per_second=sizes.batches * BATCH_ROWS / seconds,
    )


async def measure_bare_stage(sizes: Sizes) -> float:
    """Return the CPU microseconds of a stage without an engine.

    Its input is read from text and checked, the function is awaited in a task that somebody waits for, and its output
    is checked, written as text and hashed.
    """
    kind = payload_type(int, what="input", source="the benchmark")

    async def function(value: int) -> int:
        return value

    async def work(text: str) -> str:
        given: Any = kind.decode(text, what="input")
        written = kind.encode(await function(given), what="output")
        digest(written)
        return written

    begun = time.process_time()
    for number in range(sizes.bare_stages):
        await asyncio.create_task(work(str(number)))
    return (time.process_time() - begun) / sizes.bare_stages * 1e6
