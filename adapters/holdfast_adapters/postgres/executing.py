"""Statements of the application in the transaction that they stand or fall with."""

from __future__ import annotations

from collections.abc import Sequence
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
#: What is checked at the end of a transaction is checked while a statement can still be blamed for it.
_CHECK: Final[Call] = (Statement("SET CONSTRAINTS ALL IMMEDIATE"), ())
#: What a statement may be refused for by itself, among the errors that otherwise tell of the server.
_OF_STATEMENTS: Final = (errors.QueryCanceled, errors.LockNotAvailable, errors.ProgramLimitExceeded)


async def execute(wire: Wire, calls: Sequence[Call], wanted: Sequence[Wanted], *, closing: Statement) -> None:
    """Execute *calls*, the statements that are *wanted*, and *closing* in one trip; nothing stands behind a refusal.

    Raises:
        StatementFailed: If Postgres refuses one of the statements, or a value of it cannot be written.
        psycopg.Error: If it is the server that failed, or another transaction was met.
        ConnectionLost: If the connection was.
    """
    statements = [_foreign(wire, statement) for statement in wanted]
    try:
        await wire.run(*calls, *_DEFAULTS, *statements, _CHECK, (closing, ()))
    except psycopg.Error as error:
        index = wire.executed - len(calls) - len(_DEFAULTS)
        if not 0 <= index <= len(wanted):
            raise
        if isinstance(error, psycopg.OperationalError) and not isinstance(error, _OF_STATEMENTS):
            raise
        # What the check finds may be the doing of any of them.
        sql = wanted[min(index, len(wanted) - 1)].sql
        raise StatementFailed(sql, why=f"Postgres refused: {str(error).strip()}.") from error


def _foreign(wire: Wire, statement: Wanted) -> Call:
    """Return the statement with its values in it, so that it is one whatever the types of its placeholders are."""
    try:
        return Foreign(wire.composed(statement.sql, statement.parameters)), ()
    except Exception as error:
        # Placeholders that do not fit, types that psycopg does not know, and whatever a dumper raises.
        raise StatementFailed(statement.sql, why=f"Its values cannot be written: {error}.") from error
