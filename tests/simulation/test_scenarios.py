"""Every call of every port goes wrong once in every way, in every scenario, and all promises hold afterwards."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from holdfast_testing.scenarios import FAILURES, SCENARIOS, MemoryStore, Scenario, StoreMaker, Way, calm, systematic
from tests.simulation.stores import PostgresDatabase, quick_folder, sqlite_files

#: The scenarios that everybody must survive on SQLite too; the others differ from these in what stages do, not in what
#: the store is asked.
ON_FILE: Final = {
    *("linear", "parallel", "retry", "suspend", "cancel", "rerun"),
    *("idempotent create", "timeout", "blob output", "event flush"),
    *("join", "map", "early", "expired", "child", "regretted", "delayed"),
}

#: The scenarios that everybody must survive on Postgres too; a story takes a hundred times as long there.
ON_POSTGRES: Final = {"linear"}

every_scenario = pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder for the databases of one test."""
    with TemporaryDirectory(dir=quick_folder()) as path:
        yield Path(path)


def play(scenario: Scenario, make_store: StoreMaker, *, ways: Sequence[Way], stride: int = 1) -> None:
    """Play the scenario with every *stride*-th disturbance; fail with those that broke a promise."""
    numbers: dict[Way, int] = {}
    broken: list[str] = []
    for case in systematic(scenario, make_store, ways=ways, stride=stride):
        numbers[case.disturbance.way] = case.disturbance.number
        if case.violations:
            broken.append(case.describe())
    assert not broken, f"{len(broken)} cases broke a promise. The first of them:\n{broken[0]}"
    # The story itself is a dozen calls at least; fewer would mean that the disturbance never came.
    assert set(numbers) == set(ways)
    assert min(numbers.values()) >= 12, numbers


@every_scenario
@pytest.mark.parametrize("way", Way, ids=lambda way: way.value)
def test_promises_hold_in_memory(scenario: Scenario, way: Way) -> None:
    """Whatever happens at whichever call, the story ends as it must and nothing is lost, doubled or mixed up."""
    play(scenario, MemoryStore, ways=(way,))


@pytest.mark.parametrize(
    "scenario", [one for one in SCENARIOS if one.name in ON_FILE], ids=lambda scenario: scenario.name
)
def test_promises_hold_on_sqlite(scenario: Scenario, folder: Path) -> None:
    """The same holds when every process opens the database file for itself and the dead never close it.

    Every third call is disturbed here, every one in the slow test below: what is asked of the ports is the same as in
    memory, where none is left out.
    """
    play(scenario, sqlite_files(folder), ways=FAILURES, stride=3)


@pytest.mark.postgres
@pytest.mark.parametrize(
    "scenario", [one for one in SCENARIOS if one.name in ON_POSTGRES], ids=lambda scenario: scenario.name
)
def test_promises_hold_on_postgres(scenario: Scenario) -> None:
    """The same holds when every process opens the database for itself and the dead never close it.

    Every third call is disturbed here, every one in the slow test below; `test_differential` compares what faults leave
    behind with other stores.
    """
    play(scenario, PostgresDatabase, ways=FAILURES, stride=3)


@pytest.mark.postgres
@every_scenario
def test_stories_end_well_on_postgres(scenario: Scenario) -> None:
    """Undisturbed every story ends on Postgres as it does in memory, and as late."""
    in_database, in_memory = calm(scenario, PostgresDatabase), calm(scenario)
    assert not in_database.violations, "\n".join(map(str, in_database.violations))
    assert in_database.took == in_memory.took


@every_scenario
def test_stories_end_well_on_sqlite(scenario: Scenario, folder: Path) -> None:
    """Undisturbed every story ends on SQLite as it does in memory, and as late."""
    on_file, in_memory = calm(scenario, sqlite_files(folder)), calm(scenario)
    assert not on_file.violations, "\n".join(map(str, on_file.violations))
    assert on_file.took == in_memory.took


@pytest.mark.slow
@pytest.mark.postgres
@every_scenario
def test_promises_hold_on_postgres_in_every_way(scenario: Scenario) -> None:
    """The same holds on Postgres for all scenarios, also when a process stands still while others go on."""
    play(scenario, PostgresDatabase, ways=tuple(Way))


@pytest.mark.slow
@every_scenario
def test_promises_hold_on_sqlite_in_every_way(scenario: Scenario, folder: Path) -> None:
    """The same holds on SQLite for all scenarios, also when a process stands still while others go on."""
    play(scenario, sqlite_files(folder), ways=tuple(Way))


def test_every_port_is_disturbed() -> None:
    """Between them the scenarios call every port that can fail, so that none is left out."""
    trace = "\n".join(calm(scenario).trace for scenario in SCENARIOS)
    lacking = [
        call
        for call in (
            *("persistence.commit", "persistence.lease", "persistence.lease_one", "persistence.extend"),
            "persistence.find_operation",
            "persistence.find_checkpoint",
            *("persistence.find_run", "persistence.find_snapshot", "persistence.get_outputs"),
            *("persistence.list_pending", "persistence.list_expired", "persistence.list_due_timers"),
            *("persistence.lease_streams", "persistence.settle_streams", "persistence.replay_parked"),
            *("persistence.list_waits", "persistence.list_named_waits", "persistence.find_message"),
            *("persistence.find_item", "persistence.list_item_outputs", "persistence.find_stage"),
            *("persistence.list_artifacts", "blobs.put", "blobs.get", "sink.deliver", "executor.run"),
            *("transport.enqueue", "transport.settle", "scheduler.wake_in"),
        )
        if f" {call}" not in trace
    ]
    assert not lacking


def test_the_same_story_is_told_the_same_way() -> None:
    """A scenario has no chance in it, so a case that fails once fails again."""
    assert [calm(scenario) for scenario in SCENARIOS] == [calm(scenario) for scenario in SCENARIOS]
