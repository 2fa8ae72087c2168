"""Answers people from the memory store."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Final

import attrs

from holdfast.entities.run import Run, RunStatus
from holdfast.entities.stage import StageInstance, StageStatus
from holdfast.entities.wait import Wait
from holdfast.events import Event
from holdfast.ports.queries import Annotation, Counts, LogLine, RunFilter
from holdfast_adapters.memory.owning import owned
from holdfast_adapters.memory.rows import InstanceRow, Place, RunRow, is_due
from holdfast_adapters.memory.store import Store

_LAST: Final = datetime.max.replace(tzinfo=UTC)
_LAST_LETTER: Final = chr(0x10FFFF)


class MemoryQueries:
    """The Queries port in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list_runs(self, where: RunFilter, *, limit: int, before: str | None = None) -> Sequence[Run]:
        """Return runs, newest first."""
        with self._store.transaction:
            self._store.now()
            ids, runs = self._store.run_ids, self._store.runs
            start, end = 0, len(ids) if before is None else bisect.bisect_left(ids, before)
            if where.id_prefix:
                start = bisect.bisect_left(ids, where.id_prefix)
                end = min(end, bisect.bisect_left(ids, where.id_prefix + _LAST_LETTER))
            rows = (runs[ids[index]] for index in range(end - 1, start - 1, -1))
            return [row.entity() for row in islice((row for row in rows if _matches(where, row)), limit)]

    async def list_stages(self, run_id: str) -> Sequence[StageInstance]:
        """Return every stage instance of the run, in order of start, then of key."""
        with self._store.transaction:
            self._store.now()
            run = self._store.runs.get(run_id)
            if run is None:
                return []
            return [row.entity() for row in sorted(run.instances.values(), key=_by_start)]

    async def list_events(self, run_id: str, *, after: int = 0, limit: int) -> Sequence[Event]:
        """Return events of the run in order."""
        with self._store.transaction:
            self._store.now()
            run = self._store.runs.get(run_id)
            return [] if run is None else run.events_after(after, limit=limit)

    async def list_logs(self, run_id: str, *, limit: int) -> Sequence[LogLine]:
        """Return the newest log lines of the run, oldest first."""
        with self._store.transaction:
            self._store.now()
            run = self._store.runs.get(run_id)
            return [] if run is None or limit < 1 else [_line(line) for line in run.logs[-limit:]]

    async def list_run_waits(self, run_id: str, *, limit: int) -> Sequence[Wait]:
        """Return the newest waits of the run in the order in which they were opened."""
        with self._store.transaction:
            self._store.now()
            run = self._store.runs.get(run_id)
            return [] if run is None else list(islice(reversed(run.waits.values()), max(limit, 0)))[::-1]

    async def list_annotations(self, run_id: str, *, limit: int) -> Sequence[Annotation]:
        """Return the oldest annotations of the run, in order of insertion."""
        with self._store.transaction:
            self._store.now()
            run = self._store.runs.get(run_id)
            return [] if run is None else [_copied(note) for note in run.annotations[:limit]]

    async def list_orphans(self, *, limit: int) -> Sequence[str]:
        """Return live runs that nothing will advance."""
        with self._store.transaction:
            self._store.now()
            orphans = (
                run_id
                for run_id, run in self._store.live.items()
                if (
                    self._store.singles.is_stuck(run)
                    if run.status is RunStatus.PENDING
                    else not (run.busy or run.timers or run.open_waits)
                )
            )
            return list(islice(orphans, limit))

    async def list_live_versions(self) -> Sequence[tuple[str, str, int]]:
        """Return the versions that live runs are pinned to."""
        with self._store.transaction:
            self._store.now()
            headers = (run.header for run in self._store.live.values())
            counted = Counter((header.workflow_id, header.workflow_version) for header in headers)
            return [(workflow_id, version, count) for (workflow_id, version), count in sorted(counted.items())]

    async def count(self) -> Counts:
        """Return how much there is of what."""
        with self._store.transaction:
            now = self._store.now()
            jobs = [job for run in self._store.live.values() for job in run.jobs.values()]
            sinks = self._store.sinks.values()
            return Counts(
                runs={status: count for status, count in self._store.statuses.items() if count},
                ready=sum(is_due(job, now) for job in jobs),
                leased=sum(job.lease_until is not None for job in jobs),
                suspended=sum(job.status is StageStatus.SUSPENDED for job in jobs),
                waiting=sum(job.status is StageStatus.WAITING for job in jobs),
                expired=sum(job.lease_until is not None and job.lease_until <= now for job in jobs),
                undelivered=sum(sink.agenda.waiting() for sink in sinks),
                parked=sum(len(sink.parked) for sink in sinks),
            )


def _matches(where: RunFilter, row: RunRow) -> bool:
    return (
        (not where.statuses or row.status in where.statuses)
        and where.workflow_id in (None, row.header.workflow_id)
        and where.idempotency_key in (None, row.idempotency_key)
        and where.parent_id in (None, row.header.parent_id)
        and (where.id_prefix is None or row.header.id.startswith(where.id_prefix))
    )


def _by_start(row: InstanceRow) -> tuple[datetime, Place]:
    return (row.started_at or _LAST, row.place)


def _copied(note: Annotation) -> Annotation:
    return attrs.evolve(note, value=owned(note.value))


def _line(line: LogLine) -> LogLine:
    return attrs.evolve(line, data=owned(line.data))
