"""`holdfast bench`: its options and its two kinds of answers; what is measured is tested with the testing kit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.hosts.cli.conftest import Cli
from tests.testing.test_bench import TINY


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make --quick as quick as can be."""
    monkeypatch.setattr("holdfast_testing.bench.QUICK", TINY)


def test_json_is_one_object(cli: Cli, folder: Path) -> None:
    """With --json stdout is one object, what is measured next is told on stderr, and the folder stays as it was."""
    before = sorted(folder.iterdir())
    said = cli("bench", "--quick", "--repeat", "1", "--only", "latency", "--only", "start", "--json")
    assert said.code == 0
    assert [(each["store"], each["scenario"]) for each in said.json["results"]] == [
        ("memory", "latency"),
        ("memory", "start"),
        ("sqlite", "latency"),
        ("sqlite", "start"),
    ]
    assert "▶ round 1 of 1: start on sqlite" in said.err
    assert sorted(folder.iterdir()) == before


def test_a_person_gets_a_table(cli: Cli) -> None:
    """Without --json stdout is a table with baselines and results of the named store, and the profile if asked for."""
    options = ("--quick", "--repeat", "1", "--only", "throughput", "--store", "memory:", "--profile")
    said = cli("bench", *options)
    assert said.code == 0
    lines = said.out.splitlines()
    assert lines[0].startswith("Holdfast ")
    assert sum(line.startswith("throughput  memory") for line in lines) == 5
    assert sum(line.startswith("baseline") for line in lines) == 4
    assert any(line.startswith("CPU of a stage on memory") for line in lines)


def test_stores_lie_in_the_named_folder(cli: Cli, tmp_path: Path) -> None:
    """Of a SQLite URL the folder counts; a database that is there is neither opened nor changed."""
    (tmp_path / "mine.db").write_text("no database")
    said = cli(
        "bench", "--quick", "--repeat", "1", "--only", "start", "--store", f"sqlite:///{tmp_path}/mine.db", "--json"
    )
    assert said.code == 0
    assert (tmp_path / "mine.db").read_text() == "no database"


@pytest.mark.parametrize(
    ("options", "what"),
    [
        (("--only", "latence"), 'There is no scenario "latence".'),
        (("--repeat", "0"), "--repeat is 0; it is from 1 to 100."),
        (("--concurrency", "0"), "--concurrency is 0; it is from 1 to 10,000."),
        (("--store", "sqlite:///nowhere/x.db"), "There is no folder nowhere."),
    ],
)
def test_wrong_options_are_told(cli: Cli, options: tuple[str, ...], what: str) -> None:
    """Options out of bounds end the command before anything is measured, with the exit code of wrong usage."""
    said = cli("bench", "--json", *options)
    assert said.code == 2
    assert said.problem["what"] == what
