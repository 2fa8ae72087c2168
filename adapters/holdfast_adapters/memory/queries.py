"""Answers people from the memory store."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime

from holdfast.entities.run import Run, RunStatus
from holdfast.entities.stage import StageInstance, StageStatus
from holdfast.events import Event
from holdfast.ports.queries import Annotation, Counts, LogLine, RunFilter
from holdfast_adapters.memory.rows import InstanceRow, RunRow, owned
from holdfast_adapters.memory.store import Store

_LAST = datetime.max.replace(tzinfo=UTC)


class MemoryQueries:
    """The Queries port in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list_runs(self, where: RunFilter, *, limit: int, before: str | None = None) -> Sequence[Run]:
        """Return runs, newest first."""
        with self._store.lock:
            self._store.now()
            ids = self._store.run_ids
            end = len(ids) if before is None else bisect.bisect_left(ids, before)
            found: list[Run] = []
            for index in range(end - 1, -1, -1):
                if len(found) >= limit:
                    break
                row = self._store.runs[ids[index]]
                if _matches(where, row):
                    found.append(row.entity())
            return found

    async def list_stages(self, run_id: str) -> Sequence[StageInstance]:
        """Return every stage instance of the run, in order of start, then of key."""
        with self._store.lock:
            self._store.now()
            run = self._store.runs.get(run_id)
            if run is None:
                return []
            rows = [*run.jobs.values(), *run.records.values()]
            return [row.entity() for row in sorted(rows, key=_by_start)]

    async def list_events(self, run_id: str, *, after: int = 0, limit: int) -> Sequence[Event]:
        """Return events of the run in order."""
        with self._store.lock:
            self._store.now()
            run = self._store.runs.get(run_id)
            if run is None:
                return []
            last = min(after + limit, len(run.events))
            return [run.event(number) for number in range(after + 1, last + 1)]

    async def list_logs(self, run_id: str, *, limit: int) -> Sequence[LogLine]:
        """Return the newest log lines of the run, oldest first."""
        with self._store.lock:
            self._store.now()
            run = self._store.runs.get(run_id)
            return [] if run is None or limit < 1 else run.log_lines(limit)

    async def list_annotations(self, run_id: str, *, limit: int) -> Sequence[Annotation]:
        """Return the oldest annotations of the run, in order of insertion."""
        with self._store.lock:
            self._store.now()
            run = self._store.runs.get(run_id)
            return [] if run is None else [_copied(note) for note in run.annotations[:limit]]

    async def list_orphans(self, *, limit: int) -> Sequence[str]:
        """Return live runs that nothing will advance."""
        with self._store.lock:
            self._store.now()
            orphans = (
                run_id
                for run_id, run in self._store.live.items()
                if run.status is not RunStatus.PENDING and not run.jobs and not run.timers
            )
            return [run_id for run_id, _ in zip(orphans, range(limit), strict=False)]

    async def list_live_versions(self) -> Sequence[tuple[str, str, int]]:
        """Return the versions that live runs are pinned to."""
        with self._store.lock:
            self._store.now()
            headers = (run.header for run in self._store.live.values())
            counted = Counter((header.workflow_id, header.workflow_version) for header in headers)
            return [(workflow_id, version, count) for (workflow_id, version), count in sorted(counted.items())]

    async def count(self) -> Counts:
        """Return how much there is of what."""
        with self._store.lock:
            now = self._store.now()
            jobs = [job for run in self._store.live.values() for job in run.jobs.values()]
            sinks = self._store.sinks.values()
            return Counts(
                runs=dict(Counter(run.status for run in self._store.runs.values())),
                ready=sum(_is_due(job, now) for job in jobs),
                leased=sum(job.lease_until is not None for job in jobs),
                suspended=sum(job.status is StageStatus.SUSPENDED for job in jobs),
                expired=sum(job.lease_until is not None and job.lease_until <= now for job in jobs),
                undelivered=sum(
                    not row.parked and row.position < len(self._store.runs[run_id].events)
                    for sink in sinks
                    for run_id, row in sink.streams.items()
                )
                + sum(run_id not in sink.streams for sink in sinks for run_id in sink.waiting),
                parked=sum(len(sink.parked) for sink in sinks),
            )


def _matches(where: RunFilter, row: RunRow) -> bool:
    return (
        (not where.statuses or row.status in where.statuses)
        and where.workflow_id in (None, row.header.workflow_id)
        and where.idempotency_key in (None, row.idempotency_key)
        and (where.id_prefix is None or row.header.id.startswith(where.id_prefix))
    )


def _by_start(row: InstanceRow) -> tuple[datetime, object]:
    return (row.started_at or _LAST, row.key)


def _is_due(job: InstanceRow, now: datetime) -> bool:
    return job.status is StageStatus.READY and job.due_at is not None and job.due_at <= now


def _copied(note: Annotation) -> Annotation:
    return Annotation(
        run_id=note.run_id,
        name=note.name,
        value=owned(note.value),
        key=note.key,
        attempt=note.attempt,
        actor=note.actor,
        at=note.at,
    )
