"""What a stage writes with ``ctx.on_commit`` is there exactly once, whatever fails on the way."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import psycopg
import pytest

from holdfast import Context, Fail, Ok, Retry, RunStatus, run_sync, stage, workflow
from holdfast.commands.job_execute import JobExecute
from holdfast.commands.lease_reap_stale import LeaseReapStale
from holdfast.commands.run_claim_pending import RunClaimPending
from holdfast.entities.stage import Lease
from holdfast.ports.persistence import Persistence
from holdfast.ports.work import LeaseRequest
from holdfast.verdicts import JobOutcome
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_testing import FakeClock, Harness
from holdfast_testing.contracts.samples import TTL
from holdfast_testing.faults import Fault, FaultPlan, ProcessDied, faulty
from tests.postgres import empty_url, fresh_store

_TABLE: Final = "CREATE TABLE ledger (run text, fence integer, amount integer CHECK (amount > 0))"


@attrs.frozen(kw_only=True)
class Place:
    """A store with a table of the application's in the same database."""

    store: Persistence
    clock: FakeClock
    #: Inserts run, fence and amount.
    insert: str
    #: Returns what a query finds.
    ask: Callable[[str], Sequence[tuple[Any, ...]]]

    def harness(self, *, plan: FaultPlan | None = None) -> Harness:
        """Return another process on the store, whose calls fail as planned."""
        store = self.store if plan is None else faulty(self.store, plan)
        return Harness(persistence=store, clock=self.clock, services={Place: self})

    @property
    def amounts(self) -> list[int]:
        """What stands in the ledger."""
        return [amount for (amount,) in self.ask("SELECT amount FROM ledger ORDER BY amount")]


def _sqlite(folder: Path, clock: FakeClock) -> Place:
    path = folder / "store.db"

    def ask(query: str) -> Sequence[tuple[Any, ...]]:
        connection = sqlite3.connect(path)
        try:
            with connection:
                return connection.execute(query).fetchall()
        finally:
            connection.close()

    store = SqlitePersistence(path, clock=clock)
    run_sync(store.open())
    return Place(store=store, clock=clock, insert="INSERT INTO ledger VALUES (?, ?, ?)", ask=ask)


def _postgres(_: Path, clock: FakeClock) -> Place:
    url = empty_url()

    def ask(query: str) -> Sequence[tuple[Any, ...]]:
        with psycopg.connect(url) as connection:
            found = connection.execute(query.encode())
            return found.fetchall() if found.description else []

    ask("DROP TABLE IF EXISTS ledger")
    return Place(store=fresh_store(clock), clock=clock, insert="INSERT INTO ledger VALUES (%s, %s, %s)", ask=ask)


