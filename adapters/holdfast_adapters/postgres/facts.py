"""What `holdfast doctor` wants to know of a Postgres store and of the server that it is on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import attrs
import psycopg

from holdfast.ports.clock import Clock
from holdfast_adapters.postgres.encoding import instant
from holdfast_adapters.postgres.schema import Connection, current_version

#: Sessions, tables and transactions that are named at most.
MOST_NAMED: Final = 5
#: Tables whose rows come and go with every step; dead rows in them slow down whatever looks for work.
HOT_TABLES: Final = ("run", "job", "timer", "stream")


@attrs.frozen(kw_only=True)
class Session:
    """A session of the server that stands in the way of others."""

    pid: int
    user: str
    application: str
    database: str
    #: Such as ``idle in transaction``.
    state: str
    #: How long its transaction, its snapshot or its wait has lasted.
    age: timedelta
    #: The sessions that it waits for; empty for one that does not wait.
    blocked_by: tuple[int, ...] = ()


@attrs.frozen(kw_only=True)
class Holder:
    """Something other than a session that keeps dead rows from being removed: a prepared transaction or a slot."""

    kind: str
    name: str
    #: None if the server does not tell.
    age: timedelta | None


@attrs.frozen(kw_only=True)
class Table:
    """One of our tables as the statistics tell of it."""

    name: str
    live: int
    dead: int
    #: When it was last vacuumed, by whomever; None for never.
    vacuumed_at: datetime | None
    #: Whether autovacuum leaves it alone.
    is_left_alone: bool


@attrs.frozen(kw_only=True)
class ServerFacts:
    """The state of the database and of its server, as the user of the store may see it."""

    version: str
    schema_version: int
    database_bytes: int
    #: The settings that matter by name, as the store's sessions have them.
    settings: Mapping[str, str]
    #: What somebody has said to be meant, in the setting `holdfast.accept`.
    accepted: frozenset[str]
    is_replica: bool
    #: The cluster's identity and timeline, now and when the schema was made; None where the user may not see it.
    origin: tuple[int, int] | None
    place: tuple[int, int] | None
    #: How far the clock of this machine is ahead of the server's; within half of the time the answer took.
    clock_ahead: timedelta
    clock_doubt: timedelta
    #: Whether something that shares connections stands between.
    has_pooler: bool
    #: Whether sessions of other users are seen with their transactions.
    sees_all_sessions: bool
    sessions: int
    max_sessions: int
    #: Sessions with the oldest transactions, oldest first, those of vacuum left out.
    oldest: Sequence[Session]
    #: Sessions that wait for a lock on something of ours.
    waiting: Sequence[Session]
    #: Prepared transactions and replication slots that hold back vacuum.
    holders: Sequence[Holder]
    tables: Sequence[Table]
    #: Indexes of ours that were left half-made.
    broken_indexes: Sequence[str]
    #: For how long the job has been due that is longest due, and events have waited that wait longest; None for none.
    job_lag: timedelta | None
    event_lag: timedelta | None
    #: Of each sink that has asked, when events wait for it: how many streams, the sink that most wait for first.
    sinks: Sequence[tuple[str, int]]


_SETTINGS: Final = """
    SELECT name, current_setting(name) FROM pg_settings WHERE name IN (
        'fsync', 'synchronous_commit', 'full_page_writes', 'default_transaction_read_only', 'autovacuum',
        'track_counts', 'idle_in_transaction_session_timeout'
    )"""
_SERVER: Final = """
    SELECT current_setting('server_version'), pg_is_in_recovery(), pg_database_size(current_database()),
        coalesce(current_setting('holdfast.accept', true), ''), pg_backend_pid(),
        pg_has_role(current_user, 'pg_read_all_stats', 'USAGE'),
        (SELECT sum(numbackends)::integer FROM pg_stat_database WHERE datname IS NOT NULL),
        current_setting('max_connections')::integer - current_setting('superuser_reserved_connections')::integer"""
_ORIGIN: Final = "SELECT system, timeline FROM holdfast.origin"
_PLACE: Final = """
    SELECT s.system_identifier, c.timeline_id FROM pg_control_system() s, pg_control_checkpoint() c"""
_PATIENCE: Final = "SELECT set_config('lock_timeout', '5s', false), set_config('statement_timeout', '60s', false)"
_NOW: Final = "SELECT clock_timestamp()"
#: A transaction that has begun and written or read nothing yet holds nobody up.
_OLDEST: Final = """
    SELECT pid, coalesce(usename, ''), application_name, coalesce(datname, ''), coalesce(state, ''),
        clock_timestamp() - xact_start, ARRAY[]::integer[]
    FROM pg_stat_activity
    WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' AND xact_start IS NOT NULL
        AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL OR state LIKE 'idle in transaction%')
    ORDER BY xact_start LIMIT $1"""
_WAITING: Final = """
    SELECT a.pid, coalesce(a.usename, ''), a.application_name, coalesce(a.datname, ''), coalesce(a.state, ''),
        clock_timestamp() - a.state_change, pg_blocking_pids(a.pid)
    FROM pg_stat_activity a
    WHERE a.datname = current_database() AND a.wait_event_type = 'Lock' AND EXISTS (
        SELECT 1 FROM pg_locks l JOIN pg_class c ON c.oid = l.relation
        WHERE l.pid = a.pid AND c.relnamespace = 'holdfast'::regnamespace
    )
    ORDER BY a.state_change LIMIT $1"""
_HOLDERS: Final = """
    SELECT 'prepared transaction', gid, clock_timestamp() - prepared
    FROM pg_prepared_xacts
    UNION ALL
    SELECT 'replication slot', slot_name::text, NULL FROM pg_replication_slots
    WHERE (xmin IS NOT NULL OR catalog_xmin IS NOT NULL) AND NOT active
    LIMIT $1"""
_TABLES: Final = """
    SELECT s.relname::text, s.n_live_tup, s.n_dead_tup, greatest(s.last_vacuum, s.last_autovacuum),
        coalesce('autovacuum_enabled=false' = ANY(c.reloptions) OR 'autovacuum_enabled=off' = ANY(c.reloptions), false)
    FROM pg_stat_user_tables s JOIN pg_class c ON c.oid = s.relid
    WHERE s.schemaname = 'holdfast' ORDER BY s.relname"""
_BROKEN: Final = """
    SELECT c.relname::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
    WHERE NOT i.indisvalid AND c.relnamespace = 'holdfast'::regnamespace"""
_JOB_LAG: Final = """
    SELECT min(due_at) FROM holdfast.job WHERE due_at IS NOT NULL AND status = 'READY'"""
#: Without a sink nobody waits for events.
_EVENT_LAG: Final = """
    SELECT least(
        (SELECT min(due_at) FROM holdfast.stream WHERE due_at IS NOT NULL AND NOT held),
        (SELECT min(undelivered) FROM holdfast.run
            WHERE undelivered IS NOT NULL AND EXISTS (SELECT 1 FROM holdfast.sink))
    )"""
_SINKS: Final = """
    SELECT k.name, (SELECT count(*) FROM holdfast.stream s WHERE s.sink = k.name AND (s.due_at IS NOT NULL OR s.parked))
    FROM holdfast.sink k ORDER BY 2 DESC, 1"""


async def read_facts(connection: Connection, *, clock: Clock, store: str) -> ServerFacts:
    """Return the facts as *connection*, which is in autocommit mode, sees them.

    Raises:
        UnusableStore: If the schema was not made by a Holdfast that this one knows.
    """

    async def rows(query: str, *values: object) -> list[tuple[Any, ...]]:
        cursor = psycopg.AsyncRawCursor(connection)
        return await (await cursor.execute(query.encode(), values)).fetchall()

    # Whoever looks at what stands in the way must not stand behind it for ever.
    await connection.execute(_PATIENCE)
    before = clock.now()
    ((now,),) = await rows(_NOW)
    after = clock.now()
    version, is_replica, size, accepted, pid, sees_all, sessions, most = (await rows(_SERVER))[0]
    (due_at,) = (await rows(_JOB_LAG))[0]
    (waits_since,) = (await rows(_EVENT_LAG))[0]
    return ServerFacts(
        version=version,
        schema_version=await current_version(connection, store=store),
        database_bytes=size,
        settings=dict(await rows(_SETTINGS)),
        accepted=frozenset(filter(None, accepted.split(","))),
        is_replica=is_replica,
        origin=_first(await rows(_ORIGIN)),
        place=await _place(connection),
        clock_ahead=before + (after - before) / 2 - now,
        clock_doubt=(after - before) / 2,
        # What a pooler tells of a session is of its own making.
        has_pooler=pid != connection.info.backend_pid,
        sees_all_sessions=sees_all,
        sessions=sessions,
        max_sessions=most,
        oldest=[_session(row) for row in await rows(_OLDEST, MOST_NAMED)],
        waiting=[_session(row) for row in await rows(_WAITING, MOST_NAMED)],
        holders=[Holder(kind=kind, name=name, age=age) for kind, name, age in await rows(_HOLDERS, MOST_NAMED)],
        tables=[
            Table(name=name, live=live, dead=dead, vacuumed_at=at, is_left_alone=left)
            for name, live, dead, at, left in await rows(_TABLES)
        ],
        broken_indexes=[name for (name,) in await rows(_BROKEN)],
        job_lag=_since(due_at, now),
        event_lag=_since(waits_since, now),
        sinks=[(name, count) for name, count in await rows(_SINKS)],
    )


async def _place(connection: Connection) -> tuple[int, int] | None:
    try:
        found = await (await connection.execute(_PLACE.encode())).fetchall()
    except psycopg.errors.InsufficientPrivilege:
        return None
    return _first(found)


def _first(found: Sequence[tuple[Any, ...]]) -> tuple[int, int] | None:
    return (int(found[0][0]), int(found[0][1])) if found else None


def _since(stored: int | None, now: datetime) -> timedelta | None:
    """Return for how long it has been so; None for never and for what lies ahead."""
    return None if stored is None or instant(stored) > now else now - instant(stored)


def _session(row: tuple[Any, ...]) -> Session:
    pid, user, application, database, state, age, blockers = row
    return Session(
        pid=pid,
        user=user,
        application=application,
        database=database,
        state=state,
        age=age,
        blocked_by=tuple(blockers),
    )
