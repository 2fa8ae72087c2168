"""What one event loop knows of runs from its last commits on them, to be checked before anything is built on it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from holdfast.change import Committed
from holdfast.entities.stage import StageStatus
from holdfast_adapters.postgres.found import JobRow
from holdfast_adapters.postgres.prepared import JobKey, Prepared, job_key
from holdfast_adapters.postgres.runstate import RunState
from holdfast_adapters.postgres.wave import Outcome

#: How many runs are remembered; those that were committed to longest ago are forgotten first.
MOST_RUNS: Final = 4_096
#: How many granted jobs of a run are remembered.
MOST_JOBS: Final = 64
#: How long it is known by how much the clock of the database is ahead, in seconds.
ANCHORED: Final = 1.0
_MICROS: Final = 1_000_000
_RUNNING: Final = StageStatus.RUNNING.value


@attrs.frozen
class KnownRun:
    """A run as a commit left it."""

    #: As `runstate.RUN_STATE`, but for `undelivered`, which others may take away at any time.
    row: tuple[Any, ...]
    version: int
    #: The instant of that commit.
    at: int
    #: The jobs that were granted and not settled since, as `found.FIND_JOBS` finds them.
    jobs: Mapping[JobKey, JobRow]


class Known:
    """Runs as the last commits left them.

    Whoever is about to commit takes away what is known of the runs, and puts it back once the commit stands. So nothing
    is known of a run after a refusal, an error, or a commit whose end nobody heard of.

    Args:
        time: A clock that is never set, in seconds.
    """

    def __init__(self, time: Callable[[], float]) -> None:
        self._time = time
        self._runs: OrderedDict[str, KnownRun] = OrderedDict()
        #: The clock of the database less ours, in microseconds, as it was at least, and when that was found.
        self._ahead: int | None = None
        self._anchored_at = 0.0

    def take(self, changes: Iterable[Prepared]) -> dict[str, KnownRun]:
        """Return what is known of the runs of *changes*, and forget it."""
        found: dict[str, KnownRun] = {}
        for change in changes:
            known = self._runs.pop(change.run_id, None)
            if known is not None:
                found[change.run_id] = known
        return found

    def keep(
        self,
        changes: Sequence[Prepared],
        outcomes: Sequence[Outcome],
        runs: Mapping[str, RunState],
        *,
        before: Mapping[str, KnownRun],
        now: int,
    ) -> None:
        """Remember runs as a commit that stands has left them.

        Args:
            changes: What was committed.
            outcomes: What became of each.
            runs: The runs that were written.
            before: What was known of them.
            now: The instant of the commit.
        """
        stood: dict[str, list[tuple[Prepared, Committed]]] = {}
        refused = set[str]()
        for change, outcome in zip(changes, outcomes, strict=True):
            if isinstance(outcome, Committed):
                stood.setdefault(change.run_id, []).append((change, outcome))
            else:
                refused.add(change.run_id)
        for run_id, mine in stood.items():
            run = runs[run_id]
            if run_id in refused or run.is_over:
                continue
            known = before.get(run_id)
            # Whatever was done by others in between has made another version of it.
            is_unbroken = known is not None and known.version + len(mine) == run.version
            jobs = dict(known.jobs) if known is not None and is_unbroken else {}
            for change, outcome in mine:
                _follow(jobs, change, outcome, now=now)
            if run.closed or len(jobs) > MOST_JOBS:
                jobs = {}
            self._runs[run_id] = KnownRun(_row(run), run.version, now, jobs)
        while len(self._runs) > MOST_RUNS:
            self._runs.popitem(last=False)

    # The clock of the database.

    def anchor(self, instant: int) -> None:
        """Remember that the clock of the database has shown *instant* before this."""
        time = self._time()
        ahead = instant - int(time * _MICROS)
        # The answer that took least is the nearest to the truth.
        if self._ahead is None or ahead >= self._ahead or time - self._anchored_at > ANCHORED:
            self._ahead, self._anchored_at = ahead, time

    def drop_anchor(self) -> None:
        """Forget the clock of the database."""
        self._ahead = None

    def instant(self, *, not_before: int) -> int | None:
        """Return an instant that the database's clock has just shown, as far as anybody can tell; None if nobody can.

        Nothing may be built on it before the database has agreed.

        Args:
            not_before: An instant that it has shown already.
        """
        time = self._time()
        if self._ahead is None or time - self._anchored_at > ANCHORED:
            return None
        return max(int(time * _MICROS) + self._ahead, not_before)


def _row(run: RunState) -> tuple[Any, ...]:
    return (
        run.n,
        run.status,
        run.version,
        run.generation,
        run.events,
        None,
        run.active,
        run.waiting,
        run.holds,
        run.parent,
        run.tenant,
        run.flow_key,
    )


def _follow(jobs: dict[JobKey, JobRow], change: Prepared, outcome: Committed, *, now: int) -> None:
    """Take from *jobs* what the change-set settled, and add what it was granted."""
    if change.job is not None and change.change.settle is not None:
        jobs.pop(change.job, None)
    if outcome.paused:
        return
    for step in (change.change.step, *outcome.steps):
        for job in step.jobs:
            if job.grant is not None and not job.waits and job.queue not in outcome.withheld:
                # Status, epoch, end of the lease, lost epochs, give-up instant.
                jobs[job_key(job.key)] = (_RUNNING, 1, now, None, None)