_PLACES: Final[Mapping[str, Callable[[Path, FakeClock], Place]]] = {"sqlite": _sqlite, "postgres": _postgres}


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Give a store with an empty ledger beside it."""
    place = _PLACES[request.param](tmp_path, FakeClock())
    place.ask(_TABLE)
    yield place
    run_sync(place.store.close())


def note(ctx: Context, amount: int) -> None:
    """Write an amount to the ledger when the stage completes."""
    ctx.on_commit(ctx.services[Place].insert, (ctx.run_id, ctx.fence, amount))


@stage
def book(amount: int, ctx: Context) -> int:
    """Write the amount and twice as much."""
    note(ctx, amount)
    note(ctx, 2 * amount)
    return amount


@stage
async def add(amount: int, ctx: Context) -> int:
    """Write one more."""
    note(ctx, amount + 1)
    return amount


PLAIN = workflow("plain", input=int).pipe(book).pipe(add)


def test_rows_are_written_with_the_completion(place: Place) -> None:
    """Every stage of a run writes what it asked for, in sync and in async ones."""
    ended = place.harness().run(PLAIN, 10)
    assert ended.output == 10
    assert place.amounts == [10, 11, 20]
    assert place.ask("SELECT DISTINCT run FROM ledger") == [(ended.run.id,)]


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("number", range(12))
def test_a_fault_writes_nothing_twice(place: Place, number: int, fault: Fault) -> None:
    """Whichever call of the store fails, is not answered or is the last one of a process, each row is there once."""
    plan = FaultPlan()
    harness = place.harness(plan=plan)
    run_id = harness.start(PLAIN, 10)
    plan.fail_next(fault, after=number)
    try:
        harness.drain()
    except (ProcessDied, Exception):  # noqa: BLE001 - whatever it was, another worker takes over
        place.clock.advance("31s")
    assert plan.is_spent
    other = place.harness()
    other.know(PLAIN)
    other.drain()
    assert other.look(PLAIN, run_id).status is RunStatus.COMPLETED
    assert place.amounts == [10, 11, 20]


@stage(retry=Retry(3))
def stumble(amount: int, ctx: Context) -> int:
    """Fail once by itself and once at the database."""
    ctx.log("trying", attempt=ctx.attempt)
    ctx.progress(ctx.attempt, 3)
    note(ctx, amount)
    if ctx.attempt == 1:
        raise ConnectionError("the body failed")
    note(ctx, amount if ctx.attempt == 3 else -1)
    return amount


STUMBLING = workflow("stumbling", input=int).pipe(stumble)


def test_a_statement_that_is_refused_fails_the_attempt(place: Place) -> None:
    """A violated constraint is retried as an error of the body is, and only the attempt that completes has written."""
    harness = place.harness()
    ended = harness.run(STUMBLING, 10)
    assert ended.output == 10
    assert ended.attempts("stumble") == 3
    assert place.amounts == [10, 10]
    assert [(fence,) for (fence,) in place.ask("SELECT DISTINCT fence FROM ledger")] == [(ended.stages[0].epoch,)]
    told = run_sync(place.store.list_logs(ended.run.id, limit=10))
    assert [line.data["attempt"] for line in told] == [1, 2, 3]
    assert ended.story.count("stage.progress stumble") == 3


@stage
def refused(amount: int, ctx: Context) -> int:
    """Write what the database refuses."""
    note(ctx, -amount)
    return amount


REFUSED = workflow("refused", input=int).pipe(refused)


def test_the_failure_names_the_statement(place: Place) -> None:
    """A stage that is not retried fails with what the database said and the statement that it said it of."""
    ended = place.harness().run(REFUSED, 10)
    assert ended.status is RunStatus.FAILED
    assert ended.failure is not None
    assert (ended.failure.code, ended.failure.error, ended.failure.stage_id) == (
        "STAGE_ERROR",
        "StatementFailed",
        "refused",
    )
    assert "INSERT INTO ledger VALUES" in ended.failure.message
    assert "constraint" in ended.failure.message.lower()
    assert place.amounts == []


@stage
async def sleeper(amount: int, ctx: Context) -> int:
    """Ask for a row, and sleep before the stage completes."""
    note(ctx, amount)
    await ctx.sleep("nap", "1h")
    return amount


@stage
def unable(amount: int, ctx: Context) -> Ok[int] | Fail:
    """Ask for a row and say that it failed."""
    note(ctx, amount)
    return Fail("NO", "it cannot be done", retryable=False)


SLEEPING = workflow("sleeping", input=int).pipe(sleeper)
FAILING = workflow("failing", input=int).pipe(unable)


def test_only_a_completed_attempt_writes(place: Place) -> None:
    """An attempt that parks writes nothing until a later one completes; one that returns a failure never does."""
    harness = place.harness()
    assert harness.run(SLEEPING, 10).output == 10
    assert place.amounts == [10]
    assert harness.run(FAILING, 20).status is RunStatus.FAILED
    assert place.amounts == [10]


@stage
def last(amount: int, ctx: Context) -> int:
    """Fail until somebody retries the run."""
    if ctx.generation == 1:
        raise ConnectionError("not yet")
    note(ctx, amount + 5)
    return amount


RETRIED = workflow("retried", input=int).pipe(book).pipe(last)


def test_a_retry_of_the_run_repeats_no_row(place: Place) -> None:
    """A completed stage is not executed again when its run is retried, and neither are its statements."""
    harness = place.harness()
    ended = harness.run(RETRIED, 10)
    assert ended.status is RunStatus.FAILED
    harness.retry(ended.run.id)
    harness.drain()
    assert harness.look(RETRIED, ended.run.id).status is RunStatus.COMPLETED
    assert place.amounts == [10, 15, 20]


def test_a_worker_that_wakes_up_late_writes_nothing(place: Place) -> None:
    """Who has lost its lease writes no row, whether its successor has completed or not."""
    zombie, successor = place.harness(), place.harness()
    run_id = zombie.start(REFENCED, 10)
    successor.know(REFENCED)
    zombie.dispatch(RunClaimPending(worker="zombie", max_claims=1))
    (old,) = _leased(zombie, worker="zombie")
    place.clock.advance("31s")
    assert successor.dispatch(LeaseReapStale()).released == 1
    assert _executed(zombie, old) is JobOutcome.LOST
    (new,) = _leased(successor, worker="successor")
    assert _executed(zombie, old) is JobOutcome.LOST
    assert place.amounts == []
    assert _executed(successor, new) is JobOutcome.COMPLETED
    assert _executed(zombie, old) is JobOutcome.LOST
    assert place.ask("SELECT run, fence, amount FROM ledger") == [(run_id, new.epoch, 11)]


REFENCED = workflow("refenced", input=int).pipe(add)


def _leased(harness: Harness, *, worker: str) -> Sequence[Lease]:
    request = LeaseRequest(worker=worker, limit=1, ttl=TTL, known=harness.registry.known())
    return run_sync(harness.transport.dequeue(request))


def _executed(harness: Harness, lease: Lease) -> JobOutcome:
    return harness.dispatch(JobExecute(job=lease.key, worker=lease.worker, lease=lease)).outcome
