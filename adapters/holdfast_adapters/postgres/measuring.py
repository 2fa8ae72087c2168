"""What a benchmark needs of a Postgres server beside the store: databases of its own, counts, and rows in bulk."""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlencode

import psycopg
from psycopg import conninfo, sql

from holdfast.errors import StoreUnavailable
from holdfast.ports.persistence import Persistence
from holdfast_adapters.postgres.encoding import micros
from holdfast_adapters.postgres.persistence import PostgresPersistence
from holdfast_adapters.postgres.reaching import shown

Connection = psycopg.Connection[Any]

#: As large as the output of a small stage.
_TEXT: Final = "x" * 100
#: Settings without which figures of commits say nothing.
_DURABLE: Final = ("fsync", "synchronous_commit", "full_page_writes")
_TOLD: Final = (*_DURABLE, "wal_sync_method", "shared_buffers", "max_wal_size", "commit_delay", "wal_level")
#: Runs that are copied by one transaction.
_COPIED: Final = 50_000
#: What begins the names of databases that are made and dropped here.
PREFIX: Final = "holdfast_bench_"


class PostgresServer:
    """A server on which databases come and go while it is measured; those that were there are not touched.

    Args:
        url: A database on it that can be connected to, as a role that may create others.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = shown(url)

    @contextmanager
    def _connected(self, url: str | None = None) -> Generator[Connection]:
        try:
            with psycopg.connect(url or self._url, autocommit=True) as connection:
                yield connection
        except psycopg.Error as error:
            raise StoreUnavailable(f"{self.name} cannot be measured: {str(error).strip()}") from error

    def facts(self) -> Mapping[str, str]:
        """Return the version of the server and the settings that decide what a commit costs."""
        with self._connected() as connection:
            found = connection.execute(
                "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s)",
                [["server_version", *_TOLD]],
            ).fetchall()
        settings = dict(found)
        return {name: settings[name] for name in ("server_version", *_TOLD) if name in settings}

    @contextmanager
    def fresh(self, label: str) -> Generator[str]:
        """Give the URL of an empty database with *label* in its name, which is dropped at the end."""
        name = sql.Identifier(PREFIX + label)
        with self._connected() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(name))
        try:
            parts = {**conninfo.conninfo_to_dict(self._url), "dbname": PREFIX + label}
            yield f"postgresql://?{urlencode({key: value for key, value in parts.items() if value is not None})}"
        finally:
            with self._connected() as connection:
                connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))

    @contextmanager
    def bare(self, store: str) -> Generator[Callable[[int], object]]:
        """Give what inserts as many rows as it is told by one statement in a transaction of its own."""
        insert = "INSERT INTO public.bare (n, text) SELECT * FROM unnest(%b::bigint[], %b::text[])"
        with self._connected(store) as connection:
            connection.execute(
                "CREATE TABLE public.bare (id bigserial PRIMARY KEY, n bigint NOT NULL, text text NOT NULL)"
            )

            def put(rows: int) -> None:
                if rows == 1:
                    connection.execute("INSERT INTO public.bare (n, text) VALUES (1, %s)", [_TEXT], prepare=True)
                else:
                    connection.execute(insert, [[1] * rows, [_TEXT] * rows], prepare=True)

            yield put

    def log_bytes(self) -> int:
        """Return how many bytes of log the server has written since it was made."""
        with self._connected() as connection:
            row = connection.execute("SELECT pg_current_wal_insert_lsn() - '0/0'::pg_lsn").fetchone()
        assert row is not None, "an expression has a value"
        return int(row[0])

    def traffic(self, persistence: Persistence) -> tuple[int, int]:
        """Return how many round trips an open store has made, and how many statements it has sent."""
        assert isinstance(persistence, PostgresPersistence), "the store is one of this server"
        traffic = persistence.access.traffic
        return traffic.trips, traffic.statements

    def ended(self, store: str, *, since: datetime, until: datetime) -> int:
        """Return how many runs ended between two instants."""
        with self._connected(store) as connection:
            row = connection.execute(
                "SELECT count(*) FROM holdfast.run WHERE finished_at >= %s AND finished_at < %s",
                [micros(since), micros(until)],
            ).fetchone()
        assert row is not None, "a count has a value"
        return int(row[0])

    @contextmanager
    def old_snapshot(self, store: str) -> Generator[None]:
        """Have a transaction open in the store that has looked at it once and does nothing more."""
        with self._connected(store) as connection, connection.transaction():
            connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            connection.execute("SELECT count(*) FROM holdfast.job")
            yield

    def settle(self, store: str) -> None:
        """Let the server do now what would else come in the middle of a measurement."""
        with self._connected(store) as connection:
            connection.execute("VACUUM (ANALYZE)")
            # Not everybody may ask for it.
            with suppress(psycopg.errors.InsufficientPrivilege):
                connection.execute("CHECKPOINT")

    def multiply(self, store: str, *, runs: int) -> None:
        """Copy the runs of the store with everything of theirs until there are *runs* of them.

        The copies have ids of their own, whose beginnings tell the same instants as those they are copies of.
        """
        with self._connected(store) as connection:
            # Kept apart: what is copied stays as small as it was while the tables grow.
            tables = _seed_tables(connection)
            for table, _ in tables:
                connection.execute(
                    sql.SQL("CREATE TEMP TABLE {} AS TABLE {}").format(_seed(table), sql.Identifier("holdfast", table))
                )
                connection.execute(sql.SQL("ANALYZE {}").format(_seed(table)))
            row = connection.execute(sql.SQL("SELECT count(*) FROM {}").format(_seed("run"))).fetchone()
            assert row is not None, "a count has a value"
            seeds = int(row[0])
            assert seeds, "there is something to copy"
            left = runs - seeds
            while left > 0:
                copied = min(left, max(_COPIED, seeds))
                with connection.transaction():
                    _copy(connection, tables, seeds=seeds, runs=copied)
                left -= copied


#: A table with the columns that a copy gets, and where each of them comes from.
_Table = tuple[str, Sequence[tuple[str, sql.Composable]]]

#: What is another for each copy, by column; everything else is taken over. Keys of operations are those of everybody.
_OWN: Final[Mapping[tuple[str | None, str], sql.SQL]] = {
    ("run", "n"): sql.SQL("twin.n"),
    ("run", "id"): sql.SQL("twin.id"),
    (None, "run"): sql.SQL("twin.n"),
    (None, "run_id"): sql.SQL("twin.id"),
    ("operation", "key"): sql.SQL("seed.key || ' ' || twin.id"),
    ("token", "hash"): sql.SQL("seed.hash || twin.id"),
    ("keyed", "key"): sql.SQL("seed.key || ' ' || twin.id"),
}
_COLUMNS: Final = """
    SELECT c.table_name, c.column_name
    FROM information_schema.columns c
    WHERE c.table_schema = 'holdfast' AND c.is_identity = 'NO' AND EXISTS (
        SELECT 1 FROM pg_catalog.pg_tables t WHERE t.schemaname = 'holdfast' AND t.tablename = c.table_name
    )
    ORDER BY c.table_name, c.ordinal_position"""


def _seed_tables(connection: Connection) -> Sequence[_Table]:
    """Return every table in which something of a run can stand."""
    columns: dict[str, list[str]] = {}
    for table, column in connection.execute(_COLUMNS):
        columns.setdefault(table, []).append(column)
    return [
        (table, [(name, _OWN.get((table, name)) or _OWN.get((None, name)) or _plain(name)) for name in names])
        for table, names in columns.items()
        if table == "run" or not {"run", "run_id"}.isdisjoint(names)
    ]


def _plain(column: str) -> sql.Composable:
    return sql.Identifier("seed", column)


def _seed(table: str) -> sql.Identifier:
    return sql.Identifier("pg_temp", f"seed_{table}")


def _copy(connection: Connection, tables: Sequence[_Table], *, seeds: int, runs: int) -> None:
    connection.execute("CREATE TEMP TABLE twin (seed bigint, seed_id text, n bigint, id text) ON COMMIT DROP")
    connection.execute(
        """
        INSERT INTO twin
        SELECT n, id, nextval('holdfast.run_n'), left(id, 15) || substr(gen_random_uuid()::text, 16)
        FROM (
            SELECT s.n, s.id FROM generate_series(1, %s::integer) copy, pg_temp.seed_run s LIMIT %s::integer
        ) chosen""",
        [-(-runs // seeds), runs],
    )
    connection.execute("ANALYZE twin")
    for table, columns in tables:
        names = {name for name, _ in columns}
        of_run = "seed.n = twin.seed" if table == "run" else "seed.run = twin.seed"
        on = of_run if table == "run" or "run" in names else "seed.run_id = twin.seed_id"
        connection.execute(
            sql.SQL("INSERT INTO {} ({}) SELECT {} FROM twin JOIN {} seed ON {}").format(
                sql.Identifier("holdfast", table),
                sql.SQL(", ").join(sql.Identifier(name) for name, _ in columns),
                sql.SQL(", ").join(value for _, value in columns),
                _seed(table),
                sql.SQL(on),
            )
        )
