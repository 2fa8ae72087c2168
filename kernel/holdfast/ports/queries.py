"""The port that answers people: lists, timelines and checks, paged by key and never used for decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Protocol

import attrs

from holdfast.entities.run import Run, RunStatus
from holdfast.entities.stage import StageInstance, StageKey
from holdfast.entities.wait import Wait
from holdfast.events import Event


@attrs.frozen(kw_only=True)
class RunFilter:
    """Which runs to list; fields left out do not restrict."""

    statuses: frozenset[RunStatus] = frozenset()
    workflow_id: str | None = None
    idempotency_key: str | None = None
    #: Runs whose id begins so; ids are UUIDv7 and so begin with their time.
    id_prefix: str | None = None
    #: Runs that this one started.
    parent_id: str | None = None


@attrs.frozen(kw_only=True)
class LogLine:
    """A stored log line."""

    key: StageKey
    attempt: int
    level: str
    message: str
    data: Mapping[str, Any]
    at: datetime


@attrs.frozen(kw_only=True)
class Annotation:
    """A stored annotation."""

    run_id: str
    name: str
    value: Any
    key: StageKey | None
    attempt: int | None
    actor: str | None
    at: datetime


@attrs.frozen(kw_only=True)
class Counts:
    """How much there is of what, for `doctor` and for statistics."""

    #: Runs by status; statuses without runs are left out.
    runs: Mapping[RunStatus, int]
    #: Live jobs that are READY and due.
    ready: int
    leased: int
    suspended: int
    #: Live jobs that are WAITING.
    waiting: int
    #: Leases past their end that nobody took back yet.
    expired: int
    #: Streams with undelivered events, parked ones aside.
    undelivered: int
    parked: int


class Queries(Protocol):
    """Reads for people."""

    async def list_runs(self, where: RunFilter, *, limit: int, before: str | None = None) -> Sequence[Run]:
        """Return at most *limit* runs, newest first, older than the run id *before*."""
        ...

    async def list_stages(self, run_id: str) -> Sequence[StageInstance]:
        """Return every stage instance of the run, live, done and superseded, in order of start, then of key."""
        ...

    async def list_events(self, run_id: str, *, after: int = 0, limit: int) -> Sequence[Event]:
        """Return at most *limit* events of the run with numbers above *after*, in order."""
        ...

    async def list_logs(self, run_id: str, *, limit: int) -> Sequence[LogLine]:
        """Return the newest *limit* log lines of the run, oldest first."""
        ...

    async def list_run_waits(self, run_id: str, *, limit: int) -> Sequence[Wait]:
        """Return the newest *limit* waits of the run, whatever became of them, in the order of their opening."""
        ...

    async def list_annotations(self, run_id: str, *, limit: int) -> Sequence[Annotation]:
        """Return the oldest *limit* annotations of the run, in order of insertion."""
        ...

    async def list_orphans(self, *, limit: int) -> Sequence[str]:
        """Return ids of runs that are live but have no job READY, RUNNING or SUSPENDED, no timer and no OPEN wait.

        Of PENDING runs those count that are held, have no timer, and wait for the turn of a singleton key of which
        every other live run does the same.

        Empty at all times: every commit leaves each live run with something that will advance it.
        """
        ...

    async def list_live_versions(self) -> Sequence[tuple[str, str, int]]:
        """Return (workflow id, version, number of live runs) for every version with live runs."""
        ...

    async def count(self) -> Counts:
        """Return how much there is of what."""
        ...
