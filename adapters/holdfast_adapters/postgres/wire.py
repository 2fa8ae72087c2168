"""One connection to Postgres, spoken to in pipelines: many statements go out at once, their results come back together.

psycopg connects, and its libpq wrapper carries the bytes. What its cursors do for each statement – look at the query,
choose how to write each value, wait – costs several times what a short statement costs the server, and this adapter
needs none of it: its statements are constants.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import psycopg
from psycopg import pq
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result

from holdfast_adapters.postgres.statements import Call, Statement

if TYPE_CHECKING:
    from psycopg.pq.abc import PGconn, PGresult

Rows = list[tuple[Any, ...]]


class Traffic:
    """What has gone over the wires of a store so far."""

    def __init__(self) -> None:
        #: Pipelines, each of which was one round trip.
        self.trips = 0
        #: Statements in them, those that begin and end transactions included.
        self.statements = 0


_BINARY: Final = 1
_FOREIGN: Final = b""
_COMMAND_OK: Final = pq.ExecStatus.COMMAND_OK
_TUPLES_OK: Final = pq.ExecStatus.TUPLES_OK
_SYNC: Final = pq.ExecStatus.PIPELINE_SYNC
_SEVERITY: Final = pq.DiagnosticField.SEVERITY_NONLOCALIZED


class ConnectionLost(Exception):
    """The connection ended while statements were under way, or was closed before.

    Args:
        why: What happened.
        undone: Whether it is certain that the transaction which the statements belonged to does not stand: nothing was
            sent, or the server had refused one of them.
    """

    def __init__(self, why: str, *, undone: bool = False) -> None:
        self.undone = undone
        super().__init__(why)


class Carrier(Protocol):
    """Whatever carries statements to Postgres and brings back what they find."""

    async def run(self, *calls: Call) -> list[Rows]:
        """Return the rows of each of *calls*."""
        ...


class Wire:
    """A connection that belongs to one event loop and carries one pipeline at a time.

    Args:
        connection: An idle connection in autocommit mode, which is the wire's own from now on.
        patience: How many seconds a pipeline may take before the connection counts as lost.
        prepare: Whether statements are prepared, which a pooler between may not allow.
        traffic: Where it counts what it carries.
    """

    def __init__(
        self,
        connection: psycopg.AsyncConnection[Any],
        *,
        patience: float,
        prepare: bool,
        traffic: Traffic | None = None,
    ) -> None:
        self.loop = asyncio.get_running_loop()
        #: Called whenever a pipeline has ended or the connection was lost.
        self.on_rest: Callable[[Wire], object] | None = None
        self._connection = connection
        self._pg: PGconn = connection.pgconn
        self._loader = Transformer(connection)
        self._patience = patience
        self._prepare = prepare
        self._traffic = traffic or Traffic()
        #: Whether something is prepared in the pipeline that is under way.
        self._prepares = False
        #: Names of statements that the server knows.
        self._prepared: set[bytes] = set()
        self._answer: asyncio.Future[list[PGresult]] | None = None
        #: Looks whether the pipeline that is under way has taken too long; it goes round by itself while there is one.
        self._watch: asyncio.TimerHandle | None = None
        #: When the pipeline that is under way counts as lost.
        self._deadline = 0.0
        self._results: list[PGresult] = []
        #: How many calls of the last pipeline were executed before one was refused.
        self.executed = 0
        #: What was sent: the name of what is prepared, None for what is executed, `_FOREIGN` for what is executed and
        #: whose rows nobody reads: they may hold what psycopg cannot.
        self._sent: list[bytes | None] = []
        #: Whether the results of a statement have begun and not been said to end.
        self._is_within = False
        self._is_writing = False
        self._pg.nonblocking = 1
        self._pg.enter_pipeline_mode()
        self._socket = self._pg.socket
        self.loop.add_reader(self._socket, self._readable)

    @property
    def is_open(self) -> bool:
        """Whether the connection can still be used, as far as anybody knows."""
        return self._socket >= 0

    @property
    def is_busy(self) -> bool:
        """Whether a pipeline is under way; it goes on when whoever waits for it is cancelled."""
        return self._answer is not None

    @property
    def is_in_transaction(self) -> bool:
        """Whether a transaction was begun and not ended."""
        return self.is_open and self._pg.transaction_status != pq.TransactionStatus.IDLE

    async def run(self, *calls: Call) -> list[Rows]:
        """Send *calls* in one go and return the rows of each.

        Raises:
            psycopg.Error: If the server refused one of them; those behind it were not executed.
            ConnectionLost: If the connection ended first.
            UnicodeEncodeError, struct.error: If a value cannot be written; then nothing was sent.
        """
        assert self._answer is None, "a wire carries one pipeline at a time"
        encoded = [(statement, statement.encode(values)) for statement, values in calls]
        if not self.is_open:
            raise ConnectionLost("the connection is closed", undone=True)
        self._traffic.trips += 1
        self._traffic.statements += len(calls)
        answer = self._answer = self.loop.create_future()
        self._results = []
        sent = self._sent = []
        self._deadline = self.loop.time() + self._patience
        if self._watch is None:
            self._watch = self.loop.call_at(self._deadline, self._look_at_deadline)
        try:
            for statement, parameters in encoded:
                self._send(statement, parameters)
            self._pg.pipeline_sync()
            self._flush()
        except psycopg.OperationalError as error:
            self._lose(str(error))
        return self._read(await answer, sent)

    def composed(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None) -> str:
        """Return *sql* with its values written into it as psycopg would write them.

        Raises:
            psycopg.Error: If placeholders and values do not fit, or a value has a type that psycopg does not know.
        """
        if parameters is None:
            return sql
        # mypy and pyright want a literal; that nothing foreign gets into it is what the values are apart for.
        return psycopg.AsyncClientCursor(self._connection).mogrify(sql.encode(), parameters)

    def _send(self, statement: Statement, parameters: list[bytes | None]) -> None:
        pg, sent = self._pg, self._sent
        if not self._prepare or not statement.name:
            pg.send_query_params(statement.sql, parameters, None, statement.formats, _BINARY)
        else:
            if statement.name not in self._prepared and statement.name not in sent:
                pg.send_prepare(statement.name, statement.sql)
                sent.append(statement.name)
                self._prepares = True
            pg.send_query_prepared(statement.name, parameters, statement.formats, _BINARY)
        sent.append(None if statement.name else _FOREIGN)

    def _flush(self) -> None:
        waits = self._pg.flush() == 1
        if waits != self._is_writing:
            self._is_writing = waits
            if waits:
                self.loop.add_writer(self._socket, self._writable)
            else:
                self.loop.remove_writer(self._socket)

    def _writable(self) -> None:
        try:
            self._flush()
        except psycopg.OperationalError as error:
            self._lose(str(error))

    def _readable(self) -> None:
        pg = self._pg
        try:
            pg.consume_input()
            if self._is_writing:
                self._flush()
            while self._answer is not None and not pg.is_busy():
                result = pg.get_result()
                if result is None:
                    if not self._is_within:
                        break
                    self._is_within = False
                elif result.status == _SYNC:
                    self._rest()
                else:
                    self._is_within = True
                    self._results.append(result)
        except psycopg.OperationalError as error:
            self._lose(str(error))
            return
        if pg.status != pq.ConnStatus.OK:
            # libpq saw the end while it read results, and has closed the socket that would have told of it again.
            self._lose(pg.get_error_message())

    def _read(self, results: Sequence[PGresult], sent: Sequence[bytes | None]) -> list[Rows]:
        found: list[Rows] = []
        for prepared, result in zip(sent, results, strict=True):
            status = result.status
            if status == _COMMAND_OK:
                if not prepared:
                    found.append([])
            elif prepared == _FOREIGN and status == _TUPLES_OK:
                found.append([])
            elif status == _TUPLES_OK:
                self._loader.set_pgresult(result)
                found.append(self._loader.load_rows(0, result.ntuples, tuple))
            else:
                self.executed = len(found)
                raise error_from_result(result)
        return found

    def _rest(self) -> None:
        """Hand the results over: everything that was sent has been answered."""
        answer, self._answer = self._answer, None
        assert answer is not None, "an answer is awaited"
        # Here and not where the rows are read: whoever sent it may have been cancelled.
        if self._prepares:
            self._prepares = False
            for prepared, result in zip(self._sent, self._results, strict=True):
                if prepared and result.status == _COMMAND_OK:
                    self._prepared.add(prepared)
        if not answer.done():
            answer.set_result(self._results)
        if self.on_rest is not None:
            self.on_rest(self)

    def _look_at_deadline(self) -> None:
        # One timer serves many pipelines: to make one for each costs more than to send a short statement.
        self._watch = None
        if self._answer is None:
            return
        if self.loop.time() >= self._deadline:
            self._lose("the server has not answered in time")
        else:
            self._watch = self.loop.call_at(self._deadline, self._look_at_deadline)

    def _lose(self, why: str) -> None:
        # A statement that ended with the connection tells nothing: the server may have committed and then died.
        undone = any(result.error_field(_SEVERITY) == b"ERROR" for result in self._results)
        answer, self._answer = self._answer, None
        self.close()
        if answer is not None and not answer.done():
            answer.set_exception(ConnectionLost(why.strip(), undone=undone))
        if self.on_rest is not None:
            self.on_rest(self)

    def close(self) -> None:
        """Close the connection at once, in the wire's own loop or when that runs no more; harmless if it is closed."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        if self._socket >= 0:
            if not self.loop.is_closed():
                self.loop.remove_reader(self._socket)
                self.loop.remove_writer(self._socket)
            self._socket = -1
            self._pg.finish()
