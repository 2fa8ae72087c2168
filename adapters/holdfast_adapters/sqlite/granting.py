"""Leasing the jobs that were chosen."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from holdfast.entities.stage import Lease, StageStatus
from holdfast.events import EventType
from holdfast_adapters.sqlite import encoding, rows
from holdfast_adapters.sqlite.choosing import JobAt
from holdfast_adapters.sqlite.runstate import RUN_STATE, RUN_WIDTH, RunState
from holdfast_adapters.sqlite.statements import Rows
from holdfast_adapters.sqlite.writes import Writes

_READY: Final = StageStatus.READY.value
_STARTED: Final = EventType.STAGE_STARTED.value

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


def grant(connection: sqlite3.Connection, keys: Sequence[JobAt], *, worker: str, ttl: int, now: int) -> list[Lease]:
    """Lease the jobs to *worker* and return the leases in the order of *keys*."""
    writes = Writes(now)
    leased: list[tuple[Any, ...]] = []
    leases: list[Lease] = []
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
