"""Choosing the jobs that are due and leasing them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from itertools import product
from typing import Any, Final

from holdfast.entities.stage import Lease, StageStatus
from holdfast.events import EventType
from holdfast.ports.work import LeaseRequest
from holdfast_adapters.sqlite import encoding, rows
from holdfast_adapters.sqlite.runstate import RUN_STATE, RUN_WIDTH, RunState
from holdfast_adapters.sqlite.statements import Rows
from holdfast_adapters.sqlite.writes import Writes

#: Priority, due_at, run, stage id, generation, turn, item.
Candidate = tuple[int, int, int, str, int, int, int]

_READY: Final = StageStatus.READY.value
_STARTED: Final = EventType.STAGE_STARTED.value

#: Whether anything is due at all, before each kind of job is looked for.
SOMETHING_DUE: Final = "SELECT EXISTS (SELECT 1 FROM job INDEXED BY job_due WHERE due_at <= ?)"

#: The first jobs of one workflow version, queue and status. Delayed jobs stand behind the due ones of their priority
#: but before the next priority, so the priorities that exist are found one by one, each by one look into the index,
#: and of each only the due part is read: jobs that nobody may take yet cost nothing however many they are. The rows
#: come in the order of the two loops, which CROSS JOIN keeps; they are sorted again when kinds are merged.
DUE_JOBS: Final = """
    WITH RECURSIVE level (priority) AS (
        SELECT max(priority) FROM job INDEXED BY job_claim
        WHERE due_at IS NOT NULL AND workflow_id = ?1 AND workflow_version = ?2 AND queue = ?3 AND status = ?4
        UNION ALL
        SELECT (
            SELECT max(j.priority) FROM job j INDEXED BY job_claim
            WHERE j.due_at IS NOT NULL AND j.workflow_id = ?1 AND j.workflow_version = ?2 AND j.queue = ?3
                AND j.status = ?4 AND j.priority < level.priority
        )
        FROM level WHERE level.priority IS NOT NULL
    )
    SELECT j.priority, j.due_at, j.run, j.stage_id, j.generation, j.turn, j.item
    FROM level CROSS JOIN job j INDEXED BY job_claim
    WHERE j.workflow_id = ?1 AND j.workflow_version = ?2 AND j.queue = ?3 AND j.status = ?4
        AND j.priority = level.priority AND j.due_at <= ?5
    LIMIT ?6"""

JOBS_WITH_RUNS: Final = Rows(
    rows.select(
        """
    SELECT {now}, {lease}, {header}
    FROM (VALUES {{rows}}) v
    CROSS JOIN job j ON j.run = v.column1 AND j.stage_id = v.column2 AND j.generation = v.column3
        AND j.turn = v.column4 AND j.item = v.column5
    CROSS JOIN run r ON r.n = j.run
    CROSS JOIN run_payload p ON p.run = j.run""",
        now=RUN_STATE,
    ),
    width=5,
)

LEASE_JOB: Final = """
    UPDATE job
    SET status = ?, epoch = ?, attempt = ?, worker = ?, lease_until = ?, started_at = ?, due_at = NULL
    WHERE run = ? AND stage_id = ? AND generation = ? AND turn = ? AND item = ?"""


def find_candidates(connection: sqlite3.Connection, request: LeaseRequest, *, now: int) -> list[Candidate]:
    """Return the jobs to lease, highest priority, then longest due, first."""
    if request.limit < 1 or not connection.execute(SOMETHING_DUE, (now,)).fetchone()[0]:
        return []
    found: list[Candidate] = []
    for (workflow_id, version), queue, status in product(request.known, request.queues, request.statuses):
        kind = (workflow_id, version, queue, status.value, now, request.limit)
        found += connection.execute(DUE_JOBS, kind).fetchall()
    found.sort(key=_order)
    return found[: request.limit]


def _order(candidate: Candidate) -> tuple[Any, ...]:
    priority, due_at, *key = candidate
    return (-priority, due_at, *key)


def grant(
    connection: sqlite3.Connection, candidates: Sequence[Candidate], *, worker: str, ttl: int, now: int
) -> list[Lease]:
    """Lease the jobs to *worker* and return the leases in the order of *candidates*."""
    writes = Writes(now)
    leased: list[tuple[Any, ...]] = []
    leases: list[Lease] = []
    keys = [candidate[2:] for candidate in candidates]
    for key, row in zip(keys, JOBS_WITH_RUNS.fetch(connection, keys), strict=True):
        lease = row[RUN_WIDTH:]
        run_id = lease[rows.LEASE_WIDTH]
        run = writes.runs.get(run_id) or writes.runs.setdefault(run_id, RunState(run_id, row=row[:RUN_WIDTH]))
        run.version += 1
        epoch, attempt, max_attempts, queue, status, *more = lease
        epoch, attempt = epoch + 1, attempt + 1
        if status == _READY:
            status = StageStatus.RUNNING.value
            writes.tell(run, [(_STARTED, *key[1:], encoding.encode({"attempt": attempt, "worker": worker}))])
        leased.append((status, epoch, attempt, worker, now + ttl, now, *key))
        granted = (epoch, attempt, max_attempts, queue, status, *more)
        leases.append(rows.lease(granted, key=rows.key(run_id, key[1:]), worker=worker, now=now))
    if leased:
        connection.executemany(LEASE_JOB, leased)
        writes.write(connection)
    return leases
