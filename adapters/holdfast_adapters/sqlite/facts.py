"""What `holdfast doctor` wants to know of a SQLite store."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

import attrs

from holdfast_adapters.sqlite.connection import SAFE_SQLITE, filesystem

_SYNCHRONOUS: Final = ("OFF", "NORMAL", "FULL", "EXTRA")
#: `quick_check` stops after this many problems.
_MOST_PROBLEMS: Final = 20


@attrs.frozen(kw_only=True)
class StoreFacts:
    """The state of the file and of the library that serves it."""

    path: str
    #: The kind of file system, such as ``ext4``; None if the system does not tell.
    filesystem: str | None
    sqlite_version: str
    #: Whether this SQLite may corrupt a file that several processes write without a lock of their own; ours has one.
    wal_reset_bug: bool
    journal_mode: str
    #: Of the writing connection; anything below FULL loses acknowledged commits in a power cut.
    synchronous: str
    database_bytes: int
    wal_bytes: int
    schema_version: int
    #: Whether the file, its log and its lock may be read by others than their owner.
    readable_by_others: bool
    #: Why the last checkpoint failed; None if it did not.
    checkpoint_error: str | None
    #: What `PRAGMA quick_check` found; empty when the file is sound.
    problems: tuple[str, ...]


def read_facts(connection: sqlite3.Connection, path: Path, *, synchronous: int, error: str | None) -> StoreFacts:
    """Return the facts as *connection* sees them.

    Args:
        connection: The reading connection.
        path: The database file.
        synchronous: The setting of the writing connection.
        error: Why its last checkpoint failed.
    """
    (journal_mode,) = connection.execute("PRAGMA journal_mode").fetchone()
    (version,) = connection.execute("SELECT count(*) FROM migration").fetchone()
    try:
        checked = [row[0] for row in connection.execute(f"PRAGMA quick_check({_MOST_PROBLEMS})")]
    except sqlite3.DatabaseError as damage:
        # Some damage it does not tell of but trips over.
        checked = [str(damage)]
    wal = path.with_name(path.name + "-wal")
    return StoreFacts(
        path=str(path),
        filesystem=filesystem(path),
        sqlite_version=sqlite3.sqlite_version,
        wal_reset_bug=sqlite3.sqlite_version_info < SAFE_SQLITE,
        journal_mode=journal_mode,
        synchronous=_SYNCHRONOUS[synchronous],
        database_bytes=path.stat().st_size,
        wal_bytes=wal.stat().st_size if wal.exists() else 0,
        schema_version=version,
        readable_by_others=bool(path.stat().st_mode & 0o077),
        checkpoint_error=error,
        problems=() if checked == ["ok"] else tuple(checked),
    )
