"""What a wave of change-sets writes, collected table by table and put down in a few statements."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any, Final

from holdfast.change import NewRun, RunPatch
from holdfast_adapters.sqlite import rows
from holdfast_adapters.sqlite.prepared import EventText, JobKey, payload_columns
from holdfast_adapters.sqlite.statements import Rows

INSERT_EVENT: Final = Rows(
    "INSERT INTO event (run, number, type, at, stage_id, generation, item, data) VALUES {rows}", width=8
)
INSERT_STAGE: Final = Rows(
    """
    INSERT INTO stage (
        run, stage_id, generation, item, status, attempt, max_attempts, epoch, worker, started_at, finished_at, lost,
        failure, metrics, output, output_digest, output_size, output_blob
    ) VALUES {rows}""",
    width=18,
)
INSERT_JOB: Final = Rows(
    """
    INSERT INTO job (
        run, stage_id, generation, item, status, workflow_id, workflow_version, queue, priority, due_at, epoch, attempt,
        max_attempts, worker, lease_until, started_at
    ) VALUES {rows}""",
    width=16,
)
INSERT_RUN: Final = Rows(
    """
    INSERT INTO run (
        n, id, workflow_id, workflow_version, priority, status, version, generation, events, undelivered, created_at,
        started_at, finished_at, output_of, failure
    ) VALUES {rows}""",
    width=15,
)
INSERT_RUN_PAYLOAD: Final = Rows(
    """
    INSERT INTO run_payload (
        run, tenant, idempotency_key, config, input, input_digest, input_size, input_blob
    ) VALUES {rows}""",
    width=8,
)
INSERT_OPERATION: Final = Rows(
    "INSERT INTO operation (tenant, scope, key, command, fingerprint, result, run_id, at) VALUES {rows}", width=8
)
#: Only columns without an index, so that a plain step touches none of the run's.
TOUCH_RUN: Final = "UPDATE run SET version = ?, events = ? WHERE n = ?"
MARK_RUN: Final = "UPDATE run SET undelivered = ? WHERE n = ?"
MOVE_RUN: Final = """
    UPDATE run
    SET status = ?, version = ?, events = ?, generation = ?, output_of = ?, failure = ?, finished_at = ?,
        started_at = coalesce(?, started_at)
    WHERE n = ?"""
DELETE_JOB: Final = "DELETE FROM job WHERE run = ? AND stage_id = ? AND generation = ? AND item = ?"
#: Keeps the worker as the last holder, and the failure of the last failed attempt unless there is a newer one. A poll
#: comes at the give-up instant at the latest, unless that has passed.
REQUEUE_JOB: Final = """
    UPDATE job
    SET status = ?1, epoch = epoch + 1, attempt = ?2, failure = coalesce(?3, failure), lost = ?4, lease_until = NULL,
        due_at = CASE WHEN give_up_at > ?5 AND give_up_at < ?6 THEN give_up_at ELSE ?6 END
    WHERE run = ?7 AND stage_id = ?8 AND generation = ?9 AND item = ?10"""
SUSPEND_JOB: Final = """
    UPDATE job
    SET status = 'SUSPENDED', epoch = epoch + 1, attempt = 0, failure = NULL, lost = ?, lease_until = NULL,
        state = ?, due_at = ?, give_up_at = ?
    WHERE run = ? AND stage_id = ? AND generation = ? AND item = ?"""
SET_GATE: Final = """
    INSERT INTO gate (run, gate, generation, arity, count) VALUES (?, ?, ?, ?, ?)
    ON CONFLICT (run, gate, generation) DO UPDATE SET arity = excluded.arity, count = excluded.count"""
DELETE_TIMER: Final = "DELETE FROM timer WHERE run = ? AND id = ?"
SET_TIMER: Final = "INSERT OR REPLACE INTO timer (run, id, kind, due_at) VALUES (?, ?, ?, ?)"
SET_ARTIFACT: Final = """
    INSERT OR REPLACE INTO artifact (run, name, blob, digest, size, media_type) VALUES (?, ?, ?, ?, ?, ?)"""
KEEP_CHECKPOINT: Final = """
    INSERT INTO checkpoint (run, stage_id, generation, item, name, text, digest, size, blob)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (run, stage_id, generation, item, name) DO NOTHING"""
INSERT_ANNOTATION: Final = """
    INSERT INTO annotation (run, at, name, value, stage_id, generation, item, attempt, actor)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
