"""How SQLite goes about every statement: by key or index, never through a whole table, never by sorting."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from types import ModuleType
from typing import Any, Final

import attrs
import pytest

from holdfast.change import Change, Fence, Finish, Grant, NewGate, NewItems, Refill, Rule, Step
from holdfast.driving import run_sync
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageStatus
from holdfast_adapters.sqlite import (
    SqlitePersistence,
    choosing,
    found,
    granting,
    journal,
    limits,
    outbox,
    queries,
    queues,
    rare,
    singles,
    snapshots,
    waits,
    wave,
    work,
    writes,
)
from holdfast_adapters.sqlite.statements import Rows
from holdfast_testing.contracts.samples import (
    TTL,
    begin,
    completed,
    created,
    ended,
    gate_rule,
    job,
    key,
    payload,
    reach,
    reaching,
    ready_event,
    rules,
    run_id,
    stand,
    started,
    take,
)
from tests.adapters.sqlite.counting import counted

MODULES: Final[tuple[ModuleType, ...]] = (
    choosing,
    found,
    granting,
    journal,
    limits,
    outbox,
    queries,
    queues,
    rare,
    singles,
    snapshots,
    waits,
    wave,
    work,
    writes,
)
#: Answers for people and for doctor look at all live runs or all sinks, and may.
FOR_PEOPLE: Final = {
    "queries.SqliteQueries._LIVE_VERSIONS",
    "queries.SqliteQueries._COUNT_RUNS",
    "queries.SqliteQueries._COUNT",
    "queues.SqliteQueues._COUNT_JOBS",
    # Sorts the few runs that share a key.
    "queries.SqliteQueries._RUNS_BY_KEY",
}
#: What may be walked through from end to end: rows of parameters, the few sinks and queues, what is limited already.
SMALL: Final = re.compile(
    r"SCAN (v|(former_)?sink|queue|working|leasing|kind|marked"
    r"|\d+|\d+-ROW VALUES CLAUSE|CONSTANT ROW|\(subquery-\d+\))\b"
)


def statements() -> Iterator[tuple[str, str]]:
    """Yield the name and the text of every statement of the adapter."""
    for module in MODULES:
        owners: list[Any] = [
            module,
            *(each for each in vars(module).values() if getattr(each, "__module__", "") == module.__name__),
        ]
        for owner in owners:
            if owner is not module and not isinstance(owner, type):
                continue
            for name, value in vars(owner).items():
                text = value.text() if isinstance(value, Rows) else value
                if isinstance(text, str) and re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", text):
                    short = module.__name__.rpartition(".")[2]
                    yield f"{short}.{owner.__name__}.{name}" if owner is not module else f"{short}.{name}", text


ALL: Final = dict(statements())


def plan(connection: sqlite3.Connection, text: str) -> list[str]:
    """Return the lines of the plan of a statement."""
    named = dict.fromkeys(re.findall(r":(\w+)", text))
    numbers = [int(number) for number in re.findall(r"\?(\d+)", text)]
    unnamed = [None] * (max(numbers) if numbers else text.count("?"))
    found = connection.execute(f"EXPLAIN QUERY PLAN {text}", named or unnamed)
    return [row[3] for row in found]


@pytest.fixture
def connection(store: SqlitePersistence) -> sqlite3.Connection:
    """Return the writing connection of the store."""
    writer = store._access.opened.writer
    assert writer is not None
    return writer._connection


def test_every_statement_is_looked_at() -> None:
    """The statements are found where they stand, in every module that has some."""
    assert {name.partition(".")[0] for name in ALL} == {module.__name__.rpartition(".")[2] for module in MODULES}
    assert set(ALL) >= FOR_PEOPLE
    assert len(ALL) > 50


@pytest.mark.parametrize("name", sorted(set(ALL) - FOR_PEOPLE))
def test_nothing_is_scanned_or_sorted(connection: sqlite3.Connection, name: str) -> None:
    """No statement walks through a table that grows, and none sorts what it found."""
    lines = plan(connection, ALL[name])
    scans = [line for line in lines if line.startswith("SCAN") and not SMALL.match(line)]
    # An ordered walk along an index that the statement limits, or of which it takes one end, is no scan of a table.
    walks = [line for line in scans if "USING" in line and re.search(r"LIMIT|\b(min|max)\(", ALL[name])]
    assert [line for line in scans if line not in walks] == [], lines
    assert [line for line in lines if "TEMP B-TREE" in line] == [], lines


def test_a_wave_takes_its_changes_in_order(connection: sqlite3.Connection) -> None:
    """The rows of a wave come in the order of its change-sets: they are the outer loop, the joins are look-ups."""
    lines = plan(connection, found.CHECK.text(2))
    beside = ("CO-ROUTINE", "MATERIALIZE", "SCAN 2", "SCALAR SUBQUERY", "SCAN queue")
    tables = [line for line in lines if not line.startswith(beside)]
    assert [line.split()[:2] for line in tables] == [["SCAN", "v"], ["SEARCH", "r"], ["SEARCH", "j"]], lines


def steps(connection: sqlite3.Connection, do: Callable[[], object]) -> list[str]:
    """Return the first words of the statements that *do* executes between BEGIN and COMMIT."""
    seen: list[str] = []
    connection.set_trace_callback(seen.append)
    try:
        do()
    finally:
        connection.set_trace_callback(None)
    return [" ".join(text.split()[:3]) for text in seen[1:-1]]


#: What a step of a linear run executes, however many there are of them in a batch of up to 64 runs.
PLAIN: Final = ["SELECT r.n, r.status,", "UPDATE run SET", "DELETE FROM job", "INSERT INTO stage", "INSERT INTO job"]


def test_a_plain_step_is_six_statements(store: SqlitePersistence, connection: sqlite3.Connection) -> None:
    """A step of a linear run looks once, and writes its run, job, record, next job and events."""
    begin(store)
    lease = take(store)
    new = job(key("b"), grant=Grant(worker="w", ttl=TTL))
    step = Step(jobs=(new,), events=(ready_event(new.key),))
    assert steps(connection, lambda: stand(store, completed(lease, step=step))) == [*PLAIN, "INSERT INTO event"]


def test_an_arrival_is_two_statements_more(store: SqlitePersistence, connection: sqlite3.Connection) -> None:
    """A completion that arrives at a join looks for the gate and writes it; no job follows before it opens."""
    begin(store, "a", "b")
    lease = take(store)
    change = reaching(completed(lease), gate_rule())
    found = steps(connection, lambda: stand(store, change))
    looks = [PLAIN[0], "SELECT v.column1, g.gate,"]
    assert found == [*looks, *PLAIN[1:-1], "INSERT INTO event", "INSERT OR REPLACE"]


def test_a_run_without_waits_and_keys_ends_without_looking_for_them(
    store: SqlitePersistence, connection: sqlite3.Connection
) -> None:
    """The end of a plain run touches no table that it has nothing in but timers and gates."""
    begin(store)
    lease = take(store)
    step = ended(status=RunStatus.COMPLETED).step
    found = steps(connection, lambda: stand(store, completed(lease, step=step)))
    assert found == [*PLAIN[:-1], "INSERT INTO event", "DELETE FROM timer", "DELETE FROM gate"]


def test_items_of_a_map_are_cheap(store: SqlitePersistence, connection: sqlite3.Connection) -> None:
    """A map of ten times as many items costs no more to go on, and every item can be read by itself."""
    found: list[int] = []
    for run, size in ((1, 500), (2, 5_000)):
        stand(store, created(run))
        items = NewItems(key=key("m", run=run), payloads=(payload("1"),) * size)
        gate = NewGate(gate="map", generation=1, turn=0, arity=size)
        first = [job(key("m", run=run, item=item), grant=Grant(worker="w", ttl=TTL)) for item in range(4)]
        start = started(run, jobs=first)
        stand(store, attrs.evolve(start, step=attrs.evolve(start.step, items=items, gates=(gate,))))
        new = job(key("m", run=run))
        rule = Rule(gate="map", generation=1, arity=None, refill=Refill(window=4, job=new, event=ready_event(new.key)))
        done = Change(
            run_id=run_id(run),
            fence=Fence(key=key("m", run=run), epoch=1),
            settle=Finish(status=StageStatus.COMPLETED, output=payload("1")),
            step=Step(arrivals=(reach(rule),)),
            rules=rules(rule),
        )
        found.append(counted(connection, partial(stand, store, done)))
        assert run_sync(store.find_item(key("m", run=run, item=size - 1))) == payload("1")
    assert found[1] <= 1.2 * found[0] + 20, found
