"""Poll suspended stages that are due."""

from __future__ import annotations

from typing import ClassVar

import attrs

from holdfast.attempts import attempt, hand_back
from holdfast.authoring.watch import Watch
from holdfast.command import Command, Ports
from holdfast.entities.stage import StageStatus
from holdfast.errors import Rejected, Unavailable
from holdfast.naming import check_name, check_number
from holdfast.ports.work import LeaseRequest
from holdfast.verdicts import JobOutcome


@attrs.frozen(kw_only=True)
class StagePollSuspendedResult:
    """What the polls came to."""

    checked: int
    #: Stages that were done and completed.
    resumed: int
    #: Stages that failed for good.
    failed: int
    resumed_run_ids: tuple[str, ...]


@attrs.frozen(kw_only=True)
class StagePollSuspended(Command[StagePollSuspendedResult]):
    """Poll at most *max_checks* suspended stages that are due; each is leased first, so no two hosts poll it."""

    type: ClassVar[str] = "stage.pollSuspended"

    worker: str
    max_checks: int = 50
    queues: frozenset[str] = frozenset({"default"})


async def handle(command: StagePollSuspended, ports: Ports) -> StagePollSuspendedResult:
    """Poll stages one after the other; a worker that has slots polls them like any other job instead."""
    check_name("worker", command.worker)
    check_number("max_checks", command.max_checks)
    checked = resumed = failed = 0
    run_ids: dict[str, None] = {}
    while checked < command.max_checks:
        # One lease at a time: a slow poll must not let the leases of those behind it run out.
        leases = await ports.job_transport.dequeue(
            LeaseRequest(
                worker=command.worker,
                limit=1,
                ttl=ports.settings.lease_ttl,
                known=ports.definitions.known(),
                queues=command.queues,
                statuses=frozenset({StageStatus.SUSPENDED}),
            )
        )
        if not leases:
            break
        lease = leases[0]
        checked += 1
        try:
            attempted = await attempt(lease, ports, given={}, stay=None, watch=Watch())
        except (Rejected, Unavailable):
            # Later, so that a stage that cannot be polled here does not keep back those behind it.
            await hand_back(lease, ports, delay=ports.settings.lease_ttl)
            raise
        if attempted.outcome is JobOutcome.COMPLETED:
            resumed += 1
            run_ids[lease.key.run_id] = None
        elif attempted.outcome is JobOutcome.FAILED:
            failed += 1
    return StagePollSuspendedResult(checked=checked, resumed=resumed, failed=failed, resumed_run_ids=tuple(run_ids))
