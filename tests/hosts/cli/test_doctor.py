"""`holdfast doctor`: what it finds right and wrong."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import attrs
import pytest

from holdfast.entities.run import RunStatus
from holdfast.ports.queries import Counts
from holdfast_adapters.sqlite import StoreFacts, all_migrations
from holdfast_hosts.cli.checks import (
    Verdict,
    check_counts,
    check_facts,
    check_orphans,
    check_versions,
    check_waits,
    check_workers,
)
from holdfast_hosts.roster import Card
from tests.hosts.cli.conftest import Cli, lines

FACTS = StoreFacts(
    path="h.db",
    filesystem="ext4",
    sqlite_version="3.40.1",
    wal_reset_bug=True,
    journal_mode="wal",
    synchronous="FULL",
    database_bytes=4_096,
    wal_bytes=0,
    schema_version=len(all_migrations()),
    readable_by_others=False,
    checkpoint_error=None,
    problems=(),
)


def test_a_sound_store_passes(cli: Cli, finished: Callable[..., str]) -> None:
    """A store in order ends in 0 with a line for each thing that was looked at."""
    finished()
    said = cli("doctor")
    assert said.code == 0
    assert "Everything is as it should be." in said.err
    names = [line.split()[2] for line in said.out.splitlines() if line.startswith("✓ ok")]
    assert names == [
        *("store", "schema", "sqlite", "durability", "log", "integrity", "permissions"),
        *("liveness", "runs", "jobs", "leases", "events", "waits", "versions", "workers"),
    ]
    assert lines(said, ["runs", "1 completed"])


def test_the_doctor_has_a_json_form(cli: Cli, finished: Callable[..., str]) -> None:
    """With --json the verdict and every check are one object."""
    finished()
    found = cli("doctor", "--json").json
    assert found["verdict"] == "ok"
    assert {check["verdict"] for check in found["checks"]} == {"ok"}


def test_live_runs_of_versions_that_modules_lack_are_wrong(cli: Cli) -> None:
    """A live run that none of the named modules can execute ends the doctor in 6."""
    cli("run", "flows.py:words", "--input", '{"text": "a"}')
    assert cli("doctor", "flows.py").code == 0
    said = cli("doctor", "flows.py:loud")
    assert said.code == 6
    assert lines(said, ["✕ wrong", "versions", "the modules lack words@1.0.0 (1 run)"])
    assert lines(cli("doctor"), ["✓ ok", "versions", "words@1.0.0 (1 live)"])


def test_a_file_that_others_can_read_is_worth_a_look(cli: Cli, folder: Path) -> None:
    """Loose permissions are a warning, which ends in 0."""
    cli("db", "migrate")
    (folder / "holdfast.db").chmod(0o644)
    said = cli("doctor")
    assert said.code == 0
    assert lines(said, ["! look", "permissions"])
    assert lines(said, ["→", "chmod 600 holdfast.db"])


@pytest.mark.parametrize(
    ("facts", "name", "verdict"),
    [
        ({"synchronous": "NORMAL"}, "durability", Verdict.WRONG),
        ({"journal_mode": "delete"}, "durability", Verdict.WRONG),
        ({"problems": ("row 3 missing from index",)}, "integrity", Verdict.WRONG),
        ({"wal_bytes": 2_000_000_000}, "log", Verdict.LOOK),
        ({"checkpoint_error": "disk full"}, "log", Verdict.LOOK),
        ({"readable_by_others": True}, "permissions", Verdict.LOOK),
        ({"schema_version": 0}, "schema", Verdict.WRONG),
    ],
)
def test_each_fact_that_is_off_is_found(facts: dict[str, Any], name: str, verdict: Verdict) -> None:
    """A fact that is not as it should be changes exactly its own check."""
    checks = {check.name: check for check in check_facts(attrs.evolve(FACTS, **facts), url="sqlite:///h.db")}
    assert checks.pop(name).verdict is verdict
    assert {check.verdict for check in checks.values()} == {Verdict.OK}


def test_the_wal_reset_bug_is_named_with_the_guard_against_it() -> None:
    """An old SQLite is told together with what keeps its bug away."""
    by_name = {check.name: check.words for check in check_facts(FACTS, url="sqlite:///h.db")}
    assert "WAL-reset bug" in by_name["sqlite"]
    assert "file lock" in by_name["sqlite"]


def test_orphans_are_wrong() -> None:
    """A live run that nothing will advance is wrong, and is named."""
    assert check_orphans([], named=5).verdict is Verdict.OK
    found = check_orphans(["a", "b", "c"], named=2)
    assert found.verdict is Verdict.WRONG
    assert "a, b and more" in found.words


def test_what_waits_for_somebody_is_worth_a_look() -> None:
    """Leases past their end and parked streams are warnings."""
    counts = Counts(
        runs={RunStatus.RUNNING: 2}, ready=0, leased=1, suspended=0, waiting=4, expired=1, undelivered=3, parked=1
    )
    checks = {check.name: check for check in check_counts(counts)}
    assert checks["leases"].verdict is checks["events"].verdict is Verdict.LOOK
    assert "1 lease past the end" in checks["leases"].words
    assert "3 streams to be delivered, 1 parked" in checks["events"].words
    assert checks["runs"].words == "2 running"
    assert "4 waiting" in checks["jobs"].words


def test_versions_are_compared_only_when_modules_are_named() -> None:
    """Without modules the live versions are listed."""
    assert check_versions([("w", "1", 2)], known=None).verdict is Verdict.OK
    assert check_versions([("w", "1", 2)], known=frozenset({("w", "1")})).verdict is Verdict.OK
    assert check_versions([("w", "1", 2)], known=frozenset({("w", "2")})).verdict is Verdict.WRONG


def card(*knows: tuple[str, str]) -> Card:
    """Return the card of a worker that has these versions."""
    until = datetime(2026, 1, 1, tzinfo=UTC)
    return Card(worker="w", host="h", pid=1, knows=frozenset(knows), queues=frozenset({"default"}), until=until)


def test_live_runs_whose_version_no_worker_has_are_worth_a_look() -> None:
    """Versions with live runs that no worker has are told with some of the runs; others are not."""
    live = [("w", "1", 3), ("w", "2", 1)]
    found = check_workers([card(("w", "2"))], live, runs={("w", "1"): ["a", "b"]})
    assert found.verdict is Verdict.LOOK
    assert found.words == "1 worker there; none has w@1, 3 live runs: a, b and more"
    assert check_workers([card(("w", "2")), card(("w", "1"))], live, runs={}).verdict is Verdict.OK
    assert check_workers([], [], runs={}).words == "no worker there"


def test_the_doctor_names_runs_that_nobody_can_execute(cli: Cli) -> None:
    """Without a worker, live runs are a warning that names them, and ends in 0."""
    run_id = cli("run", "flows.py:words", "--input", '{"text": "a"}').out.strip()
    said = cli("doctor", "flows.py")
    assert said.code == 0
    assert lines(said, ["! look", "workers", f"no worker there; none has words@1.0.0, 1 live run: {run_id}"])


def test_waits_past_their_limits_are_worth_a_look() -> None:
    """Waits whose limits nobody has acted on are named."""
    assert check_waits([], named=1).verdict is Verdict.OK
    found = check_waits([("a", "approval"), ("b", "approval")], named=1)
    assert (found.verdict, found.words) == (Verdict.LOOK, 'past the limit: "approval" of run a and more')
