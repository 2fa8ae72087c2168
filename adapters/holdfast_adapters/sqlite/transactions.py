"""The one writer of a process: everything that has arrived becomes one transaction."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

from holdfast.change import Committed
from holdfast.errors import CommitUnknown
from holdfast.ports.clock import Clock
from holdfast_adapters.sqlite.connection import WAL_BYTES, primary_code, refused
from holdfast_adapters.sqlite.encoding import micros
from holdfast_adapters.sqlite.executing import execute
from holdfast_adapters.sqlite.filelock import FileLock
from holdfast_adapters.sqlite.lanes import Request
from holdfast_adapters.sqlite.prepared import Prepared
from holdfast_adapters.sqlite.wave import Outcome, apply

T = TypeVar("T")
_E = TypeVar("_E", bound=Exception)

#: Errors out of COMMIT after which the log cannot hold a complete commit: the disk was full, or a lock was missing.
_NOT_COMMITTED: Final = frozenset({sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})


class CommitChanges(Request[list[Outcome]]):
    """Apply change-sets; those of all requests in a batch are judged together."""

    def __init__(self, changes: Sequence[Prepared]) -> None:
        self.changes = changes
        self.weight = len(changes)
        #: Whether it has statements of the application's. A conflict in one of them may undo the whole transaction,
        #: which is therefore its own.
        self.is_alone = any(change.change.statements for change in changes)


class Write(Request[T]):
    """Do something within the transaction, given the connection and the transaction's instant."""

    def __init__(self, act: Callable[[sqlite3.Connection, int], T]) -> None:
        self.act = act


class Writer:
    """Applies batches of requests, each as one transaction under the file lock.

    A transaction that fails for another reason than COMMIT is rolled back, and its requests are tried again one by
    one, so that one that SQLite refuses cannot fail its neighbours.
    """

    def __init__(self, connection: sqlite3.Connection, lock: FileLock, *, clock: Clock, path: Path) -> None:
        self._connection = connection
        self._lock = lock
        self._clock = clock
        # A stage may change the directory of the process.
        self._path = path.absolute()
        self._file = _identity(path)
        self._wal = f"{self._path}-wal"
        self._checkpoint_above = WAL_BYTES
        #: Rows changed when the log was last put away.
        self._written = 0
        #: Transactions that were committed so far.
        self.transactions = 0
        #: Why the last checkpoint failed; it is tried again, and until it succeeds the log grows.
        self.checkpoint_error: str | None = None

    def handle(self, batch: Sequence[Request[Any]]) -> None:
        """Apply *batch* and give each request its result or error."""
        try:
            with self._lock:
                self._check_file()
                together = [each for each in batch if not (isinstance(each, CommitChanges) and each.is_alone)]
                if together:
                    self._transact(together)
                for request in batch:
                    if isinstance(request, CommitChanges) and request.is_alone:
                        self._transact([request])
        except OSError as error:
            # The file lock failed or the file is gone, so nothing was tried.
            _fail(batch, error, refused)

    def keep_log_short(self) -> None:
        """Bring the log into the database file when it has grown long; nobody waits for that."""
        size = self._wal_size()
        if size > self._checkpoint_above:
            with self._lock:
                self._checkpoint("PASSIVE")
        elif size <= WAL_BYTES:
            self._checkpoint_above = WAL_BYTES

    def idle(self) -> None:
        """Bring the log into the database file, if it holds anything that is not there.

        The log keeps its size and is written from its beginning again. A commit that lengthens it has to tell the file
        system of the new length as well, and takes a third longer.
        """
        if self._connection.total_changes != self._written:
            with self._lock:
                self._checkpoint("PASSIVE")
            self._written = self._connection.total_changes

    def close(self) -> None:
        """Checkpoint and close the connection; closing the last connection of a file checkpoints as well."""
        with self._lock:
            self._checkpoint("TRUNCATE")
            self._connection.close()
        self._lock.close()

    def _check_file(self) -> None:
        """Refuse to write to a file that has lost its name: SQLite would, and all of it would vanish at the end."""
        try:
            is_there = _identity(self._path) == self._file
        except FileNotFoundError:
            is_there = False
        if not is_there:
            raise OSError(
                f"{self._path} was deleted or replaced while it was open. Stop this process, put the file back or "
                "leave the new one, and start again."
            )

    def _transact(self, batch: Sequence[Request[Any]]) -> None:
        connection = self._connection
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            _fail(batch, error, refused)
            return
        try:
            _perform(batch, connection, now=micros(self._clock.now()))
        except Exception as error:  # noqa: BLE001 - whatever it is, it undoes the transaction and has its owner
            self._rollback()
            self._one_by_one(batch, error)
            return
        try:
            connection.execute("COMMIT")
        except sqlite3.Error as error:
            self._rollback()
            if primary_code(error) in _NOT_COMMITTED:
                self._one_by_one(batch, error)
            else:
                _fail(batch, error, _unknown)
            return
        self.transactions += 1

    def _one_by_one(self, batch: Sequence[Request[Any]], error: Exception) -> None:
        if len(batch) == 1:
            batch[0].error = refused(error)
            return
        for request in batch:
            self._transact([request])

    def _rollback(self) -> None:
        # After a full disk SQLite has rolled back by itself, and ROLLBACK would raise.
        if self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                # It cannot have been committed, and the next BEGIN will say what is wrong.
                return

    def _wal_size(self) -> int:
        try:
            return os.stat(self._wal).st_size  # noqa: PTH116 - once a transaction; Path.stat takes five times as long
        except FileNotFoundError:
            return 0

    def _checkpoint(self, mode: str) -> None:
        """Checkpoint without waiting for readers: what they still need is left for the next time."""
        execute = self._connection.execute
        try:
            (timeout,) = execute("PRAGMA busy_timeout").fetchone()
            execute("PRAGMA busy_timeout = 0").fetchone()
            try:
                execute(f"PRAGMA wal_checkpoint({mode})").fetchone()
            finally:
                execute(f"PRAGMA busy_timeout = {timeout}").fetchone()
        except sqlite3.Error as error:
            self.checkpoint_error = str(error)
        else:
            self.checkpoint_error = None
        # The log starts anew, and shrinks, with the next commit if nobody reads it; if somebody does, it has to grow
        # by as much again before the next try.
        size = self._wal_size()
        self._checkpoint_above = size + WAL_BYTES if size > WAL_BYTES else WAL_BYTES


def _identity(path: Path) -> tuple[int, int]:
    there = os.stat(path)  # noqa: PTH116 - once a transaction; Path.stat takes five times as long
    return there.st_dev, there.st_ino


def _perform(batch: Sequence[Request[Any]], connection: sqlite3.Connection, *, now: int) -> None:
    commits = [request for request in batch if isinstance(request, CommitChanges)]
    if commits:
        outcomes = iter(apply(connection, [change for request in commits for change in request.changes], now=now))
        for commit in commits:
            commit.result = [next(outcomes) for _ in commit.changes]
            for change, outcome in zip(commit.changes, commit.result, strict=True):
                if isinstance(outcome, Committed):
                    execute(connection, change.change.statements)
    for request in batch:
        if isinstance(request, Write):
            request.result = request.act(connection, now)


def _fail(batch: Sequence[Request[Any]], error: _E, tell: Callable[[_E], Exception]) -> None:
    # Each caller gets an error of its own: a shared one would collect all their tracebacks.
    for request in batch:
        request.error = tell(error)


def _unknown(error: sqlite3.Error) -> CommitUnknown:
    failure = CommitUnknown(f"SQLite could not say whether the commit stands: {error}")
    failure.__cause__ = error
    return failure
