"""Choosing the jobs that are due and leasing them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

import attrs
from psycopg.errors import LockNotAvailable

from holdfast.entities.stage import Lease, StageKey, StageStatus
from holdfast.events import EventType
from holdfast.ports.work import LeaseRequest
from holdfast_adapters.postgres import encoding, rows
from holdfast_adapters.postgres.candidates import (
    DUE_AT,
    DUE_JOB,
    DUE_JOBS,
    DUE_LIMITED,
    DUE_RUNS,
    FIRST_JOBS,
    KEY_AT,
    LEASE_AT,
    LIMITED_RUNS,
    LOCK_RUN,
    MORE_AT,
    OWNER_AT,
    PRIORITY_AT,
    ROOM_AT,
    RUN_AT,
    WEIGHT_AT,
    Candidate,
)
from holdfast_adapters.postgres.flow import LOCK_LIMITS, LOCK_QUEUES, LOCK_QUEUES_OF, Room, spent
from holdfast_adapters.postgres.prepared import job_key
from holdfast_adapters.postgres.rows import QUEUE, STATUS
from holdfast_adapters.postgres.runstate import RunState
from holdfast_adapters.postgres.statements import Call, Statement, with_rows
from holdfast_adapters.postgres.turns import Seen, Turns
from holdfast_adapters.postgres.wave import BEGIN, COMMIT
from holdfast_adapters.postgres.wire import Rows, Wire
from holdfast_adapters.postgres.writes import Writes

_READY: Final = StageStatus.READY.value
_STARTED: Final = EventType.STAGE_STARTED.value

#: Waits for them, in the order in which everybody does.
WAIT_FOR_RUNS: Final = Statement("""
    SELECT 1 FROM holdfast.run r WHERE r.n = ANY($1::bigint[]) ORDER BY r.n FOR UPDATE""")

#: As on the connections that do nothing but write, until the end of the transaction; see `access`.
KEYS_ONLY: Final = Statement("""
    SELECT set_config('enable_indexscan', 'off', true), set_config('enable_indexonlyscan', 'off', true)""")
LEASE_JOBS: Final = Statement("""
    UPDATE holdfast.job j
    SET status = v.status, epoch = v.epoch, attempt = v.attempt, worker = v.worker, lease_until = v.lease_until,
        started_at = v.started_at, due_at = NULL, limited = v.limited
    FROM unnest(
        $1::text[], $2::integer[], $3::integer[], $4::text[], $5::bigint[], $6::bigint[], $7::boolean[],
        $8::bigint[], $9::text[], $10::integer[], $11::integer[], $12::integer[]
    ) v (status, epoch, attempt, worker, lease_until, started_at, limited, run, stage_id, generation, turn, item)
    WHERE j.run = v.run AND j.stage_id = v.stage_id AND j.generation = v.generation AND j.turn = v.turn
        AND j.item = v.item""")


@attrs.frozen(kw_only=True)
class _Grantee:
    """Who gets leases."""

    worker: str
    #: In microseconds.
    ttl: int
    limit: int


async def claim(wire: Wire, request: LeaseRequest, *, turns: Turns, now: int | None) -> list[Lease]:
    """Lease what *request* may get; wait for others only if they have locked all of it."""
    look = _Look(wire, request, turns, now=now)
    await look.begin()
    if not look.found:
        ahead = await look.give_up()
        if not ahead:
            return []
        try:
            await look.begin((WAIT_FOR_RUNS, (ahead,)))
        except LockNotAvailable:
            # Whoever has locked them takes longer than any transaction of ours. Other jobs may be due before it ends.
            return []
    candidates = sorted(look.found, key=lambda row: _turn(row, look.seen))
    grantee = _Grantee(worker=request.worker, ttl=encoding.span(request.ttl), limit=request.limit)
    leases = await _grant(wire, candidates, grantee, locked=look.locked)
    for lease in leases:
        turns.served(lease.run.tenant, lease.run.concurrency_key)
    return leases


class _Look:
    """A claim's look for jobs, which it locks.

    Args:
        wire: A connection without a transaction.
        request: What is wanted.
        turns: Whose turn it is.
        now: The instant; None for that of the database.
    """

    def __init__(self, wire: Wire, request: LeaseRequest, turns: Turns, *, now: int | None) -> None:
        self._wire = wire
        self._turns = turns
        statuses = [status.value for status in request.statuses]
        versions = (*zip(*request.known, strict=True),)
        self._queues = list(request.queues)
        self._before, self._behind = (now, *versions), (statuses, request.limit)
        self.seen = turns.seen()
        #: The limits of those of the queues that have any.
        self.locked: Rows = []
        self.found: Rows = []

    async def begin(self, *first: Call) -> None:
        """Begin a transaction, do what comes *first* once the queues are locked, and look."""
        # After a wait whoever had the first jobs may have taken them.
        free = FIRST_JOBS if self._turns.is_plain and not first else DUE_JOBS
        calls = [(BEGIN, ()), (LOCK_QUEUES, (self._queues,)), *first, self._call(free)]
        _, self.locked, *_, self.found = await self._wire.run(*calls)
        if any(row[MORE_AT] for row in self.found):
            await self._look_again()
        elif self.locked:
            (limited,) = await self._wire.run(self._call(DUE_LIMITED))
            self.found += limited
        untold = self._turns.untold(self.seen, (row[OWNER_AT] for row in self.found))
        if untold:
            # Their keys have to come in another order than they did; the same tenants have their turn again.
            self.seen = self._turns.seen(untold)
            await self._look_again()

    async def give_up(self) -> list[int]:
        """End the transaction and return the runs that others have locked."""
        *found, _ = await self._wire.run(*self._calls(DUE_RUNS, LIMITED_RUNS), (COMMIT, ()))
        return sorted({n for runs in found for _, n in runs})

    async def _look_again(self) -> None:
        found = await self._wire.run(*self._calls(DUE_JOBS, DUE_LIMITED))
        self.found = [row for each in found for row in each]

    def _calls(self, free: Statement, limited: Statement) -> list[Call]:
        return [self._call(free), *([self._call(limited)] if self.locked else [])]

    def _call(self, statement: Statement) -> Call:
        queues = [row[0] for row in self.locked] if statement in {DUE_LIMITED, LIMITED_RUNS} else self._queues
        turns = () if statement is FIRST_JOBS else self.seen.parameters()
        return (statement, (*self._before, queues, *self._behind, *turns))


async def claim_one(wire: Wire, key: StageKey, *, worker: str, ttl: timedelta, now: int | None) -> Lease | None:
    """Lease exactly this job, if it is eligible."""
    at = (key.run_id, *job_key(key))
    _, _, locked, _, found = await wire.run(
        (BEGIN, ()),
        (LOCK_LIMITS, ()),
        with_rows(LOCK_QUEUES_OF, [at]),
        (LOCK_RUN, (key.run_id,)),
        (DUE_JOB, (now, *at)),
    )
    leases = await _grant(wire, found, _Grantee(worker=worker, ttl=encoding.span(ttl), limit=1), locked=locked)
    return leases[0] if leases else None


def _chosen(candidates: Iterable[Candidate], rooms: Mapping[str, Room], *, limit: int) -> Iterator[Candidate]:
    """Yield those of *candidates*, in order, for which the limits of their queues have room."""
    for row in candidates:
        room = rooms.get(row[LEASE_AT + QUEUE])
        if room is None or room.take(
            row[OWNER_AT : OWNER_AT + 2],
            status=row[LEASE_AT + STATUS],
            weight=row[WEIGHT_AT],
            room=row[ROOM_AT : ROOM_AT + 2],
        ):
            yield row
            limit -= 1
            if not limit:
                return


async def _grant(wire: Wire, candidates: Sequence[Candidate], grantee: _Grantee, *, locked: Rows) -> list[Lease]:
    """Lease the jobs, which are locked with their runs, end the transaction, and return the leases in order."""
    now: int = candidates[0][0] if candidates else 0
    rooms = {row[0]: Room(row, now=now) for row in locked}
    chosen = list(_chosen(candidates, rooms, limit=grantee.limit))
    if not chosen:
        await wire.run((COMMIT, ()))
        return []
    worker = grantee.worker
    writes = Writes(now)
    leased: list[tuple[Any, ...]] = []
    leases: list[Lease] = []
    for row in chosen:
        key, lease = row[KEY_AT:RUN_AT], row[LEASE_AT:]
        run_id = lease[rows.LEASE_WIDTH]
        run = writes.runs.get(run_id) or writes.runs.setdefault(run_id, RunState(run_id, row=row[RUN_AT:LEASE_AT]))
        run.version += 1
        epoch, attempt, max_attempts, queue, status, *more = lease
        epoch, attempt = epoch + 1, attempt + 1
        if status == _READY:
            status = StageStatus.RUNNING.value
            writes.tell(run, [(_STARTED, *key[1:], encoding.encode({"attempt": attempt, "worker": worker}))])
        leased.append((status, epoch, attempt, worker, now + grantee.ttl, now, queue in rooms, *key))
        granted = (epoch, attempt, max_attempts, queue, status, *more)
        leases.append(rows.lease(granted, key=rows.key(run_id, key[1:]), worker=worker, now=now))
    await wire.run((KEYS_ONLY, ()), with_rows(LEASE_JOBS, leased), *writes.calls(), *spent(rooms), (COMMIT, ()))
    return leases


def _turn(candidate: Candidate, seen: Seen) -> tuple[Any, ...]:
    """Return what jobs are leased in the order of: higher priority, turn, then longest due, then key."""
    tenant, key = candidate[OWNER_AT : OWNER_AT + 2]
    place = (candidate[DUE_AT], *candidate[KEY_AT:RUN_AT])
    return (-candidate[PRIORITY_AT], *seen.order(tenant, key), *place)
