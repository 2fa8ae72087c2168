"""The checks of `holdfast doctor` on a Postgres store: facts in, verdicts out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from holdfast_adapters.postgres import HOT_TABLES, ServerFacts, Session, all_migrations
from holdfast_hosts.cli.checks import Check, Verdict, found, size_of
from holdfast_hosts.cli.rendering.times import took
from holdfast_hosts.cli.spelling import counted

#: A transaction that is open for longer keeps dead rows in the tables that every step updates.
OLD: Final = timedelta(minutes=1)
#: A wait for a lock that lasts longer holds work up.
LONG_WAIT: Final = timedelta(seconds=1)
#: Clocks that differ by more, doubt aside, put the times of logs and events into the wrong order.
APART: Final = timedelta(seconds=2)
#: For how long a job may be due, and events wait for their sink, before it is odd.
JOB_LATE: Final = timedelta(seconds=30)
EVENTS_LATE: Final = timedelta(minutes=5)
#: Free connections below which the next worker may get none.
FEW_FREE: Final = 10
#: Dead rows of a hot table, beside their share of its live ones, from which they are too many.
MANY_DEAD: Final = 10_000
DEAD_SHARE: Final = 0.2
#: What a commit needs to survive a power cut once it was acknowledged.
DURABLE: Final = ("fsync", "synchronous_commit", "full_page_writes")
NO_PATIENCE: Final = "0"
#: Takes the present cluster and timeline for the right ones.
_ACCEPT_PLACE: Final = "UPDATE holdfast.origin SET (system, timeline) = ROW"


def check_server(facts: ServerFacts, *, url: str, listens: bool) -> Iterator[Check]:
    """Yield what the database and its server are like; *listens* is whether the store's URL lets workers listen."""
    opens = f"{url} opens and may be written; {size_of(facts.database_bytes)}"
    yield found(
        "store",
        not facts.is_replica,
        opens if not facts.is_replica else f"{url} is a replica",
        fix="Name the primary server.",
    )
    yield found("schema", facts.schema_version == len(all_migrations()), f"version {facts.schema_version}")
    yield Check(name="server", verdict=Verdict.OK, words=f"Postgres {facts.version}")
    yield _durability(facts)
    yield _origin(facts)
    yield _clock(facts)
    yield _pooler(facts, listens=listens)
    yield _connections(facts)
    yield from _hygiene(facts)
    yield _locks(facts)
    yield from _lag(facts)


def _durability(facts: ServerFacts) -> Check:
    off = [name for name in DURABLE if facts.settings.get(name) == "off"]
    left = [name for name in off if name not in facts.accepted]
    reads_only = facts.settings.get("default_transaction_read_only") == "on"
    said = [f"{name} is off{'' if name in left else ', which is accepted'}" for name in off]
    if reads_only:
        said.append("transactions are read-only")
    destroys = " and destroy the database" if set(off) - {"synchronous_commit"} else ""
    return found(
        "durability",
        not left and not reads_only,
        "; ".join(said) or f"{', '.join(DURABLE)} are on",
        why=f"A power cut may take commits that were acknowledged{destroys}." if left else "No step can be written.",
        fix="Set it right in postgresql.conf, or with ALTER DATABASE … SET where that is possible."
        + (
            f" Where all may be lost, accept it: ALTER DATABASE … SET holdfast.accept = '{','.join(off)}'."
            if off
            else ""
        ),
        otherwise=Verdict.WRONG if reads_only or "fsync" in left else Verdict.LOOK,
    )


def _origin(facts: ServerFacts) -> Check:
    if facts.origin is None or facts.place is None:
        return Check(name="origin", verdict=Verdict.OK, words="nobody noted, or may see, which cluster it is")
    system, timeline = facts.place
    moved = f"cluster {system}, timeline {timeline}"
    return found(
        "origin",
        facts.origin == facts.place,
        f"{moved}, as when the schema was made"
        if facts.origin == facts.place
        else f"now {moved}; when the schema was made cluster {facts.origin[0]}, timeline {facts.origin[1]}",
        why="It was restored, copied, upgraded or failed over to. It may lack what was acknowledged, and a copy does "
        "again what the original does.",
        fix=f"Make sure that no other copy has workers. Then accept the place: {_ACCEPT_PLACE}({system}, {timeline});",
        otherwise=Verdict.LOOK,
    )


def _clock(facts: ServerFacts) -> Check:
    apart = abs(facts.clock_ahead)
    side = "ahead of" if facts.clock_ahead > timedelta() else "behind"
    return found(
        "clock",
        apart <= APART + facts.clock_doubt,
        f"this machine is {took(apart)} {side} the server",
        why="Leases and timers go by the server alone; log lines, the workers' cards and the limits of stages do not.",
        fix="Let both be set by NTP.",
        otherwise=Verdict.LOOK,
    )


def _pooler(facts: ServerFacts, *, listens: bool) -> Check:
    if not facts.has_pooler:
        return Check(name="pooler", verdict=Verdict.OK, words="none stands between")
    return found(
        "pooler",
        not listens,
        "one stands between" + ("" if listens else ", and nobody listens through it"),
        why="If it lends sessions for single transactions, nobody hears notices through it: work starts only when a "
        "worker looks by itself.",
        fix="Let workers listen past it, listen=host:port in the URL, or not at all: notify=off.",
        otherwise=Verdict.LOOK,
    )


