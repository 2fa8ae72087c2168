"""What a wave of change-sets writes, collected table by table and put down in a few statements."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from holdfast.change import NewItems
from holdfast.gates import GateState
from holdfast_adapters.postgres import encoding
from holdfast_adapters.postgres.prepared import EventText, job_key, payload_columns
from holdfast_adapters.postgres.rare import FIRST, OPEN_WAIT, THEN
from holdfast_adapters.postgres.runstate import RunState
from holdfast_adapters.postgres.singles import PASS_TURN, orderly
from holdfast_adapters.postgres.statements import Call, Statement, with_rows

INSERT_EVENT: Final = Statement("""
    INSERT INTO holdfast.event (run, number, type, at, stage_id, generation, turn, item, data)
    SELECT * FROM unnest(
        $1::bigint[], $2::bigint[], $3::text[], $4::bigint[], $5::text[], $6::integer[], $7::integer[], $8::integer[],
        $9::text[]
    )""")
#: Jobs that are done become records of stages. What they are known by stays in the database on the way. It fails unless
#: each of them is there, leased, and has its epoch, as whoever has judged supposed.
FINISH_JOB: Final = Statement("""
    WITH done AS (
        DELETE FROM holdfast.job j
        USING unnest(
            $1::bigint[], $2::text[], $3::integer[], $4::integer[], $5::integer[], $6::text[], $7::bigint[],
            $8::text[], $9::text[], $10::text[], $11::text[], $12::text[], $13::text[], $14::bigint[], $15::text[],
            $16::integer[]
        ) v (
            run, stage_id, generation, turn, item, status, finished_at, lost, failure, metrics, edge, output,
            output_digest, output_size, output_blob, epoch
        )
        WHERE j.run = v.run AND j.stage_id = v.stage_id AND j.generation = v.generation AND j.turn = v.turn
            AND j.item = v.item AND j.epoch = v.epoch AND j.lease_until IS NOT NULL
        RETURNING j.run, j.stage_id, j.generation, j.turn, j.item, v.status, j.attempt, j.max_attempts, j.epoch,
            j.worker, j.started_at, v.finished_at, v.lost, j.via, j.depth, j.origin, v.failure, v.metrics, v.edge,
            v.output, v.output_digest, v.output_size, v.output_blob
    ), kept AS (
        INSERT INTO holdfast.stage (
            run, stage_id, generation, turn, item, status, attempt, max_attempts, epoch, worker, started_at,
            finished_at, lost, via, depth, origin, failure, metrics, edge, output, output_digest, output_size,
            output_blob
        )
        SELECT * FROM done
        RETURNING 1
    )
    SELECT 1 / (count(*) = cardinality($1::bigint[]))::integer FROM kept""")
INSERT_STAGE: Final = Statement("""
    INSERT INTO holdfast.stage (
        run, stage_id, generation, turn, item, status, attempt, max_attempts, epoch, worker, started_at, finished_at,
        lost, via, depth, origin, failure, metrics, edge, output, output_digest, output_size, output_blob
    )
    SELECT * FROM unnest(
        $1::bigint[], $2::text[], $3::integer[], $4::integer[], $5::integer[], $6::text[], $7::integer[], $8::integer[],
        $9::integer[], $10::text[], $11::bigint[], $12::bigint[], $13::text[], $14::text[], $15::integer[],
        $16::integer[], $17::text[], $18::text[], $19::text[], $20::text[], $21::text[], $22::bigint[], $23::text[]
    )""")
INSERT_JOB: Final = Statement("""
    INSERT INTO holdfast.job (
        run, stage_id, generation, turn, item, status, workflow_id, workflow_version, queue, priority, due_at,
        held_due_at, epoch, attempt, max_attempts, worker, lease_until, started_at, via, depth, origin, guarded, tenant,
        flow_key, weight, ripe
    )
    SELECT * FROM unnest(
        $1::bigint[], $2::text[], $3::integer[], $4::integer[], $5::integer[], $6::text[], $7::text[], $8::text[],
        $9::text[], $10::integer[], $11::bigint[], $12::bigint[], $13::integer[], $14::integer[], $15::integer[],
        $16::text[], $17::bigint[], $18::bigint[], $19::text[], $20::integer[], $21::integer[], $22::boolean[],
        $23::text[], $24::text[], $25::integer[], $26::boolean[]
    )""")
INSERT_RUN: Final = Statement("""
    INSERT INTO holdfast.run (
        n, id, workflow_id, workflow_version, priority, status, version, generation, events, undelivered, created_at,
        started_at, finished_at, output_of, failure, active, waiting, holds, held, parent, tenant, flow_key, singleton
    )
    SELECT * FROM unnest(
        $1::bigint[], $2::text[], $3::text[], $4::text[], $5::integer[], $6::text[], $7::bigint[], $8::integer[],
        $9::bigint[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[], $15::text[],
        $16::integer[], $17::integer[], $18::integer[], $19::boolean[], $20::text[], $21::text[], $22::text[],
        $23::text[]
    )""")
INSERT_RUN_PAYLOAD: Final = Statement("""
    INSERT INTO holdfast.run_payload (
        run, idempotency_key, config, compensates, input, input_digest, input_size, input_blob
    )
    SELECT * FROM unnest(
        $1::bigint[], $2::text[], $3::text[], $4::boolean[], $5::text[], $6::text[], $7::bigint[], $8::text[]
    )""")
#: In order of their identity, so that two who record the same operations wait for each other in one direction only.
INSERT_OPERATION: Final = Statement("""
    INSERT INTO holdfast.operation (tenant, scope, key, command, fingerprint, result, run_id, at)
    SELECT * FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::bigint[]
    )""")
#: A plain step changes no column that has an index, so that none of the run's indexes is touched. Whoever commits to a
#: run again does not know whether somebody took its `undelivered` away meanwhile.
TOUCH_RUN: Final = Statement("""
    UPDATE holdfast.run r
    SET version = v.version, events = v.events, undelivered = coalesce(r.undelivered, v.undelivered),
        active = v.active, waiting = v.waiting, holds = v.holds, status = v.status
    FROM unnest(
        $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::integer[], $6::integer[], $7::integer[], $8::text[]
    ) v (n, version, events, undelivered, active, waiting, holds, status)
    WHERE r.n = v.n""")
MOVE_RUN: Final = Statement("""
    UPDATE holdfast.run r
    SET version = v.version, events = v.events, undelivered = coalesce(r.undelivered, v.undelivered),
        active = v.active, waiting = v.waiting, holds = v.holds, status = v.status, generation = v.generation,
        held = false,
        output_of = CASE WHEN v.reopened THEN v.output_of ELSE coalesce(v.output_of, r.output_of) END,
        failure = CASE WHEN v.reopened THEN v.failure ELSE coalesce(v.failure, r.failure) END,
        finished_at = v.finished_at, started_at = coalesce(v.started_at, r.started_at)
    FROM unnest(
        $1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::integer[], $6::integer[], $7::integer[], $8::text[],
        $9::integer[], $10::boolean[], $11::text[], $12::text[], $13::bigint[], $14::bigint[]
    ) v (
        n, version, events, undelivered, active, waiting, holds, status, generation, reopened, output_of, failure,
        finished_at, started_at
    )
    WHERE r.n = v.n""")
SET_GATE: Final = Statement("""
    INSERT INTO holdfast.gate (run, gate, generation, turn, arity, tolerate, resolved, taken, failed, sources, done)
    SELECT * FROM unnest(
        $1::bigint[], $2::text[], $3::integer[], $4::integer[], $5::integer[], $6::integer[], $7::integer[],
        $8::integer[], $9::integer[], $10::text[], $11::boolean[]
    )
    ON CONFLICT (run, gate, generation, turn) DO UPDATE
    SET arity = excluded.arity, tolerate = excluded.tolerate, resolved = excluded.resolved, taken = excluded.taken,
        failed = excluded.failed, sources = excluded.sources, done = excluded.done""")
SET_ITEM: Final = Statement("""
    INSERT INTO holdfast.item (run, stage_id, generation, turn, item, text, digest, size, blob)
    SELECT * FROM unnest(
        $1::bigint[], $2::text[], $3::integer[], $4::integer[], $5::integer[], $6::text[], $7::text[], $8::bigint[],
        $9::text[]
    )
    ON CONFLICT (run, stage_id, generation, turn, item) DO UPDATE
    SET text = excluded.text, digest = excluded.digest, size = excluded.size, blob = excluded.blob""")
DELETE_TIMER: Final = Statement("""
    DELETE FROM holdfast.timer t USING unnest($1::bigint[], $2::text[]) v (run, id)
    WHERE t.run = v.run AND t.id = v.id""")
SET_TIMER: Final = Statement("""
    INSERT INTO holdfast.timer (run, id, kind, due_at)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::bigint[])
    ON CONFLICT (run, id) DO UPDATE SET kind = excluded.kind, due_at = excluded.due_at""")

#: A timer within the store: the number of its run, its id.
TimerKey = tuple[int, str]
Row = tuple[Any, ...]


class Writes:
    """Rows to be written, in the order in which the tables must see them."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.runs: dict[str, RunState] = {}
        self.done: list[Row] = []
        self.skipped: list[Row] = []
        self.jobs: list[Row] = []
        self.events: list[Row] = []
        #: By run, gate, generation and turn.
        self.gates: dict[tuple[int, str, int, int], GateState] = {}
        self.items: list[tuple[int, NewItems]] = []
        #: Kind and due instant; None for a timer that is to go.
        self.timers: dict[TimerKey, tuple[str, int] | None] = {}
        self.operations: list[Row] = []
        #: Instants and numbers of runs that have ended and pass the turn of their singleton key on.
        self.passes: list[Row] = []
        #: What stays although its run closes with the same change-set.
        self.kept_jobs: list[Row] = []
        self.kept_waits: list[Row] = []
        self.kept_timers: list[Row] = []
        #: Rows of what a plain step does not write, by statement.
        self._more: dict[Statement, list[Row]] = {}
        #: The same for statements of which the newest row of a key counts.
        self._newest: dict[Statement, dict[object, Row]] = {}

    def add(self, statement: Statement, *rows: Row) -> None:
        """Add rows for one of the statements of `rare`."""
        self._more.setdefault(statement, []).extend(rows)

    def put(self, statement: Statement, key: object, row: Row) -> None:
        """Add a row for one of the statements of `rare` in place of an earlier one of that key."""
        self._newest.setdefault(statement, {})[key] = row

    def tell(self, run: RunState, events: Iterable[EventText]) -> None:
        """Append events to the run's timeline."""
        number, append, now, n = run.events, self.events.append, self.now, run.n
        for kind, stage_id, generation, turn, item, data in events:
            number += 1
            append((n, number, kind, now, stage_id, generation, turn, item, data))
        if number > run.events and run.undelivered is None:
            run.undelivered = self.now
        run.events = number

    def calls(self) -> list[Call]:
        """Return the statements that put everything down, in order."""
        plain = (
            *self._run_calls(),
            (FINISH_JOB, self.done),
            *self._more_calls(FIRST),
            (INSERT_STAGE, self.skipped),
            (INSERT_JOB, self.jobs),
            (INSERT_EVENT, self.events),
            (SET_GATE, [(*at, *_gate_columns(gate)) for at, gate in self.gates.items()]),
            (SET_ITEM, list(_newest_items(self.items))),
            (DELETE_TIMER, [at for at, timer in self.timers.items() if timer is None]),
            (SET_TIMER, [(*at, *timer) for at, timer in self.timers.items() if timer is not None]),
            *self._more_calls(THEN),
            (INSERT_OPERATION, sorted(self.operations)),
            (INSERT_JOB, self.kept_jobs),
            (OPEN_WAIT, self.kept_waits),
            (SET_TIMER, self.kept_timers),
        )
        calls = [with_rows(statement, rows) for statement, rows in plain if rows]
        return [*calls, *orderly(with_rows(PASS_TURN, self.passes))] if self.passes else calls

    def _more_calls(self, order: tuple[Statement, ...]) -> Iterator[tuple[Statement, Sequence[Row]]]:
        if self._more or self._newest:
            for statement in order:
                yield statement, [*self._more.get(statement, ()), *self._newest.get(statement, {}).values()]

    def _run_calls(self) -> Iterator[tuple[Statement, Sequence[Row]]]:
        touched: list[Row] = []
        moved: list[Row] = []
        created: list[RunState] = []
        for run in self.runs.values():
            if run.created is not None:
                created.append(run)
                continue
            row = (run.n, run.version, run.events, run.undelivered, run.active, run.waiting, run.holds, run.status)
            if run.moved:
                finished_at = self.now if run.is_over else None
                outcome = (run.reopened, run.output_of, run.failure, finished_at, run.started)
                moved.append((*row, run.generation, *outcome))
            else:
                touched.append(row)
        if created:
            yield INSERT_RUN, [self._run_row(run) for run in created]
            yield INSERT_RUN_PAYLOAD, [_payload_row(run) for run in created]
        yield TOUCH_RUN, touched
        yield MOVE_RUN, moved

    def _run_row(self, run: RunState) -> Row:
        assert run.created is not None, "only new runs are inserted"
        head = run.created.header
        return (
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
            run.flow_key,
            run.created.singleton,
        )


def _payload_row(run: RunState) -> Row:
    assert run.created is not None, "only new runs are inserted"
    head, key = run.created.header, run.created.idempotency_key
    return (run.n, key, head.config, head.compensates, *payload_columns(head.input))


def _gate_columns(gate: GateState) -> Row:
    sources = encoding.encode(gate.sources) if gate.sources else None
    return (gate.arity, gate.tolerate, gate.resolved, gate.taken, gate.failed, sources, gate.done)


def _newest_items(given: Iterable[tuple[int, NewItems]]) -> Iterable[Row]:
    rows: dict[Row, Row] = {}
    for run, items in given:
        stage_id, generation, turn, first = job_key(items.key)
        for item, payload in enumerate(items.payloads, first):
            at = (run, stage_id, generation, turn, item)
            rows[at] = (*at, *payload_columns(payload))
    return rows.values()
