"""Executes statements of the application in the transaction that they stand or fall with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import psycopg
from psycopg import errors

from holdfast.errors import StatementFailed
from holdfast.traces import Statement as Wanted
from holdfast_adapters.postgres.statements import Call, Foreign, Statement
from holdfast_adapters.postgres.wire import Wire

#: What this adapter sets on its connections for its own statements, and takes back for those of others.
OWN_SETTINGS: Final = (
    "enable_seqscan",
    "enable_hashjoin",
    "enable_mergejoin",
    "enable_indexscan",
    "enable_indexonlyscan",
    "jit",
    "plan_cache_mode",
    "join_collapse_limit",
    "lock_timeout",
)
_DEFAULTS: Final[Sequence[Call]] = tuple((Statement(f"SET LOCAL {name} TO DEFAULT"), ()) for name in OWN_SETTINGS)
#: What is checked at the end of a transaction is checked while the statement can still be blamed.
_CHECK: Final = "SET CONSTRAINTS ALL IMMEDIATE"
#: What a statement may be refused for by itself, among the errors that otherwise tell of the server.
_OF_STATEMENTS: Final = (errors.QueryCanceled, errors.LockNotAvailable, errors.ProgramLimitExceeded)


async def execute(wire: Wire, calls: Sequence[Call], statements: Iterable[Wanted]) -> None:
    """Execute *calls* and then *statements* in the open transaction.

    Raises:
        StatementFailed: If Postgres refuses one of the statements, or a value of it cannot be written.
        psycopg.Error: If it is the server that failed, or another transaction was met.
        ConnectionLost: If the connection was.
    """
    await wire.run(*calls, *_DEFAULTS)
    last = ""
    for statement in statements:
        last = statement.sql
        await _execute(wire, _text(wire, statement), of=last)
    await _execute(wire, _CHECK, of=last)


def _text(wire: Wire, statement: Wanted) -> str:
    """Return the statement with its values in it, so that it is one whatever the types of its placeholders are."""
    try:
        return wire.composed(statement.sql, statement.parameters)
    except Exception as error:
        # Placeholders that do not fit, types that psycopg does not know, and whatever a dumper raises.
        raise StatementFailed(statement.sql, why=f"Its values cannot be written: {error}.") from error


async def _execute(wire: Wire, text: str, *, of: str) -> None:
    try:
        await wire.run((Foreign(text), ()))
    except psycopg.OperationalError as error:
        if not isinstance(error, _OF_STATEMENTS):
            raise
        raise _failed(of, error) from error
    except (psycopg.Error, UnicodeEncodeError) as error:
        raise _failed(of, error) from error


def _failed(sql: str, error: Exception) -> StatementFailed:
    return StatementFailed(sql, why=f"Postgres refused: {str(error).strip()}.")