def _connections(facts: ServerFacts) -> Check:
    free = facts.max_sessions - facts.sessions
    return found(
        "connections",
        free >= FEW_FREE,
        f"{facts.sessions:,} of {facts.max_sessions:,} are in use",
        why="A worker that gets no connection does nothing.",
        fix="Raise max_connections, put a pooler in front, or look for who keeps so many.",
        otherwise=Verdict.LOOK,
    )


def _hygiene(facts: ServerFacts) -> Iterator[Check]:
    """Yield what keeps dead rows in the tables, and whether they have become many."""
    old = [session for session in facts.oldest if session.age > OLD]
    blind = "" if facts.sees_all_sessions else "; of other users' sessions none is seen without pg_read_all_stats"
    patience = facts.settings.get("idle_in_transaction_session_timeout") == NO_PATIENCE
    limit = ", and set idle_in_transaction_session_timeout" if patience else ""
    yield found(
        "snapshots",
        not old,
        ("; ".join(map(_named, old)) if old else _youngest(facts)) + blind,
        why="While it is open no row that died since is removed, and the tables that every step updates grow.",
        fix=f"End it: {' '.join(f'SELECT pg_terminate_backend({session.pid});' for session in old)} Then repair the "
        f"program{limit}.",
        otherwise=Verdict.LOOK,
    )
    held = [holder for holder in facts.holders if holder.age is None or holder.age > OLD]
    yield found(
        "holders",
        not held,
        "; ".join(f"{one.kind} {one.name}{'' if one.age is None else f', {took(one.age)} old'}" for one in held)
        or "no prepared transaction and no idle replication slot",
        why="Each keeps dead rows as an old transaction does, and survives a restart.",
        fix="COMMIT PREPARED or ROLLBACK PREPARED what is prepared; drop slots that nobody reads.",
        otherwise=Verdict.LOOK,
    )
    bloated = [
        table for table in facts.tables if table.name in HOT_TABLES and table.dead > MANY_DEAD + DEAD_SHARE * table.live
    ]
    hot = [table for table in facts.tables if table.name in HOT_TABLES]
    yield found(
        "dead rows",
        not bloated,
        ", ".join(f"{table.name}: {table.dead:,} beside {table.live:,} live" for table in bloated or hot),
        why="Looking for work passes over them.",
        fix="End what keeps them (see snapshots and holders), then: "
        + " ".join(f"VACUUM holdfast.{table.name};" for table in bloated),
        otherwise=Verdict.LOOK,
    )
    yield _autovacuum(facts)


def _autovacuum(facts: ServerFacts) -> Check:
    off = [name for name in ("autovacuum", "track_counts") if facts.settings.get(name) == "off"]
    left = [table.name for table in facts.tables if table.is_left_alone]
    words = [*(f"{name} is off" for name in off), *(f"it leaves {name} alone" for name in left)]
    return found(
        "autovacuum",
        not words,
        "; ".join(words) or "on for every table",
        why="Dead rows are removed by nobody, and the statistics grow old.",
        fix="Set autovacuum and track_counts on; ALTER TABLE … RESET (autovacuum_enabled).",
        otherwise=Verdict.LOOK,
    )


def _locks(facts: ServerFacts) -> Check:
    waiting = [session for session in facts.waiting if session.age > LONG_WAIT]
    told = [f"{_named(session)} for {', '.join(map(str, session.blocked_by)) or 'nobody'}" for session in waiting]
    return found(
        "locks",
        not waiting,
        f"waiting: {'; '.join(told)}" if waiting else "nobody waits for one",
        why="What waits for a lock of ours holds up everybody behind it.",
        fix="See what those do that it waits for, in pg_stat_activity; end them with pg_terminate_backend if need be.",
        otherwise=Verdict.LOOK,
    )


def _lag(facts: ServerFacts) -> Iterator[Check]:
    job, events = facts.job_lag, facts.event_lag
    yield found(
        "lag",
        job is None or job <= JOB_LATE,
        "no job is due" if job is None else f"the job that waits longest has been due for {took(job)}",
        why="Nobody has taken it: no worker has its version and queue, or all are busy, or a limit holds it back.",
        fix="Start workers, or give them more slots.",
        otherwise=Verdict.LOOK,
    )
    late = ", ".join(f"{name} ({counted(number, 'stream')})" for name, number in facts.sinks if number)
    yield found(
        "delivery",
        events is None or events <= EVENTS_LATE,
        "no sink waits" if events is None else f"events have waited for {took(events)}: {late or 'no sink was told'}",
        why="Their runs are not pruned before the sink has taken them.",
        fix="Start a worker with that sink, or repair it.",
        otherwise=Verdict.LOOK,
    )
    yield found(
        "indexes",
        not facts.broken_indexes,
        f"half-made: {', '.join(facts.broken_indexes)}" if facts.broken_indexes else "all are whole",
        why="They slow down writes and serve no query.",
        fix=" ".join(f"REINDEX INDEX CONCURRENTLY holdfast.{name};" for name in facts.broken_indexes),
    )


def _youngest(facts: ServerFacts) -> str:
    return f"the oldest transaction is {took(facts.oldest[0].age)} old" if facts.oldest else "no transaction is open"


def _named(session: Session) -> str:
    """Return who it is: process, program, user and database, what it does and since when."""
    program = session.application or "a program without a name"
    where = f"{session.user}@{session.database}"
    return f"pid {session.pid} ({program}, {where}) {session.state or 'at work'} for {took(session.age)}"
