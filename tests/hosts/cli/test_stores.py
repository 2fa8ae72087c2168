"""What the command line says of stores that cannot be used, and of those that can."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts.cli.conftest import Cli, lines

#: Commands that open a store which is there.
READING = (["runs", "list"], ["runs", "show", "x"], ["doctor"], ["db", "status"])
#: Commands that would create one.
WRITING = (["demo"], ["run", "flows.py:words", "--input", '{"text": "a"}'], ["db", "migrate"])


def foreign(path: Path) -> None:
    """Make a SQLite database of another program."""
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE person (name TEXT)")
    connection.close()


def text(path: Path) -> None:
    """Make a file that is no database."""
    path.write_text("Dear diary, " * 500, encoding="utf-8")


def newer(path: Path) -> None:
    """Make a store with a migration that this version does not know."""
    from holdfast_adapters.sqlite import migrate

    migrate(path, now=0)
    with sqlite3.connect(path) as connection:
        connection.execute("INSERT INTO migration (number, name, checksum, applied_at) VALUES (9999, 'later', 'x', 0)")
    connection.close()


def folder_instead(path: Path) -> None:
    """Make a directory where the file should be."""
    path.mkdir()


@pytest.mark.parametrize("words", [*READING, *WRITING], ids=" ".join)
@pytest.mark.parametrize("make", [foreign, text, newer, folder_instead])
def test_a_store_that_is_not_ours_is_left_alone(
    make: Callable[[Path], None], words: list[str], cli: Cli, folder: Path
) -> None:
    """A foreign file, a newer schema or a directory ends in 6 with the reason, and is not changed."""
    path = folder / "some.db"
    make(path)
    before = path.read_bytes() if path.is_file() else None
    said = cli(*words, "--store", "sqlite:///some.db")
    assert said.code == 6
    assert said.err.startswith("E2140  The store ")
    assert "Traceback" not in said.err
    assert "→ " in said.err
    assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_a_store_that_is_not_there_is_not_made_by_looking(words: list[str], cli: Cli, folder: Path) -> None:
    """A mistyped store ends in 6 and leaves no file."""
    said = cli(*words, "--store", "sqlite:///nothing.db")
    assert said.code == 6
    assert "E2141  There is no store sqlite:///nothing.db." in said.err
    assert not list(folder.glob("*.db*"))


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("holdfast.db", "not a store URL"),
        ("sqlite:holdfast.db", "names no database file"),
        ("mongodb://host", 'no kind of store "mongodb"'),
        ("postgresql:secret", "names no database"),
        ("sqlite:///no/such/folder/h.db", "does not exist"),
    ],
)
def test_a_url_that_leads_nowhere_is_told(url: str, told: str, cli: Cli) -> None:
    """A URL that names no usable store ends in 6, says why, and never repeats a password."""
    said = cli("db", "migrate", "--store", url)
    assert said.code == 6
    assert told in said.err
    assert "secret" not in said.err


@pytest.mark.parametrize("words", [*READING, ["worker", "flows.py:words"], ["db", "migrate"]], ids=" ".join)
def test_a_store_in_memory_is_of_no_use_to_others(words: list[str], cli: Cli) -> None:
    """Commands about other processes' runs refuse a store that nobody else can see."""
    said = cli(*words, "--store", "memory:")
    assert said.code == 6
    assert "E2142" in said.err


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("words", [*READING, *WRITING], ids=" ".join)
def test_a_store_that_may_not_be_written_is_told(words: list[str], cli: Cli, folder: Path) -> None:
    """A read-only file ends in 6 with the reason."""
    assert cli("db", "migrate").code == 0
    (folder / "holdfast.db").chmod(0o400)
    said = cli(*words)
    assert said.code == 6
    assert "may not be written" in said.err


def test_the_store_comes_from_the_environment(cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HOLDFAST_STORE names the store unless --store does."""
    monkeypatch.setenv("HOLDFAST_STORE", "sqlite:///from-environment.db")
    assert cli("db", "migrate").code == 0
    assert (folder / "from-environment.db").exists()
    assert cli("db", "migrate", "--store", "sqlite:///named.db").code == 0
    assert (folder / "named.db").exists()


def test_migrating_creates_a_store_once(cli: Cli) -> None:
    """The first migration applies what there is, the second finds nothing to do."""
    first = cli("db", "migrate", "--json").json
    assert first["applied"][0] == "0001_initial"
    assert first["version"] == len(first["applied"])
    again = cli("db", "migrate")
    assert (again.code, again.out) == (0, "")
    assert "nothing to do" in again.err


def test_the_status_lists_each_migration(cli: Cli) -> None:
    """Applied migrations are listed; with --json the pending ones too."""
    cli("db", "migrate")
    assert cli("db", "status").out.startswith("✓ 0001_initial  applied\n")
    status = cli("db", "status", "--json").json
    assert status["pending"] == []
    assert status["version"] == status["newest"]


def test_an_empty_file_lacks_every_migration(cli: Cli, folder: Path) -> None:
    """A store that lacks migrations ends the status in 6 with the command that applies them."""
    (folder / "holdfast.db").touch()
    said = cli("db", "status")
    assert said.code == 6
    assert lines(said, ["· 0001_initial  pending"])
    assert "holdfast db migrate" in said.err
    assert (folder / "holdfast.db").stat().st_size == 0
