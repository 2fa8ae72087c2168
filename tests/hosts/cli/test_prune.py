"""`holdfast db prune` and `holdfast db sql`: what goes, what is asked first, and what is printed for review."""

from __future__ import annotations

import io
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from tests.hosts.cli.conftest import Cli

EVERYTHING = ("--older-than", "0s", "--keep-results", "0s")


class Terminal(io.StringIO):
    """Text that says it comes from a person, or goes to one."""

    def isatty(self) -> bool:
        """Say so."""
        return True


def runs_of(cli: Cli) -> int:
    """Return how many runs there are."""
    return len(cli("runs", "list", "--json").json["runs"])


def test_runs_that_ended_long_ago_go(cli: Cli, finished: Callable[..., str]) -> None:
    """By default a month has to have passed; with a shorter time what is over goes, and what is live stays."""
    finished()
    finished("d e")
    cli("run", "flows.py:words", "--input", '{"text": "a"}')
    said = cli("db", "prune", "--yes")
    assert (said.code, said.out) == (0, "0 runs went\n")
    assert runs_of(cli) == 3
    said = cli("db", "prune", "--yes", "--batch", "1", *EVERYTHING)
    assert (said.code, said.out) == (0, "2 runs went\n")
    assert runs_of(cli) == 1


def test_a_dry_run_removes_nothing(cli: Cli, finished: Callable[..., str], folder: Path) -> None:
    """With --dry-run it is told how much would go, also as JSON, and nothing does."""
    finished()
    orphan = folder / "holdfast.db.blobs" / "01940000-0000-7000-8000-000000000001" / "input-x"
    orphan.parent.mkdir(parents=True)
    orphan.write_bytes(b"x")
    said = cli("db", "prune", "--dry-run", "--blobs", *EVERYTHING)
    assert (said.code, said.out) == (0, "1 run and 1 orphaned blob would go\n")
    told = cli("db", "prune", "--dry-run", "--json", *EVERYTHING).json
    assert told == {"dryRun": True, "runs": 1, "kept": 0, "blobs": 0, "orphanedBlobs": 0, "operations": 0}
    assert runs_of(cli) == 1
    assert orphan.exists()


def test_orphaned_blobs_go_when_they_are_looked_for(cli: Cli, folder: Path) -> None:
    """With --blobs what lies under the id of a run that is not there goes, and the workers' cards stay."""
    cli("db", "migrate")
    place = folder / "holdfast.db.blobs"
    for name in ("01940000-0000-7000-8000-000000000001", "workers", str(uuid4())):
        (place / name).mkdir(parents=True)
        (place / name / "x").write_bytes(b"x")
    assert cli("db", "prune", "--yes").out == "0 runs went\n"
    assert cli("db", "prune", "--yes", "--blobs").out == "0 runs and 1 orphaned blob went\n"
    left = {path.parent.name for path in place.glob("*/x")}
    assert "workers" in left
    assert len(left) == 2


def test_a_sink_that_is_gone_for_good_is_forgotten(cli: Cli, finished: Callable[..., str], folder: Path) -> None:
    """What a sink has not taken keeps its run until the sink is forgotten; nobody is forgotten without a yes."""
    finished()
    with sqlite3.connect(folder / "holdfast.db") as connection:
        connection.execute("INSERT INTO sink (name) VALUES ('audit')")
    connection.close()
    said = cli("db", "prune", "--yes", *EVERYTHING)
    assert said.out == "0 runs went\n"
    assert "1 run ended as long ago, but" in said.err
    assert cli("db", "prune", "--forget-sink", "audit", *EVERYTHING).code == 4
    said = cli("db", "prune", "--yes", "--forget-sink", "audit", "--forget-sink", "x", *EVERYTHING)
    assert said.out == "1 run went\n"
    assert "The sink audit is forgotten." in said.err
    assert "The sink x is none that has ever asked for events." in said.err


def test_nothing_goes_unless_somebody_agrees(cli: Cli, finished: Callable[..., str]) -> None:
    """Where nobody can be asked, --yes is needed: without it the count is told and the command ends in 4."""
    finished()
    said = cli("db", "prune", *EVERYTHING)
    assert said.code == 4
    assert "E2143  Nothing was removed: 1 run would go" in said.err
    assert "--yes" in said.err
    assert runs_of(cli) == 1
    assert cli("db", "prune").code == 0


@pytest.mark.parametrize(("answer", "code", "left"), [("y\n", 0, 0), ("\n", 4, 1), ("no\n", 4, 1)])
def test_a_person_is_asked(
    cli: Cli, finished: Callable[..., str], monkeypatch: pytest.MonkeyPatch, answer: str, code: int, left: int
) -> None:
    """At a terminal the count is shown and the answer decides; anything but yes is no."""
    finished()
    terminal = Terminal()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdin", Terminal(answer))
        patch.setattr(sys, "stderr", terminal)
        assert cli("db", "prune", *EVERYTHING).code == code
    assert "Remove 1 run for good? [y/N]" in terminal.getvalue()
    assert runs_of(cli) == left


@pytest.mark.parametrize(
    "words", [("--older-than", "soon"), ("--older-than", "-1d"), ("--batch", "0"), ("--grace", "x", "--blobs")]
)
def test_options_that_cannot_be_read_are_told(cli: Cli, words: tuple[str, ...]) -> None:
    """A duration that is none, or a batch of nothing, ends in 2 with the option's name."""
    cli("db", "migrate")
    said = cli("db", "prune", "--yes", *words)
    assert said.code == 2, said.err


def test_the_sql_makes_the_store_that_migrate_makes(cli: Cli, folder: Path) -> None:
    """What is printed makes the schema, and the command line takes the store for migrated."""
    cli("db", "migrate", "--store", "sqlite:///migrated.db")
    script = cli("db", "sql").out
    with sqlite3.connect(folder / "holdfast.db") as connection:
        connection.executescript(script)
    connection.close()
    assert cli("db", "status").code == 0
    dumps: list[list[tuple[str, str, str]]] = []
    for name in ("migrated.db", "holdfast.db"):
        with sqlite3.connect(folder / name) as connection:
            dumps.append(connection.execute("SELECT type, name, sql FROM sqlite_schema ORDER BY 1, 2").fetchall())
            assert connection.execute("SELECT applied_at > 1700000000000000 FROM migration").fetchone() == (1,)
        connection.close()
    assert dumps[0] == dumps[1]
    assert cli("run", "flows.py:words", "--input", '{"text": "a"}').code == 0


def test_the_sql_begins_where_it_is_told(cli: Cli) -> None:
    """A migration that there is not ends in 2; with --json the script and the names are one object."""
    told = cli("db", "sql", "--from", "1", "--json").json
    assert told["migrations"][0] == "0001_initial"
    assert told["sql"].startswith("-- 0001_initial\nBEGIN")
    assert cli("db", "sql", "--from", "0").code == 2
    assert cli("db", "sql", "--from", "1000").code == 2
    assert cli("db", "sql", "--store", "memory:").code == 6


def test_the_sql_needs_no_store(cli: Cli, folder: Path) -> None:
    """Nothing is opened or made: a Postgres URL only says which SQL is meant."""
    said = cli("db", "sql", "--store", "postgresql://nobody@no-such-host.invalid/x")
    assert said.code == 0
    assert "CREATE TABLE holdfast.run (" in said.out
    assert not list(folder.glob("*.db*"))
