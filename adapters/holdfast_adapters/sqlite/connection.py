"""Opening connections to a database file, and what a failure of SQLite means to a caller."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from holdfast.errors import InvalidInput, StoreUnavailable, UnusableStore

#: STRICT tables came with it.
OLDEST_SQLITE: Final = (3, 37, 0)
#: Connections of older versions must not reset the log while another one writes; see `filelock`.
SAFE_SQLITE: Final = (3, 51, 3)
#: How long SQLite itself waits for a lock: the second line of defence, for programs that know nothing of the file lock.
BUSY_SECONDS: Final = 5.0
#: More than all statements of this adapter with all their lengths, so that each is prepared once.
CACHED_STATEMENTS: Final = 512
#: Pages kept in memory by the writing and by the reading connection, in KiB.
WRITER_CACHE: Final = 65_536
READER_CACHE: Final = 16_384
#: The log shrinks to this many bytes when it starts anew, and is checkpointed when it has grown beyond it.
WAL_BYTES: Final = 8 * 1024 * 1024
#: Where Linux tells what is mounted where; other systems tell nothing.
MOUNTS: Final = Path("/proc/self/mounts")
#: File systems whose locks and shared memory do not reach every machine that writes there.
NETWORK: Final = frozenset(
    {"afs", "beegfs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"}
)


def filesystem(path: Path) -> str | None:
    """Return the kind of file system that *path* is on, None if the system does not tell."""
    try:
        lines = MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return None
    place, kind, deepest = path.resolve(), None, -1
    for line in lines:
        _, point, found, *_ = line.split(" ")
        mounted = Path(point.replace("\\040", " "))
        # Of two at one point the later one hides the earlier.
        if len(mounted.parts) >= deepest and place.is_relative_to(mounted):
            kind, deepest = found, len(mounted.parts)
    return kind


def check_place(path: Path) -> None:
    """Raise UnusableStore if no database can be at *path*, before anything is created."""
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise UnusableStore(
            str(path),
            why=f"this Python brings SQLite {sqlite3.sqlite_version}; Holdfast needs 3.37 or newer.",
            fix="Use a Python with a newer SQLite.",
        )
    if path.is_dir():
        raise UnusableStore(str(path), why="it is a directory.", fix="Name a file inside it.")
    folder = path.parent
    if not folder.is_dir():
        raise UnusableStore(str(path), why=f"the directory {folder} does not exist.", fix="Create it first.")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UnusableStore(
            str(path),
            why=f"the directory {folder} may not be written, and SQLite keeps its log beside the file.",
            fix="Give this user the right to write there, or choose another place.",
        )
    kind = filesystem(folder)
    if kind in NETWORK:
        raise UnusableStore(
            str(path),
            why=f"it is on a network file system ({kind}), where locks cannot be trusted.",
            fix="Put it on a disk of this machine, or use Postgres.",
        )
    if path.exists() and not os.access(path, os.R_OK | os.W_OK):
        raise unwritable(path)


def unwritable(path: Path) -> UnusableStore:
    """Return the error for a file that this user may not write."""
    return UnusableStore(
        str(path), why="the file may not be written.", fix="Give this user the right to read and write it."
    )


def create(path: Path) -> None:
    """Create an empty file that nobody but its owner can read; leave one that exists alone.

    An existing file is not even opened: closing it would drop the locks that SQLite holds on it for this process.
    """
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        return


def connect(path: Path, *, mode: str = "rw") -> sqlite3.Connection:
    """Return a connection that changes nothing by itself, not even the journal mode."""
    return sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={mode}",
        uri=True,
        timeout=BUSY_SECONDS,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=CACHED_STATEMENTS,
    )


def prepare_writer(connection: sqlite3.Connection) -> None:
    """Make the connection one that writes durably and checkpoints only when told to; the file lock must be held."""
    for pragma in (
        "journal_mode = WAL",
        # A commit returns after its log is on the disk; NORMAL may lose acknowledged commits in a power cut.
        "synchronous = FULL",
        "wal_autocheckpoint = 0",
        f"journal_size_limit = {WAL_BYTES}",
        "mmap_size = 0",
        f"cache_size = -{WRITER_CACHE}",
        "temp_store = MEMORY",
    ):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def prepare_reader(connection: sqlite3.Connection) -> None:
    """Make the connection one that only reads."""
    for pragma in ("query_only = ON", "wal_autocheckpoint = 0", "mmap_size = 0", f"cache_size = -{READER_CACHE}"):
        connection.execute(f"PRAGMA {pragma}").fetchall()


def primary_code(error: sqlite3.Error) -> int:
    """Return SQLite's result code without its details."""
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF


def refused(error: Exception) -> Exception:
    """Return what to tell a caller of whose request nothing was written because of *error*."""
    if isinstance(error, sqlite3.Error | OSError):
        failure: Exception = StoreUnavailable(f"SQLite refused: {error}")
    elif isinstance(error, UnicodeEncodeError | OverflowError):
        # Text that is no Unicode, or a number of more than 64 bits: neither has a form in the store.
        failure = InvalidInput("value for the store", [str(error)])
    else:
        return error
    failure.__cause__ = error
    return failure
