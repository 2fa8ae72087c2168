"""Admit pending runs: make them RUNNING and their entry stages live."""

from __future__ import annotations

from typing import ClassVar

import attrs

from holdfast.change import Change, Committed, Grant
from holdfast.command import IN_PROCESS, Command, Ports
from holdfast.decide.admit import admit
from holdfast.decide.route import Keep
from holdfast.entities.run import Run
from holdfast.entities.stage import Lease, StageKey
from holdfast.naming import check_name, check_number
from holdfast.settling import announce, granted, leased


@attrs.frozen(kw_only=True)
class ClaimedRun:
    """A run that was admitted, with its entry jobs."""

    run_id: str
    workflow_id: str
    jobs: tuple[StageKey, ...]


@attrs.frozen(kw_only=True)
class RunClaimPendingResult:
    """The admitted runs."""

    claimed: tuple[ClaimedRun, ...]
    #: Leases on entry jobs that went to the asking worker at once.
    leases: tuple[Lease, ...] = attrs.field(default=(), metadata=IN_PROCESS)
    #: Runs that were pending when looked for and that another host admitted first: there may be more to admit.
    missed: int = 0
    #: The queues of entry jobs that would have gone to the asking worker but for the limits of their queues.
    withheld: frozenset[str] = attrs.field(default=frozenset(), metadata=IN_PROCESS)


@attrs.frozen(kw_only=True)
class RunClaimPending(Command[RunClaimPendingResult]):
    """Admit at most *max_claims* pending runs of the workflow versions known here.

    Runs of other versions are left alone. A run that another host admitted first, or whose admission cannot be
    decided, is left out and does not disturb the others.
    """

    type: ClassVar[str] = "run.claimPending"

    worker: str
    max_claims: int = 10
    #: Queues of which the worker takes one entry job of each run at once.
    keep_queues: frozenset[str] = attrs.field(default=frozenset(), metadata=IN_PROCESS)


async def handle(command: RunClaimPending, ports: Ports) -> RunClaimPendingResult:
    """Admit pending runs, highest priority first, then the oldest."""
    check_name("worker", command.worker)
    check_number("max_claims", command.max_claims)
    runs = await ports.persistence.list_pending(limit=command.max_claims, known=ports.definitions.known())
    if not runs:
        return RunClaimPendingResult(claimed=())
    grant = Grant(worker=command.worker, ttl=ports.settings.lease_ttl)
    stay = Keep(grant=grant, queues=command.keep_queues) if command.keep_queues else None
    changes = [
        admit(run, definition=ports.definitions.get(run.header.workflow_id, run.header.workflow_version), keep=stay)
        for run in runs
    ]
    outcomes = await ports.persistence.commit(changes)
    claimed: list[ClaimedRun] = []
    leases: list[Lease] = []
    withheld: set[str] = set()
    for run, change, outcome in zip(runs, changes, outcomes, strict=True):
        if not isinstance(outcome, Committed):
            continue
        await announce(change, outcome, ports)
        jobs = tuple(job.key for job in change.step.jobs)
        claimed.append(ClaimedRun(run_id=run.id, workflow_id=run.header.workflow_id, jobs=jobs))
        leases.extend(_leases(run, change, outcome))
        withheld |= outcome.withheld
    return RunClaimPendingResult(
        claimed=tuple(claimed),
        leases=tuple(leases),
        missed=len(runs) - len(claimed),
        withheld=frozenset(withheld),
    )


def _leases(run: Run, change: Change, committed: Committed) -> list[Lease]:
    return [leased(job, run=run.header) for job in granted(change, committed)]
