"""Choosing the jobs that are due and leasing them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import product
from typing import Any, Final

from psycopg.errors import LockNotAvailable

from holdfast.entities.stage import Lease, StageKey, StageStatus
from holdfast.events import EventType
from holdfast.ports.work import LeaseRequest
from holdfast_adapters.postgres import encoding, rows
from holdfast_adapters.postgres.prepared import job_key
from holdfast_adapters.postgres.runstate import RUN_STATE, RUN_WIDTH, RunState
from holdfast_adapters.postgres.statements import Statement, with_rows
from holdfast_adapters.postgres.wave import BEGIN, COMMIT
from holdfast_adapters.postgres.wire import Wire
from holdfast_adapters.postgres.writes import Writes

_READY: Final = StageStatus.READY.value
_STARTED: Final = EventType.STAGE_STARTED.value

#: Whether anything is due at all, before each kind of job is looked for.
SOMETHING_DUE: Final = Statement(
    rows.select("SELECT EXISTS (SELECT 1 FROM holdfast.job j WHERE j.due_at IS NOT NULL AND j.due_at <= {now})")
)

#: What a grant needs: the instant, the order of the job, its key, the run as it stands, the lease to be.
_GRANTED: Final = f"""
    j.priority, j.due_at, j.run, j.stage_id, j.generation, j.turn, j.item,
    {RUN_STATE}, {rows.LEASE_COLUMNS}, {rows.HEADER_COLUMNS}"""
#: Width of what stands before the run, the instant included.
_KEY_AT: Final = 3
_RUN_AT: Final = 8
_LEASE_AT: Final = _RUN_AT + RUN_WIDTH

#: The first jobs of each workflow version, queue and status. Delayed jobs stand behind the due ones of their priority
#: but before the next priority, so the priorities that exist are found one by one, each by one look into the index,
#: and of each only the due part is read: jobs that nobody may take yet cost nothing however many they are.
#:
#: Jobs are locked with their runs, because a grant writes to both. What somebody else has locked is passed over, never
#: waited for: two workers get different jobs, and since whoever claims waits for nobody, the order in which it locks
#: does not matter. A row that changed since the statement began is looked at again as it is now. `test_claims` shows
#: both.
_DUE: Final = """
    SELECT {now}, due.*
    FROM unnest($2::text[], $3::text[], $4::text[], $5::text[]) kind (workflow_id, workflow_version, queue, status)
    CROSS JOIN LATERAL (
        WITH RECURSIVE level (priority) AS (
            (
                SELECT f.priority FROM holdfast.job f
                WHERE f.due_at IS NOT NULL AND f.workflow_id = kind.workflow_id
                    AND f.workflow_version = kind.workflow_version AND f.queue = kind.queue AND f.status = kind.status
                ORDER BY f.priority DESC LIMIT 1
            )
            UNION ALL
            SELECT next.priority
            FROM level
            CROSS JOIN LATERAL (
                SELECT l.priority FROM holdfast.job l
                WHERE l.due_at IS NOT NULL AND l.workflow_id = kind.workflow_id
                    AND l.workflow_version = kind.workflow_version AND l.queue = kind.queue
                    AND l.status = kind.status AND l.priority < level.priority
                ORDER BY l.priority DESC LIMIT 1
            ) next
        )
        SELECT due.*
        FROM level
        CROSS JOIN LATERAL (
            SELECT {granted}
            FROM holdfast.job j
            {run_of_j}
            {payload}
            WHERE j.due_at IS NOT NULL AND j.workflow_id = kind.workflow_id
                AND j.workflow_version = kind.workflow_version AND j.queue = kind.queue AND j.status = kind.status
                AND j.priority = level.priority AND j.due_at <= {now}
            ORDER BY j.due_at
            LIMIT $6::bigint
            {locking}
        ) due
        LIMIT $6::bigint
    ) due"""
DUE_JOBS: Final = Statement(rows.select(_DUE, granted=_GRANTED, locking="FOR UPDATE OF r, j SKIP LOCKED"))
#: The runs of those that are due, whoever has locked them.
DUE_RUNS: Final = Statement(rows.select(_DUE, granted="r.n", locking=""))
#: Waits for them, in the order in which everybody does.
WAIT_FOR_RUNS: Final = Statement("""
    SELECT 1 FROM holdfast.run r WHERE r.n = ANY($1::bigint[]) ORDER BY r.n FOR UPDATE""")

#: The run is locked first and the job looked at by the next statement, which sees what the lock was waited for.
LOCK_RUN: Final = Statement("SELECT 1 FROM holdfast.run r WHERE r.id = $1::text FOR UPDATE")
DUE_JOB: Final = Statement(
    rows.select(
        """
    SELECT {now}, {granted}
    FROM holdfast.run r
    {payload}
    CROSS JOIN LATERAL (
        SELECT * FROM holdfast.job x
        WHERE x.run = r.n AND x.stage_id = $3::text AND x.generation = $4::integer AND x.turn = $5::integer
            AND x.item = $6::integer AND x.due_at <= {now} OFFSET 0
    ) j
    WHERE r.id = $2::text""",
        granted=_GRANTED,
    ).replace("now()", "statement_timestamp()")
)

#: As on the connections that do nothing but write, until the end of the transaction; see `access`.
KEYS_ONLY: Final = Statement("""
    SELECT set_config('enable_indexscan', 'off', true), set_config('enable_indexonlyscan', 'off', true)""")
LEASE_JOBS: Final = Statement("""
    UPDATE holdfast.job j
    SET status = v.status, epoch = v.epoch, attempt = v.attempt, worker = v.worker, lease_until = v.lease_until,
        started_at = v.started_at, due_at = NULL
    FROM unnest(
        $1::text[], $2::integer[], $3::integer[], $4::text[], $5::bigint[], $6::bigint[],
        $7::bigint[], $8::text[], $9::integer[], $10::integer[], $11::integer[]
    ) v (status, epoch, attempt, worker, lease_until, started_at, run, stage_id, generation, turn, item)
    WHERE j.run = v.run AND j.stage_id = v.stage_id AND j.generation = v.generation AND j.turn = v.turn
        AND j.item = v.item""")

#: A row of `DUE_JOBS`.
Candidate = tuple[Any, ...]


async def claim(wire: Wire, request: LeaseRequest, *, now: int | None) -> list[Lease]:
    """Lease what *request* may get; wait for others only if they have locked all of it."""
    wanted = _wanted(request, now=now)
    _, found = await wire.run((BEGIN, ()), (DUE_JOBS, wanted))
    if not found:
        runs, _ = await wire.run((DUE_RUNS, wanted), (COMMIT, ()))
        if not runs:
            return []
        locked = sorted({n for _, n in runs})
        try:
            _, _, found = await wire.run((BEGIN, ()), (WAIT_FOR_RUNS, (locked,)), (DUE_JOBS, wanted))
        except LockNotAvailable:
            # Whoever has locked them takes longer than any transaction of ours. Other jobs may be due before it ends.
            return []
    found.sort(key=_by_urgency)
    return await _grant(wire, found[: request.limit], worker=request.worker, ttl=encoding.span(request.ttl))


async def claim_one(wire: Wire, key: StageKey, *, worker: str, ttl: timedelta, now: int | None) -> Lease | None:
    """Lease exactly this job, if it is eligible."""
    wanted = (now, key.run_id, *job_key(key))
    _, _, found = await wire.run((BEGIN, ()), (LOCK_RUN, (key.run_id,)), (DUE_JOB, wanted))
    leases = await _grant(wire, found, worker=worker, ttl=encoding.span(ttl))
    return leases[0] if leases else None


def _wanted(request: LeaseRequest, *, now: int | None) -> Sequence[Any]:
    """Return what `DUE_JOBS` is executed with."""
    kinds = [
        (workflow_id, version, queue, status.value)
        for (workflow_id, version), queue, status in product(request.known, request.queues, request.statuses)
    ]
    return (now, *zip(*kinds, strict=True), request.limit)


async def _grant(wire: Wire, candidates: Sequence[Candidate], *, worker: str, ttl: int) -> list[Lease]:
    """Lease the jobs, which are locked with their runs, end the transaction, and return the leases in order."""
    if not candidates:
        await wire.run((COMMIT, ()))
        return []
    now: int = candidates[0][0]
    writes = Writes(now)
    leased: list[tuple[Any, ...]] = []
    leases: list[Lease] = []
    for row in candidates:
        key, lease = row[_KEY_AT:_RUN_AT], row[_LEASE_AT:]
        run_id = lease[rows.LEASE_WIDTH]
        run = writes.runs.get(run_id) or writes.runs.setdefault(run_id, RunState(run_id, row=row[_RUN_AT:_LEASE_AT]))
        run.version += 1
        epoch, attempt, max_attempts, queue, status, *more = lease
        epoch, attempt = epoch + 1, attempt + 1
        if status == _READY:
            status = StageStatus.RUNNING.value
            writes.tell(run, [(_STARTED, *key[1:], encoding.encode({"attempt": attempt, "worker": worker}))])
        leased.append((status, epoch, attempt, worker, now + ttl, now, *key))
        granted = (epoch, attempt, max_attempts, queue, status, *more)
        leases.append(rows.lease(granted, key=rows.key(run_id, key[1:]), worker=worker, now=now))
    await wire.run((KEYS_ONLY, ()), with_rows(LEASE_JOBS, leased), *writes.calls(), (COMMIT, ()))
    return leases


def _by_urgency(candidate: Candidate) -> tuple[Any, ...]:
    """Return what jobs are leased in the order of: higher priority, then longest due, then key."""
    _, priority, due_at, *key = candidate
    return (-priority, due_at, *key[: _RUN_AT - _KEY_AT])
