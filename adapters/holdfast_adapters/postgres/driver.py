"""The psycopg connection behind whatever an application calls its connection, and statements sent through it."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import isawaitable
from typing import Any, Final

import psycopg
from psycopg import pq
from psycopg.adapt import Buffer, Dumper, Transformer
from psycopg.rows import tuple_row

from holdfast.errors import UnusableTransaction
from holdfast_adapters.postgres.statements import Call
from holdfast_adapters.postgres.wire import Rows

Driver = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]

_FIX: Final = (
    "Hand over a psycopg.Connection or psycopg.AsyncConnection, or a Session, AsyncSession, Connection or "
    "AsyncConnection of SQLAlchemy on the driver psycopg (postgresql+psycopg://…)."
)


class _Written:
    """A value in the form in which Postgres takes it."""

    __slots__ = ("raw",)

    def __init__(self, raw: bytes) -> None:
        self.raw = raw


class _Writing(Dumper):
    """Hands values over as they are, of the type that the statement casts them to."""

    format = pq.Format.BINARY

    def dump(self, obj: _Written) -> Buffer | None:
        """Return the value."""
        return obj.raw


async def driver_of(given: Any) -> Driver:
    """Return the psycopg connection that *given* is or has.

    Raises:
        UnusableTransaction: If it has none.
    """
    if isinstance(given, psycopg.Connection | psycopg.AsyncConnection):
        return given
    if not type(given).__module__.startswith("sqlalchemy."):
        raise UnusableTransaction(f"{_name(given)} is no connection that Holdfast knows.", fix=_FIX)
    if hasattr(given, "get_bind"):
        # A session, of either kind; asking for its connection begins its transaction.
        given = given.connection()
        if isawaitable(given):
            given = await given
    elif not given.in_transaction():
        # Otherwise SQLAlchemy would not know that there is something to commit.
        begun = given.begin()
        if isawaitable(begun):
            await begun
    raw = given.connection if not hasattr(given, "get_raw_connection") else await given.get_raw_connection()
    driver = getattr(raw, "driver_connection", None)
    if isinstance(driver, psycopg.Connection | psycopg.AsyncConnection):
        return driver
    raise UnusableTransaction(f"The driver of this {_name(given)} is {_name(driver)}.", fix=_FIX)


def _name(given: object) -> str:
    return f"{type(given).__module__.partition('.')[0]}.{type(given).__qualname__}"


def check(driver: Driver) -> None:
    """Raise UnusableTransaction if nothing can be part of what is open on the connection."""
    if driver.closed:
        raise UnusableTransaction("The connection is closed.", fix="Hand over an open one.")
    if driver.pgconn.pipeline_status != pq.PipelineStatus.OFF:
        raise UnusableTransaction("The connection is in a pipeline.", fix="Dispatch before or behind it.")
    status = driver.info.transaction_status
    if status == pq.TransactionStatus.INERROR:
        raise UnusableTransaction(
            "The transaction was aborted by an earlier error.", fix="Roll it back and begin another one."
        )
    if status == pq.TransactionStatus.IDLE and driver.autocommit:
        raise UnusableTransaction(
            "The connection commits every statement by itself, so there is no transaction to be part of.",
            fix="Open one (with connection.transaction(), or without autocommit), or dispatch on the kernel itself.",
        )
    if driver.info.encoding != "utf-8":
        raise UnusableTransaction(
            f"The connection speaks {driver.info.encoding}.", fix="Connect with client_encoding=UTF8."
        )


async def run(driver: Driver, calls: Sequence[Call]) -> list[Rows]:
    """Execute *calls* one after the other in the transaction of the connection and return the rows of each.

    The connection's own settings play no part: neither factories of cursors and rows, nor adapters. Nothing is
    prepared, because there may be a pooler between.

    Raises:
        psycopg.Error: If the server refused one of them; those behind it were not executed.
    """
    loader = Transformer()
    found: list[Rows] = []
    for statement, values in calls:
        written = [None if raw is None else _Written(raw) for raw in statement.encode(values)]
        if isinstance(driver, psycopg.Connection):
            result = _executed(driver, statement.sql, written)
        else:
            result = await _awaited(driver, statement.sql, written)
        if result is None or result.status != pq.ExecStatus.TUPLES_OK:
            found.append([])
            continue
        loader.set_pgresult(result)
        found.append(loader.load_rows(0, result.ntuples, tuple))
    return found


def _executed(driver: psycopg.Connection[Any], sql: bytes, values: Sequence[_Written | None]) -> Any:
    with psycopg.RawCursor(driver, row_factory=tuple_row) as cursor:
        cursor.adapters.register_dumper(_Written, _Writing)
        return cursor.execute(sql, values, prepare=False, binary=True).pgresult


async def _awaited(driver: psycopg.AsyncConnection[Any], sql: bytes, values: Sequence[_Written | None]) -> Any:
    async with psycopg.AsyncRawCursor(driver, row_factory=tuple_row) as cursor:
        cursor.adapters.register_dumper(_Written, _Writing)
        return (await cursor.execute(sql, values, prepare=False, binary=True)).pgresult