INSERT_LOG: Final = """
    INSERT INTO log (run, stage_id, generation, item, attempt, level, message, data, at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
SUPERSEDE: Final = """
    UPDATE stage SET superseded = 1
    WHERE run = ? AND stage_id = ? AND superseded = 0 AND status IN ('COMPLETED', 'FAILED', 'CANCELLED')"""
#: The epochs of cancelled jobs count as lost: whoever held one did not settle it.
CANCEL_JOBS: Final = """
    INSERT INTO stage (
        run, stage_id, generation, item, status, attempt, max_attempts, epoch, worker, started_at, finished_at, lost
    )
    SELECT run, stage_id, generation, item, 'CANCELLED', attempt, max_attempts, epoch, worker, started_at, ?,
        json_insert(coalesce(lost, '[]'), '$[#]', epoch)
    FROM job WHERE run = ?"""
CLOSE_RUN: Final = (
    "DELETE FROM job WHERE run = ?",
    "DELETE FROM timer WHERE run = ?",
    "DELETE FROM gate WHERE run = ?",
)
#: Ends of runs come last, after the jobs and timers that the same change-sets made.
_ORDER: Final = (
    REQUEUE_JOB,
    SUSPEND_JOB,
    DELETE_TIMER,
    SET_TIMER,
    SUPERSEDE,
    SET_ARTIFACT,
    KEEP_CHECKPOINT,
    INSERT_ANNOTATION,
    INSERT_LOG,
    CANCEL_JOBS,
    *CLOSE_RUN,
)


class RunState:
    """The row of a run as it stands within the wave."""

    __slots__ = (
        "closed",
        "created",
        "events",
        "generation",
        "id",
        "move",
        "n",
        "started",
        "status",
        "touched",
        "undelivered",
        "version",
    )

    def __init__(self, run_id: str, *, row: tuple[Any, ...]) -> None:
        self.id = run_id
        self.n: int
        self.status: str
        self.version: int
        self.generation: int
        self.events: int
        self.undelivered: int | None
        self.n, self.status, self.version, self.generation, self.events, self.undelivered = row
        self.created: NewRun | None = None
        #: The newest move of the run in this wave.
        self.move: RunPatch | None = None
        self.started: int | None = None
        #: Nothing more of this run can be judged before the wave is written: jobs, timers or records moved as a set.
        self.closed = False
        #: Jobs that the wave has already settled or made, and ids of timers it has set or consumed.
        self.touched: set[JobKey | str] = set()


class Writes:
    """Rows to be written, in the order in which the tables must see them."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.runs: dict[str, RunState] = {}
        self.marked: list[tuple[Any, ...]] = []
        self.done: list[tuple[Any, ...]] = []
        self.stages: list[tuple[Any, ...]] = []
        self.jobs: list[tuple[Any, ...]] = []
        self.events: list[tuple[Any, ...]] = []
        #: Arity and count by run, gate and generation.
        self.gates: dict[tuple[int, str, int], tuple[int, int]] = {}
        self.operations: list[tuple[Any, ...]] = []
        #: Rows of what a plain step does not write, by statement.
        self._more: dict[str, list[tuple[Any, ...]]] = {}

    def add(self, statement: str, *parameters: tuple[Any, ...]) -> None:
        """Add rows for one of the statements in `_ORDER`."""
        self._more.setdefault(statement, []).extend(parameters)

    def tell(self, run: RunState, events: Iterable[EventText]) -> None:
        """Append events to the run's timeline."""
        number, append, now = run.events, self.events.append, self.now
        for kind, stage_id, generation, item, data in events:
            number += 1
            append((run.n, number, kind, now, stage_id, generation, item, data))
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
        if self.jobs:
            INSERT_JOB.run(connection, self.jobs)
        if self.events:
            INSERT_EVENT.run(connection, self.events)
        if self.gates:
            connection.executemany(SET_GATE, [(*gate, *counted) for gate, counted in self.gates.items()])
        if self.operations:
            INSERT_OPERATION.run(connection, self.operations)
        for statement in _ORDER if self._more else ():
            if statement in self._more:
                connection.executemany(statement, self._more[statement])

    def _write_runs(self, connection: sqlite3.Connection) -> None:
        touched: list[tuple[Any, ...]] = []
        moved: list[tuple[Any, ...]] = []
        created: list[RunState] = []
        for run in self.runs.values():
            if run.move is not None and run.move.closes:
                self.add(CANCEL_JOBS, (self.now, run.n))
                for statement in CLOSE_RUN:
                    self.add(statement, (run.n,))
            if run.created is not None:
                created.append(run)
                continue
            if run.move is None:
                touched.append((run.version, run.events, run.n))
            else:
                moved.append(self._moved(run, run.move))
        if created:
            self._create(connection, created)
        if touched:
            connection.executemany(TOUCH_RUN, touched)
        if moved:
            connection.executemany(MOVE_RUN, moved)
        if self.marked:
            connection.executemany(MARK_RUN, self.marked)

    def _moved(self, run: RunState, move: RunPatch) -> tuple[Any, ...]:
        return (run.status, run.version, run.events, run.generation, *self._outcome(move), run.started, run.n)

    def _outcome(self, move: RunPatch | None) -> tuple[Any, ...]:
        """Return output_of, failure and finished_at."""
        if move is None:
            return (None, None, None)
        output_of = rows.encode(move.output_of) if move.output_of else None
        return (output_of, rows.failure_text(move.failure), self.now if move.closes else None)

    def _create(self, connection: sqlite3.Connection, created: list[RunState]) -> None:
        runs: list[tuple[Any, ...]] = []
        payloads: list[tuple[Any, ...]] = []
        for run in created:
            assert run.created is not None, "only new runs are created"
            head, key = run.created.header, run.created.idempotency_key
            output_of, failure, finished = self._outcome(run.move)
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
                    finished,
                    output_of,
                    failure,
                )
            )
            payloads.append((run.n, head.tenant, key, head.config, *payload_columns(head.input)))
        INSERT_RUN.run(connection, runs)
        INSERT_RUN_PAYLOAD.run(connection, payloads)
