"""How SQLite prunes: by index, all tables of a run, and in one transaction or not at all."""

from __future__ import annotations

import re
import sqlite3
from datetime import timedelta
from pathlib import Path
from typing import Final

import pytest

from holdfast.driving import run_sync
from holdfast.errors import StoreUnavailable
from holdfast.ports.retention import Terms
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_adapters.sqlite.retention import OF_RUNS, SqliteRetention
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import MANY, begin, ended, everything, run_id, stand

AT_ONCE: Final = Terms(runs=timedelta(), results=timedelta(), operations=timedelta())
STATEMENTS: Final = [
    *(text for name, text in vars(SqliteRetention).items() if name.isupper() and isinstance(text, str)),
    *(f"DELETE FROM {table} WHERE run = ?" for table in OF_RUNS),
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return where the store lies."""
    return tmp_path / "store.db"


@pytest.fixture
def store(path: Path, clock: FakeClock) -> SqlitePersistence:
    """Return an opened store."""
    store = SqlitePersistence(path, clock=clock)
    run_sync(store.open())
    return store


@pytest.mark.parametrize("statement", STATEMENTS)
def test_nothing_is_read_that_is_not_looked_at(store: SqlitePersistence, path: Path, statement: str) -> None:
    """No statement goes through a table from end to end, or sorts; of sinks there are few."""
    run_sync(store.close())
    with sqlite3.connect(path) as connection:
        given: dict[str, int] = dict.fromkeys(re.findall(r":(\w+)", statement), 1)
        plan = connection.execute(f"EXPLAIN QUERY PLAN {statement}", given or [1] * statement.count("?")).fetchall()
    connection.close()
    steps = [step for *_, step in plan]
    assert not [step for step in steps if step.startswith("SCAN") and not step.startswith(("SCAN k", "SCAN json_each"))]
    assert not [step for step in steps if "TEMP B-TREE" in step and "json_each" not in " ".join(steps)], steps


def test_every_table_of_runs_is_emptied(store: SqlitePersistence, path: Path) -> None:
    """No table with a column for the run is forgotten when its rows are removed."""
    run_sync(store.close())
    with sqlite3.connect(path) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
        named = {
            table
            for table in tables
            for _, column, *_ in connection.execute(f"PRAGMA table_info({table})")
            if column in {"run", "run_id"}
        }
    connection.close()
    assert named == {*OF_RUNS, "stream", "operation"}


def test_a_batch_that_fails_removes_nothing(store: SqlitePersistence, path: Path) -> None:
    """A refusal in the middle of a batch leaves every run as it was."""
    for number in (1, 2):
        begin(store, run=number)
        stand(store, ended(number))
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TRIGGER refuse BEFORE DELETE ON log BEGIN SELECT RAISE(ABORT, 'no'); END")
        connection.execute(
            "INSERT INTO log (run, stage_id, generation, turn, item, attempt, level, message, at) "
            "SELECT n, 'a', 1, 0, 0, 1, 'info', 'm', 0 FROM run"
        )
    connection.close()
    before = everything(store, 1, 2)
    with pytest.raises(StoreUnavailable):
        run_sync(store.prune(AT_ONCE, limit=MANY))
    assert everything(store, 1, 2) == before
    with sqlite3.connect(path) as connection:
        connection.execute("DROP TRIGGER refuse")
    connection.close()
    assert run_sync(store.prune(AT_ONCE, limit=MANY)).run_ids == (run_id(1), run_id(2))
    run_sync(store.close())
