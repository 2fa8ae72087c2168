"""What a wave of change-sets writes, collected table by table and put down in a few statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from typing import Any, Final

from holdfast.change import Grant, NewItems, NewJob
from holdfast.gates import GateState
from holdfast_adapters.sqlite import encoding
from holdfast_adapters.sqlite.prepared import EventText, job_key, job_row, leased_row, payload_columns
from holdfast_adapters.sqlite.rare import FIRST, OPEN_WAIT, THEN
from holdfast_adapters.sqlite.runstate import RunState
from holdfast_adapters.sqlite.statements import Rows

INSERT_EVENT: Final = Rows(
    "INSERT INTO event (run, number, type, at, stage_id, generation, turn, item, data) VALUES {rows}", width=9
)
INSERT_STAGE: Final = Rows(
    """
    INSERT INTO stage (
        run, stage_id, generation, turn, item, status, attempt, max_attempts, epoch, worker, started_at, finished_at,
        lost, via, depth, origin, failure, metrics, edge, output, output_digest, output_size, output_blob
    ) VALUES {rows}""",
    width=23,
)
INSERT_JOB: Final = Rows(
    """
    INSERT INTO job (
        run, stage_id, generation, turn, item, workflow_id, workflow_version, queue, priority, max_attempts, via, depth,
        origin, guarded, tenant, concurrency_key, weight, status, due_at, held_due_at, delayed, epoch, attempt
    ) VALUES {rows}""",
    width=21,
    row="(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0)",
)
#: Those that are leased at once, as nearly all are: what is the same of each is no parameter.
INSERT_LEASED_JOB: Final = Rows(
    """
    INSERT INTO job (
        run, stage_id, generation, turn, item, workflow_id, workflow_version, queue, priority, max_attempts, via, depth,
        origin, guarded, tenant, concurrency_key, weight, worker, lease_until, started_at, status, epoch, attempt,
        delayed
    ) VALUES {rows}""",
    width=20,
    row="(?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'RUNNING', 1, 1, 0)",
)
INSERT_RUN: Final = Rows(
    """
    INSERT INTO run (
        n, id, workflow_id, workflow_version, priority, status, version, generation, events, undelivered, created_at,
        started_at, finished_at, output_of, failure, active, waiting, holds, held, parent, tenant, concurrency_key,
        singleton
    ) VALUES {rows}""",
    width=23,
)
INSERT_RUN_PAYLOAD: Final = Rows(
    """
    INSERT INTO run_payload (
        run, idempotency_key, config, compensates, input, input_digest, input_size, input_blob
    ) VALUES {rows}""",
    width=8,
)
INSERT_OPERATION: Final = Rows(
    "INSERT INTO operation (tenant, scope, key, command, fingerprint, result, run_id, at) VALUES {rows}", width=8
)
#: Only columns without an index, so that a plain step touches none of the run's.
TOUCH_RUN: Final = "UPDATE run SET version = ?, events = ?, active = ?, waiting = ?, holds = ? WHERE n = ?"
#: The status follows from the jobs and changes seldom.
TURN_RUN: Final = "UPDATE run SET version = ?, events = ?, active = ?, waiting = ?, holds = ?, status = ? WHERE n = ?"
MARK_RUN: Final = "UPDATE run SET undelivered = ? WHERE n = ?"
MOVE_RUN: Final = """
    UPDATE run
    SET version = ?1, events = ?2, active = ?3, waiting = ?4, holds = ?5, status = ?6, generation = ?7, held = 0,
        output_of = CASE WHEN ?8 THEN ?9 ELSE coalesce(?9, output_of) END,
        failure = CASE WHEN ?8 THEN ?10 ELSE coalesce(?10, failure) END,
        finished_at = ?11, started_at = coalesce(?12, started_at)
    WHERE n = ?13"""
DELETE_JOB: Final = "DELETE FROM job WHERE run = ? AND stage_id = ? AND generation = ? AND turn = ? AND item = ?"
SET_GATE: Final = """
    INSERT OR REPLACE INTO gate (
        run, gate, generation, turn, arity, tolerate, resolved, taken, failed, sources, done
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
INSERT_ITEM: Final = """
    INSERT OR REPLACE INTO item (run, stage_id, generation, turn, item, text, digest, size, blob)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
DELETE_TIMER: Final = "DELETE FROM timer WHERE run = ? AND id = ?"
SET_TIMER: Final = "INSERT OR REPLACE INTO timer (run, id, kind, due_at) VALUES (?, ?, ?, ?)"
#: A timer within the store: the number of its run, its id.
TimerKey = tuple[int, str]


class Writes:
    """Rows to be written, in the order in which the tables must see them."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.runs: dict[str, RunState] = {}
        self.marked: list[tuple[Any, ...]] = []
        self.done: list[tuple[Any, ...]] = []
        self.stages: list[tuple[Any, ...]] = []
        self.skipped: list[tuple[Any, ...]] = []
        self.jobs: list[tuple[Any, ...]] = []
        self.leased_jobs: list[tuple[Any, ...]] = []
        self.events: list[tuple[Any, ...]] = []
        #: By run, gate, generation and turn.
        self.gates: dict[tuple[int, str, int, int], GateState] = {}
        self.items: list[tuple[int, NewItems]] = []
        #: Kind and due instant; None for a timer that is to go.
        self.timers: dict[TimerKey, tuple[str, int] | None] = {}
        self.operations: list[tuple[Any, ...]] = []
        #: What stays although its run closes with the same change-set.
        self.kept_jobs: list[tuple[Any, ...]] = []
        self.kept_leased_jobs: list[tuple[Any, ...]] = []
        self.kept_waits: list[tuple[Any, ...]] = []
        self.kept_timers: list[tuple[Any, ...]] = []
        #: Rows of what a plain step does not write, by statement.
        self._more: dict[str, list[tuple[Any, ...]]] = {}

    def add(self, statement: str, *parameters: tuple[Any, ...]) -> None:
        """Add rows for one of the statements of `rare`."""
        self._more.setdefault(statement, []).extend(parameters)

    def add_job(self, job: NewJob, grant: Grant | None, *, run: RunState, waits: bool, stays: bool) -> None:
        """Add a job.

        Args:
            job: The job.
            grant: The lease that it gets at once.
            run: Its run, as the change-set leaves it.
            waits: Whether it is WAITING.
            stays: Whether it stays although its run closes with the same change-set.
        """
        if grant is None:
            row = job_row(job, run=run, now=self.now, waits=waits)
            (self.kept_jobs if stays else self.jobs).append(row)
        else:
            row = leased_row(job, grant, run=run, now=self.now)
            (self.kept_leased_jobs if stays else self.leased_jobs).append(row)

    def tell(self, run: RunState, events: Iterable[EventText]) -> None:
        """Append events to the run's timeline."""
        number, append, now = run.events, self.events.append, self.now
        for kind, stage_id, generation, turn, item, data in events:
            number += 1
            append((run.n, number, kind, now, stage_id, generation, turn, item, data))
        if number > run.events and run.undelivered is None:
            run.undelivered = self.now
            if run.created is None:
                self.marked.append((self.now, run.n))
        run.events = number

    def write(self, connection: sqlite3.Connection) -> None:
        """Put everything down."""
        self._write_runs(connection)
        if self.done:
            connection.executemany(DELETE_JOB, self.done)
            INSERT_STAGE.run(connection, self.stages)
        self._write_more(connection, FIRST)
        if self.skipped:
            INSERT_STAGE.run(connection, self.skipped)
        if self.jobs:
            INSERT_JOB.run(connection, self.jobs)
        INSERT_LEASED_JOB.run(connection, self.leased_jobs)
        if self.events:
            INSERT_EVENT.run(connection, self.events)
        if self.gates:
            connection.executemany(SET_GATE, [(*at, *_gate_columns(gate)) for at, gate in self.gates.items()])
        for run, items in self.items:
            connection.executemany(INSERT_ITEM, _item_rows(run, items))
        if self.timers:
            self._write_timers(connection)
        if self.operations:
            INSERT_OPERATION.run(connection, self.operations)
        self._write_more(connection, THEN)
        if self.kept_jobs or self.kept_leased_jobs or self.kept_timers:
            self._write_kept(connection)

    def _write_timers(self, connection: sqlite3.Connection) -> None:
        gone = [at for at, timer in self.timers.items() if timer is None]
        if gone:
            connection.executemany(DELETE_TIMER, gone)
        if len(gone) < len(self.timers):
            connection.executemany(SET_TIMER, [(*at, *timer) for at, timer in self.timers.items() if timer])

    def _write_kept(self, connection: sqlite3.Connection) -> None:
        INSERT_JOB.run(connection, self.kept_jobs)
        INSERT_LEASED_JOB.run(connection, self.kept_leased_jobs)
        connection.executemany(OPEN_WAIT, self.kept_waits)
        connection.executemany(SET_TIMER, self.kept_timers)

    def _write_more(self, connection: sqlite3.Connection, order: tuple[str, ...]) -> None:
        if self._more:
            for statement in order:
                if statement in self._more:
                    connection.executemany(statement, self._more[statement])

    def _write_runs(self, connection: sqlite3.Connection) -> None:
        touched: list[tuple[Any, ...]] = []
        turned: list[tuple[Any, ...]] = []
        moved: list[tuple[Any, ...]] = []
        created: list[RunState] = []
        for run in self.runs.values():
            if run.created is not None:
                created.append(run)
                continue
            counted = (run.version, run.events, run.active, run.waiting, run.holds)
            if run.moved:
                outcome = (run.reopened, run.output_of, run.failure, self.now if run.is_over else None)
                moved.append((*counted, run.status, run.generation, *outcome, run.started, run.n))
            elif run.status != run.stored_status:
                turned.append((*counted, run.status, run.n))
            else:
                touched.append((*counted, run.n))
        if created:
            self._create(connection, created)
        if touched:
            connection.executemany(TOUCH_RUN, touched)
        if turned:
            connection.executemany(TURN_RUN, turned)
        if moved:
            connection.executemany(MOVE_RUN, moved)
        if self.marked:
            connection.executemany(MARK_RUN, self.marked)

    def _create(self, connection: sqlite3.Connection, created: list[RunState]) -> None:
        runs: list[tuple[Any, ...]] = []
        payloads: list[tuple[Any, ...]] = []
        for run in created:
            assert run.created is not None, "only new runs are created"
            head, key = run.created.header, run.created.idempotency_key
            runs.append(
                (
                    run.n,
                    run.id,
                    head.workflow_id,
                    head.workflow_version,
                    head.priority,
                    run.status,
                    run.version,
                    run.generation,
                    run.events,
                    run.undelivered,
                    self.now,
                    run.started,
                    self.now if run.is_over else None,
                    run.output_of,
                    run.failure,
                    run.active,
                    run.waiting,
                    run.holds,
                    run.held and not run.moved,
                    run.parent,
                    run.tenant,
                    run.concurrency_key,
                    run.singleton,
                )
            )
            payloads.append((run.n, key, head.config, head.compensates, *payload_columns(head.input)))
        INSERT_RUN.run(connection, runs)
        INSERT_RUN_PAYLOAD.run(connection, payloads)


def _gate_columns(gate: GateState) -> tuple[Any, ...]:
    sources = encoding.encode(gate.sources) if gate.sources else None
    return (gate.arity, gate.tolerate, gate.resolved, gate.taken, gate.failed, sources, gate.done)


def _item_rows(run: int, items: NewItems) -> Iterator[tuple[Any, ...]]:
    stage_id, generation, turn, first = job_key(items.key)
    for item, payload in enumerate(items.payloads, first):
        yield (run, stage_id, generation, turn, item, *payload_columns(payload))
