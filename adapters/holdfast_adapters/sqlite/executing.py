"""Executes statements of the application in the transaction that they stand or fall with."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Final

from holdfast.errors import StatementFailed
from holdfast.traces import Statement
from holdfast_adapters.sqlite.connection import primary_code

#: What a statement meets that is no fault of its own: the disk, the memory, other programs.
_FAULTS: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)


def execute(connection: sqlite3.Connection, statements: Iterable[Statement]) -> None:
    """Execute *statements* in order; a failure leaves what is to be undone by the end of the transaction.

    Raises:
        StatementFailed: If SQLite refuses one of them.
        sqlite3.Error: If it is the database that failed.
    """
    for statement in statements:
        try:
            # To its end: RETURNING and SELECT write row by row.
            connection.execute(statement.sql, statement.parameters or ()).fetchall()
        except Exception as error:
            # A value may have a __conform__ of its own, which can raise anything.
            if isinstance(error, sqlite3.Error) and primary_code(error) in _FAULTS:
                raise
            raise StatementFailed(statement.sql, why=f"SQLite refused: {error}.") from error
        if not connection.in_transaction:
            # ON CONFLICT ROLLBACK and RAISE(ROLLBACK) raise; this is for what nobody has thought of.
            raise StatementFailed(statement.sql, why="It ended the transaction.")
