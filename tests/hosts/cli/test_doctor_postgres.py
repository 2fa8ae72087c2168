"""`holdfast doctor` on Postgres: each thing that can be off is found, and named so that somebody can act."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final
from urllib.parse import quote

import attrs
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from holdfast.errors import UnusableStore
from holdfast_adapters.postgres import (
    Holder,
    PostgresPersistence,
    ServerFacts,
    Session,
    Table,
    all_migrations,
    database_facts,
)
from holdfast_adapters.system import SystemClock
from holdfast_hosts.cli.checks import Verdict
from holdfast_hosts.cli.checks_postgres import check_server
from tests.hosts.cli.conftest import Cli, lines
from tests.postgres import empty_url

HOUR: Final = timedelta(hours=1)
SETTINGS: Final = {
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "default_transaction_read_only": "off",
    "autovacuum": "on",
    "track_counts": "on",
    "idle_in_transaction_session_timeout": "0",
}
HOT: Final = Table(name="job", live=1_000, dead=10, vacuumed_at=None, is_left_alone=False)
FACTS: Final = ServerFacts(
    version="17.4",
    schema_version=len(all_migrations()),
    database_bytes=8_000_000,
    settings=SETTINGS,
    accepted=frozenset(),
    is_replica=False,
    origin=(7, 1),
    place=(7, 1),
    clock_ahead=timedelta(milliseconds=3),
    clock_doubt=timedelta(milliseconds=5),
    has_pooler=False,
    sees_all_sessions=True,
    sessions=10,
    max_sessions=97,
    oldest=[],
    waiting=[],
    holders=[],
    tables=[HOT],
    broken_indexes=[],
    job_lag=timedelta(milliseconds=20),
    event_lag=None,
    sinks=[("log", 0)],
)
IDLER: Final = Session(pid=4711, user="ana", application="psql", database="shop", state="idle in transaction", age=HOUR)


def checked(facts: ServerFacts, *, listens: bool = True) -> dict[str, Any]:
    """Return the checks of *facts* by name."""
    return {check.name: check for check in check_server(facts, url="postgresql://h/x", listens=listens)}


def settings(**values: str) -> dict[str, Any]:
    """Return the part of the facts in which settings have other values."""
    return {"settings": {**SETTINGS, **values}}


def test_a_sound_server_passes() -> None:
    """Facts that are as they should be give nothing but well."""
    assert {check.verdict for check in checked(FACTS).values()} == {Verdict.OK}


@pytest.mark.parametrize(
    ("facts", "name", "verdict", "told"),
    [
        (settings(fsync="off"), "durability", Verdict.WRONG, "fsync is off"),
        (settings(synchronous_commit="off"), "durability", Verdict.LOOK, "synchronous_commit is off"),
        (settings(full_page_writes="off"), "durability", Verdict.LOOK, "full_page_writes is off"),
        (settings(default_transaction_read_only="on"), "durability", Verdict.WRONG, "read-only"),
        ({"is_replica": True}, "store", Verdict.WRONG, "replica"),
        ({"schema_version": 0}, "schema", Verdict.WRONG, "version 0"),
        ({"place": (8, 1)}, "origin", Verdict.LOOK, "now cluster 8, timeline 1"),
        ({"place": (7, 2)}, "origin", Verdict.LOOK, "timeline 2"),
        ({"clock_ahead": timedelta(seconds=3)}, "clock", Verdict.LOOK, "3.0 s ahead of"),
        ({"clock_ahead": timedelta(seconds=-3)}, "clock", Verdict.LOOK, "3.0 s behind"),
        ({"has_pooler": True}, "pooler", Verdict.LOOK, "one stands between"),
        ({"sessions": 90}, "connections", Verdict.LOOK, "90 of 97"),
        ({"oldest": [IDLER]}, "snapshots", Verdict.LOOK, "pid 4711 (psql, ana@shop) idle in transaction for 1 h"),
        (
            {"holders": [Holder(kind="prepared transaction", name="x", age=HOUR)]},
            "holders",
            Verdict.LOOK,
            "prepared transaction x, 1 h old",
        ),
        (
            {"holders": [Holder(kind="replication slot", name="s", age=None)]},
            "holders",
            Verdict.LOOK,
            "replication slot s",
        ),
        ({"tables": [attrs.evolve(HOT, dead=10_201)]}, "dead rows", Verdict.LOOK, "job: 10,201 beside 1,000"),
        (settings(autovacuum="off"), "autovacuum", Verdict.LOOK, "autovacuum is off"),
        ({"tables": [attrs.evolve(HOT, is_left_alone=True)]}, "autovacuum", Verdict.LOOK, "leaves job alone"),
        (
            {"waiting": [attrs.evolve(IDLER, state="active", blocked_by=(12, 13))]},
            "locks",
            Verdict.LOOK,
            "active for 1 h for 12, 13",
        ),
        ({"job_lag": timedelta(seconds=31)}, "lag", Verdict.LOOK, "31.0 s"),
        ({"event_lag": HOUR, "sinks": [("log", 3), ("b", 0)]}, "delivery", Verdict.LOOK, "1 h: log (3 streams)"),
        ({"broken_indexes": ["run_x"]}, "indexes", Verdict.WRONG, "run_x"),
    ],
)
def test_each_fact_that_is_off_is_found(facts: dict[str, Any], name: str, verdict: Verdict, told: str) -> None:
    """A fact that is not as it should be changes exactly its own check, which says what, why and what to do."""
    checks = checked(attrs.evolve(FACTS, **facts))
    check = checks.pop(name)
    assert check.verdict is verdict
    assert told in check.words
    assert check.fix or name == "schema"
    assert check.why or name in {"schema", "store"}
    assert {check.verdict for check in checks.values()} == {Verdict.OK}


def test_what_is_accepted_is_told_and_no_finding() -> None:
    """A setting that somebody accepted is named as such; what was not accepted beside it still counts."""
    facts = attrs.evolve(FACTS, **settings(fsync="off"), accepted=frozenset({"fsync"}))
    check = checked(facts)["durability"]
    assert (check.verdict, check.words) == (Verdict.OK, "fsync is off, which is accepted")
    facts = attrs.evolve(facts, settings={**SETTINGS, "fsync": "off", "synchronous_commit": "off"})
    assert checked(facts)["durability"].verdict is Verdict.LOOK


def test_a_pooler_is_fine_for_those_who_do_not_listen_through_it() -> None:
    """With notices turned off, or heard elsewhere, a pooler between is no finding."""
    assert checked(attrs.evolve(FACTS, has_pooler=True), listens=False)["pooler"].verdict is Verdict.OK


def test_what_cannot_be_seen_is_told() -> None:
    """Where the user may not see sessions or the cluster, the checks say so instead of looking well."""
    checks = checked(attrs.evolve(FACTS, sees_all_sessions=False, place=None))
    assert "pg_read_all_stats" in checks["snapshots"].words
    assert "nobody noted, or may see" in checks["origin"].words


def store_url(conninfo: str) -> str:
    """Return the address of a test database as a store URL."""
    parts = conninfo_to_dict(conninfo)
    words = "&".join(
        f"{name}={quote(str(value), safe='')}" for name, value in parts.items() if name not in {"user", "dbname"}
    )
    return f"postgresql://{quote(str(parts['user']))}@/{quote(str(parts['dbname']))}?{words}"


@pytest.fixture
def url() -> Iterator[str]:
    """Give the address of an empty database, and put back what a test may have changed."""
    yield empty_url()
    with psycopg.connect(empty_url(), autocommit=True) as connection:
        connection.execute("DELETE FROM holdfast.origin")
        connection.execute("ALTER TABLE holdfast.job RESET (autovacuum_enabled)")


def facts_of(url: str) -> ServerFacts:
    """Return the facts of a database."""
    return asyncio.run(database_facts(url, clock=SystemClock()))


@pytest.mark.postgres
def test_a_server_without_fsync_is_refused_unless_that_is_accepted(url: str) -> None:
    """Opening a store on it fails with the way out, which a URL can take; nothing else about the server changes."""

    def opened(accept: str) -> None:
        async def main() -> None:
            store = PostgresPersistence(make_conninfo(url, options=f"-c holdfast.accept={accept}"))
            await store.open()
            await store.close()

        asyncio.run(main())

    with psycopg.connect(url) as connection:
        (syncs,) = connection.execute("SELECT current_setting('fsync')").fetchone() or ("",)
    for accept in ("", "synchronous_commit", "fsyncs"):
        if syncs == "off":
            with pytest.raises(UnusableStore, match=r"fsync=off.*holdfast\.accept%3Dfsync"):
                opened(accept)
        else:
            opened(accept)
    for accept in ("fsync", "synchronous_commit,fsync"):
        opened(accept)


@pytest.mark.postgres
def test_the_command_line_tells_why_such_a_server_is_refused(cli: Cli, url: str) -> None:
    """On a server without fsync that nobody accepted every command ends in 6 with the reason and the way out."""
    plain = store_url(make_conninfo(url, options="-c holdfast.accept="))
    with psycopg.connect(url) as connection:
        (syncs,) = connection.execute("SELECT current_setting('fsync')").fetchone() or ("",)
    for words in (["doctor"], ["runs", "list"], ["db", "migrate"]):
        said = cli(*words, "--store", plain)
        assert said.code == (0 if syncs == "on" else 6), said.err
        assert ("fsync=off" in said.err) == (syncs == "off")
        assert cli(*words, "--store", store_url(url)).code == 0


@pytest.mark.postgres
def test_the_doctor_names_who_holds_an_old_snapshot(cli: Cli, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that is idle in a transaction is named by process, program and age, with what ends it."""
    monkeypatch.setattr("holdfast_hosts.cli.checks_postgres.OLD", timedelta())
    with psycopg.connect(make_conninfo(url, application_name="report")) as idler:
        idler.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        idler.execute("SELECT count(*) FROM holdfast.run")
        said = cli("doctor", "--store", store_url(url))
        pid = idler.info.backend_pid
    assert said.code == 0
    assert lines(said, ["! look", "snapshots", f"pid {pid} (report, ", "idle in transaction for"])
    assert lines(said, ["→ End it:", f"SELECT pg_terminate_backend({pid});"])
    assert not lines(cli("doctor", "--store", store_url(url)), [f"pid {pid}"])


