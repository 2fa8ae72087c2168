"""A lock between processes and between stores of one process, held by the operating system and freed by it on death."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import TracebackType

if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> None:
        while True:
            os.lseek(descriptor, 0, os.SEEK_SET)
            try:
                # Tries once a second for ten seconds, then raises.
                msvcrt.locking(descriptor, msvcrt.LK_LOCK, 1)
            except OSError:
                continue
            return

    def _unlock(descriptor: int) -> None:
        os.lseek(descriptor, 0, os.SEEK_SET)
        msvcrt.locking(descriptor, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _lock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)

    def _unlock(descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


class FileLock:
    """Exclusive access to a database file for one write transaction or one checkpoint.

    SQLite before 3.51.3 can corrupt a database in WAL mode when one connection resets the log while another one writes
    or checkpoints ("WAL-reset bug"); whoever holds this lock is alone with the log. It also makes waiting cheap: a
    waiter sleeps in the kernel until the lock is free, where SQLite would poll with growing pauses. Shown by
    tests/adapters/sqlite/test_processes.py, test_processes_hammer_one_file and test_a_write_waits_for_the_file_lock.

    The lock belongs to an open file and not to the process (flock, not fcntl), so two stores of one process exclude
    each other as well. It is released after every transaction; measured, two busy writers get equal shares of it.
    """

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_CLOEXEC", 0), 0o600)

    def __enter__(self) -> None:
        _lock(self._descriptor)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        _unlock(self._descriptor)

    def close(self) -> None:
        """Give the file back; a lock that is held ends."""
        os.close(self._descriptor)
