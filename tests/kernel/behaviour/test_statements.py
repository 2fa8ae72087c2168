"""What a stage may write with ``ctx.on_commit``, and what it is told otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import pytest

from holdfast import Context, RunStatus, stage, workflow
from holdfast.authoring.writing import MAX_STATEMENTS
from holdfast.change import Change, Committed, Refusal
from holdfast_adapters.memory import MemoryPersistence
from holdfast_testing import FakeClock, Harness

#: What the stages under test hand to `ctx.on_commit`, one call after the other.
CALLS: Final[list[tuple[Any, ...]]] = []


@stage
def write(given: int, ctx: Context) -> int:
    """Ask for what is wanted."""
    for call in CALLS:
        ctx.on_commit(*call)
    return given


def undo(given: int, ctx: Context) -> None:
    """Ask for something while undoing."""
    ctx.on_commit("DELETE FROM ledger")


@stage(compensate=undo)
def one(given: int) -> int:
    """Return what was given."""
    return given


@stage
def stop(given: int) -> int:
    """Fail."""
    raise ValueError("no")


FLOW = workflow("writing", input=int).pipe(write)


class Handed(MemoryPersistence):
    """A store that remembers the values of statements that it was handed."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock=clock)
        self.values: list[object] = []

    async def commit(self, changes: Sequence[Change]) -> Sequence[Committed | Refusal]:
        """Remember them and commit."""
        self.values += [statement.parameters for change in changes for statement in change.statements]
        return await super().commit(changes)


@pytest.fixture(autouse=True)
def no_calls() -> None:
    """Begin without calls."""
    CALLS.clear()


def failure(*calls: tuple[Any, ...]) -> str:
    """Return why a run failed whose stage asks for *calls*."""
    CALLS.extend(calls)
    ended = Harness(FLOW).run(FLOW, 1)
    assert ended.status is RunStatus.FAILED
    assert ended.failure is not None
    return f"{ended.failure.error}: {ended.failure.message}"


@pytest.mark.parametrize(
    "sql",
    [
        "COMMIT",
        "commit",
        " \n rollback",
        "BEGIN; INSERT INTO ledger VALUES (1)",
        "END",
        "ABORT",
        "SAVEPOINT a",
        "RELEASE a",
        "PREPARE TRANSACTION 'a'",
        "SET search_path = a",
        "-- INSERT\nCOMMIT",
        "/* INSERT */ COMMIT",
        "/* /* */ INSERT */ COMMIT",
        "/**/--\n/* a */ROLLBACK",
        "DROP TABLE ledger",
        "PRAGMA synchronous = OFF",
        "; COMMIT",
        "",
        "-- nothing",
        "/* INSERT",
    ],
)
def test_what_is_no_writing_is_refused_at_once(sql: str) -> None:
    """Whatever could end the transaction, or change more than rows, is refused where it is asked for."""
    assert failure((sql,)).startswith("InvalidInput: The statement of ctx.on_commit is not valid: it should begin with")


@pytest.mark.parametrize(
    "sql",
    [
        "INSERT INTO ledger VALUES (1)",
        "\n  update ledger SET a = 1",
        "-- why\nDELETE FROM ledger",
        "/* why */ WITH a AS (SELECT 1) INSERT INTO ledger SELECT * FROM a",
        "Merge INTO ledger USING a ON true WHEN MATCHED THEN DELETE",
        "REPLACE INTO ledger VALUES (1)",
        "SELECT pg_notify('a', 'b')",
        "CALL note(1)",
    ],
)
def test_what_writes_reaches_the_store(sql: str) -> None:
    """A statement that writes is handed on; the memory store, which has no SQL, says so and which stores have."""
    assert failure((sql,)) == (
        f"StatementFailed: The memory store has no SQL; use SQLite or Postgres. The statement was: {sql}"
    )


def test_a_single_value_is_no_sequence_of_letters() -> None:
    """A text or bytes in place of the values is a mistake, and said to be one."""
    assert "write (value,) for a single one" in failure(("INSERT INTO ledger VALUES (?)", "abc"))
    CALLS.clear()
    assert "write (value,) for a single one" in failure(("INSERT INTO ledger VALUES (?)", b"abc"))


def test_there_is_a_limit() -> None:
    """A stage that asks for one statement too many is told to write many rows with one."""
    CALLS.extend([("INSERT INTO ledger VALUES (1)",)] * MAX_STATEMENTS)
    assert "StatementFailed" in failure()
    assert "at most 1,000" in failure(("INSERT INTO ledger VALUES (1)",))


def test_values_are_those_of_the_call() -> None:
    """What becomes of the caller's list afterwards does not matter."""

    @stage
    def change(given: int, ctx: Context) -> int:
        """Change the values behind the call."""
        values, named = [1], {"a": 1}
        ctx.on_commit("INSERT INTO ledger VALUES (?)", values)
        ctx.on_commit("INSERT INTO ledger VALUES (:a)", named)
        values.append(2)
        named["b"] = 2
        return given

    flow = workflow("changing", input=int).pipe(change)
    clock = FakeClock()
    store = Handed(clock)
    Harness(flow, persistence=store, clock=clock).run(flow, 1)
    assert store.values[:2] == [(1,), {"a": 1}]


def test_a_compensation_writes_nothing_so() -> None:
    """What undoes a stage may be called again after it has returned, so it has no completion to write with."""
    flow = workflow("undoing", input=int, compensate=True).pipe(one).pipe(stop)
    ended = Harness(flow).run(flow, 1)
    assert ended.status is RunStatus.FAILED
    assert any("a compensation has none" in str(event.data) for event in ended.events)