@pytest.mark.postgres
def test_the_doctor_names_who_waits_for_a_lock_and_for_whom(url: str) -> None:
    """A session that waits for a lock on a table of ours is told of with those it waits for."""
    with psycopg.connect(url) as holder, psycopg.connect(url, autocommit=True) as waiter:
        holder.execute("LOCK TABLE holdfast.message")

        async def look() -> ServerFacts:
            waiting = asyncio.create_task(asyncio.to_thread(waiter.execute, "SELECT count(*) FROM holdfast.message"))
            try:
                async with asyncio.timeout(20):
                    while not (found := await database_facts(url, clock=SystemClock())).waiting:
                        pass
                return found
            finally:
                holder.rollback()
                await waiting

        facts = asyncio.run(look())
        assert [(one.pid, one.blocked_by) for one in facts.waiting] == [
            (waiter.info.backend_pid, (holder.info.backend_pid,))
        ]


@pytest.mark.postgres
def test_a_database_that_moved_is_found(cli: Cli, url: str) -> None:
    """The cluster of the first migration is noted, and another one later is told with what accepts it."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM holdfast.origin")
        connection.execute("INSERT INTO holdfast.origin (system, timeline) VALUES (1, 1)")
    said = cli("doctor", "--store", store_url(url), "--json").json
    (found,) = [check for check in said["checks"] if check["name"] == "origin"]
    assert found["verdict"] == "look"
    assert "when the schema was made cluster 1, timeline 1" in found["words"]
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(found["fix"].partition("place: ")[2].encode())
    facts = facts_of(url)
    assert facts.origin == facts.place
    assert facts.origin != (1, 1)


@pytest.mark.postgres
def test_tables_that_autovacuum_leaves_alone_are_found(url: str) -> None:
    """A table of ours for which autovacuum was turned off is named; others are not."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("ALTER TABLE holdfast.job SET (autovacuum_enabled = off)")
    assert [table.name for table in facts_of(url).tables if table.is_left_alone] == ["job"]


@pytest.mark.postgres
def test_the_doctor_sees_a_whole_store(cli: Cli, url: str) -> None:
    """Every check is made on a real server, and an empty store has nothing to do."""
    said = cli("doctor", "--store", store_url(url), "--json")
    assert said.code == 0
    by_name = {check["name"]: check for check in said.json["checks"]}
    assert {*checked(FACTS), "liveness", "runs", "jobs", "leases", "events", "waits", "versions", "workers"} == {
        *by_name
    }
    assert by_name["pooler"]["words"] == "none stands between"
    assert by_name["clock"]["verdict"] == "ok"
    assert by_name["lag"]["words"] == "no job is due"
