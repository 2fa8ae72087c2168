"""Choosing which of the jobs that are due are handed out, in the order of turns and as far as limits have room."""

from __future__ import annotations

import heapq
import sqlite3
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any, Final

from holdfast.ports.work import LeaseRequest
from holdfast_adapters.sqlite.limits import Room, find_room
from holdfast_adapters.sqlite.prepared import JobKey
from holdfast_adapters.sqlite.turns import Lap, Turns, behind

#: A job by its primary key: run, stage id, generation, turn, item.
JobAt = tuple[int, str, int, int, int]

#: Due jobs of the queue that are handed out, and those that were delayed until now.
SOMETHING_DUE: Final = """
    SELECT
        EXISTS (
            SELECT 1 FROM job INDEXED BY job_due
            WHERE due_at IS NOT NULL AND queue = ?1 AND delayed = 0 AND due_at <= ?2
        ),
        EXISTS (
            SELECT 1 FROM job INDEXED BY job_due
            WHERE due_at IS NOT NULL AND queue = ?1 AND delayed = 1 AND due_at <= ?2
        )"""
#: Delayed jobs come among those that are handed out once their instant has come. Until then they are in nobody's way,
#: however many tenants and keys they have.
LIST_DELAYED: Final = """
    SELECT run, stage_id, generation, turn, item FROM job INDEXED BY job_due
    WHERE due_at IS NOT NULL AND queue = ? AND delayed = 1 AND due_at <= ?
    ORDER BY due_at LIMIT ?"""
END_DELAY: Final = """
    UPDATE job SET delayed = 0 WHERE run = ? AND stage_id = ? AND generation = ? AND turn = ? AND item = ?"""
#: So many at once at most, the longest due first; when more became due since the last claim, the next one goes on.
MOST_ENDED: Final = 10_000

NEXT_PRIORITY: Final = """
    SELECT max(priority) FROM job INDEXED BY job_claim
    WHERE due_at IS NOT NULL AND delayed = 0 AND workflow_id = ? AND workflow_version = ? AND queue = ?
        AND status = ? AND priority <= ?"""
NEXT_TENANT: Final = """
    SELECT min(tenant) FROM job INDEXED BY job_claim
    WHERE due_at IS NOT NULL AND delayed = 0 AND workflow_id = ? AND workflow_version = ? AND queue = ?
        AND status = ? AND priority = ? AND tenant BETWEEN ? AND ?"""
#: In order of the index. After the clock was set back it may hold jobs that are not due any more.
DUE_JOBS: Final = """
    SELECT concurrency_key, due_at, run, stage_id, generation, turn, item FROM job INDEXED BY job_claim
    WHERE delayed = 0 AND workflow_id = ? AND workflow_version = ? AND queue = ? AND status = ? AND priority = ?
        AND tenant = ? AND concurrency_key BETWEEN ? AND ? AND due_at <= ?
    ORDER BY concurrency_key, due_at, run, stage_id, generation, turn, item LIMIT ? OFFSET ?"""

FIND_JOB: Final = """
    SELECT queue, status, tenant, concurrency_key, run, stage_id, generation, turn, item FROM job
    WHERE run = (SELECT n FROM run WHERE id = ?) AND stage_id = ? AND generation = ? AND turn = ? AND item = ?
        AND due_at <= ?"""


#: What to order by, where it comes from, tenant and concurrency key, and the job.
Candidate = tuple[tuple[Any, ...], "Source", tuple[str, str], JobAt]


class Source:
    """The jobs of one workflow version, queue and status that are due, in the order of turns."""

    def __init__(self, kind: tuple[str, str, str, str], room: Room | None) -> None:
        self._kind = kind
        self._status = kind[-1]
        self._room = room

    def take(self, owner: tuple[str, str], at: JobAt) -> bool:
        """Take the room for a job; return whether there is some."""
        return self._room is None or self._room.take(self._status, owner, at)

    def walk(self, connection: sqlite3.Connection, turns: Turns, *, now: int, limit: int) -> Iterator[Candidate]:
        """Yield the jobs for which there may be room, in order."""
        levels = turns.walk(connection, self._kind, next_priority=NEXT_PRIORITY, next_tenant=NEXT_TENANT)
        for priority, tenant in levels:
            for number, lap in enumerate(turns.laps_of_keys(tenant)):
                rank = (-priority, *turns.rank(tenant), number)
                for row in self._jobs(connection, (priority, tenant), lap, now=now, limit=limit):
                    yield (*rank, *row), self, (tenant, row[0]), row[2:]
                if self._is_shut():
                    return

    def _jobs(
        self, connection: sqlite3.Connection, level: tuple[int, str], lap: Lap, *, now: int, limit: int
    ) -> Iterator[tuple[Any, ...]]:
        """Yield the due jobs of a priority and tenant, keys that are full left out, page by page."""
        room, tenant = self._room, level[1]
        key, last = lap
        seen = 0
        while not self._is_shut():
            asked = (*self._kind, *level, key, last, now, limit, seen)
            page = connection.execute(DUE_JOBS, asked).fetchall()
            for row in page:
                if row[0] != key:
                    key, seen = row[0], 0
                if room is not None and room.is_full(tenant, key):
                    break
                seen += 1
                yield row
            else:
                if len(page) < limit:
                    return
            if room is not None and room.is_full(tenant, key):
                key, seen = behind(key), 0

    def _is_shut(self) -> bool:
        return self._room is not None and self._room.is_shut(self._status)


def choose(connection: sqlite3.Connection, request: LeaseRequest, *, turns: Turns, now: int) -> list[JobAt]:
    """Return the jobs to lease in order, after taking the room and the tokens that they need."""
    if request.limit < 1:
        return []
    rooms = {
        queue: find_room(connection, queue, now=now)
        for queue in request.queues
        if _anything_due(connection, queue, now=now)
    }
    sources = [
        Source((*version, queue, status.value), room)
        for version, (queue, room), status in product(request.known, rooms.items(), request.statuses)
    ]
    chosen: list[JobAt] = []
    walks = [source.walk(connection, turns, now=now, limit=request.limit) for source in sources]
    served: dict[tuple[str, str], None] = {}
    # The order of a job ends with its key, so nothing behind it is ever compared.
    for _, source, owner, at in heapq.merge(*walks):
        if source.take(owner, at):
            chosen.append(at)
            # Whoever is served again, at another priority, goes to the end.
            served.pop(owner, None)
            served[owner] = None
            if len(chosen) >= request.limit:
                break
    for owner in served:
        turns.serve(*owner)
    for room in rooms.values():
        if room is not None:
            room.keep()
    return chosen


def _anything_due(connection: sqlite3.Connection, queue: str, *, now: int) -> bool:
    ready, delayed = connection.execute(SOMETHING_DUE, (queue, now)).fetchone()
    if delayed:
        ended = connection.execute(LIST_DELAYED, (queue, now, MOST_ENDED)).fetchall()
        connection.executemany(END_DELAY, ended)
    return bool(ready or delayed)


def choose_one(connection: sqlite3.Connection, run_id: str, key: JobKey, *, now: int) -> Sequence[JobAt]:
    """Return the job if it is due and its queue has room for it, which is taken."""
    row = connection.execute(FIND_JOB, (run_id, *key, now)).fetchone()
    if row is None:
        return ()
    queue, status, tenant, concurrency_key, *at = row
    room = find_room(connection, queue, now=now)
    if room is not None:
        if not room.take(status, (tenant, concurrency_key), tuple(at)):
            return ()
        room.keep()
    return (tuple(at),)
