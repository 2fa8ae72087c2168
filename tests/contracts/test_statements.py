"""Statements of the application's under their contract, and the store that has no SQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

import psycopg
import pytest

from holdfast.driving import run_sync
from holdfast.errors import StatementFailed
from holdfast.ports.persistence import Persistence
from holdfast.traces import Statement
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import begin, everything, refuse, take
from holdfast_testing.contracts.statements import StatementsContract, writing
from tests.postgres import empty_url, fresh_store

_TABLE = "CREATE TABLE book (entry text PRIMARY KEY, amount integer CHECK (amount >= 0))"
_ENTRIES = "SELECT entry, amount FROM book ORDER BY entry"


class SqliteBook:
    """The table in a SQLite file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with sqlite3.connect(path) as connection:
            connection.execute(_TABLE)
        connection.close()

    def note(self, entry: str, amount: int) -> Statement:
        """Return the statement that inserts a row."""
        return Statement("INSERT INTO book (entry, amount) VALUES (?, ?)", (entry, amount))

    def entries(self) -> Sequence[tuple[str, int]]:
        """Return the rows."""
        connection = sqlite3.connect(self._path)
        try:
            return connection.execute(_ENTRIES).fetchall()
        finally:
            connection.close()


class PostgresBook:
    """The table in a Postgres database."""

    def __init__(self, url: str) -> None:
        self._url = url
        with psycopg.connect(url) as connection:
            connection.execute("DROP TABLE IF EXISTS book")
            connection.execute(_TABLE)

    def note(self, entry: str, amount: int) -> Statement:
        """Return the statement that inserts a row."""
        return Statement("INSERT INTO book (entry, amount) VALUES (%s, %s)", (entry, amount))

    def entries(self) -> Sequence[tuple[str, int]]:
        """Return the rows."""
        with psycopg.connect(self._url) as connection:
            return connection.execute(_ENTRIES).fetchall()


class TestSqliteStatements(StatementsContract):
    """The contract, executed on SQLite."""

    @pytest.fixture
    def persistence(self, tmp_path: Path, clock: FakeClock) -> Iterator[Persistence]:
        """Return an opened store in a fresh file."""
        store = SqlitePersistence(tmp_path / "store.db", clock=clock)
        run_sync(store.open())
        yield store
        run_sync(store.close())

    @pytest.fixture
    def book(self, persistence: Persistence, tmp_path: Path) -> SqliteBook:
        """Return a table in the file of the store."""
        return SqliteBook(tmp_path / "store.db")

    def test_a_conflict_clause_that_rolls_back_harms_nobody(self, persistence: Persistence, book: SqliteBook) -> None:
        """OR ROLLBACK ends the whole transaction, and that is the statement's own."""
        begin(persistence)
        lease = take(persistence)
        before = everything(persistence)
        rude = Statement("INSERT OR ROLLBACK INTO book (entry, amount) VALUES ('one', 2)")
        assert isinstance(refuse(persistence, writing(lease, book.note("one", 1), rude)), StatementFailed)
        assert book.entries() == []
        assert everything(persistence) == before

    def test_values_may_be_named(self, persistence: Persistence, book: SqliteBook) -> None:
        """Placeholders with names take a mapping."""
        begin(persistence)
        named = Statement("INSERT INTO book VALUES (:entry, :amount)", {"entry": "one", "amount": 1})
        run_sync(persistence.commit([writing(take(persistence), named)]))
        assert book.entries() == [("one", 1)]


@pytest.mark.postgres
class TestPostgresStatements(StatementsContract):
    """The contract, executed on Postgres."""

    @pytest.fixture
    def persistence(self, clock: FakeClock) -> Iterator[Persistence]:
        """Return an opened store in an empty database."""
        store = fresh_store(clock)
        yield store
        run_sync(store.close())

    @pytest.fixture
    def book(self, persistence: Persistence) -> PostgresBook:
        """Return a table in the database of the store."""
        return PostgresBook(empty_url())

    def test_values_may_be_named(self, persistence: Persistence, book: PostgresBook) -> None:
        """Placeholders with names take a mapping, and a percent sign is one when it is written twice."""
        begin(persistence)
        named = Statement(
            "INSERT INTO book SELECT %(entry)s, %(amount)s WHERE 'x%%' LIKE '%%x%%'", {"entry": "one", "amount": 1}
        )
        plain = Statement("UPDATE book SET amount = 7 % 4")
        run_sync(persistence.commit([writing(take(persistence), named, plain)]))
        assert book.entries() == [("one", 3)]


def test_memory_has_no_sql(clock: FakeClock) -> None:
    """A store without a database refuses the change-set and says which one has SQL."""
    persistence = MemoryPersistence(clock=clock)
    begin(persistence)
    lease = take(persistence)
    before = everything(persistence)
    refusal = refuse(persistence, writing(lease, Statement("INSERT INTO book VALUES ('one', 1)")))
    assert isinstance(refusal, StatementFailed)
    assert "use SQLite or Postgres" in str(refusal)
    assert everything(persistence) == before
