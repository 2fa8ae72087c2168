"""Take back leases that are past their end."""

from __future__ import annotations

from typing import ClassVar

import attrs

from holdfast.change import Committed, Finish
from holdfast.command import Command, Ports
from holdfast.decide.reap import reap
from holdfast.naming import check_number
from holdfast.settling import announce


@attrs.frozen(kw_only=True)
class LeaseReapStaleResult:
    """What became of the expired leases."""

    #: Jobs that are ready again.
    released: int
    #: Jobs whose attempts were used up; their runs failed.
    failed: int


@attrs.frozen(kw_only=True)
class LeaseReapStale(Command[LeaseReapStaleResult]):
    """Take back at most *limit* expired leases, whatever workflow they belong to."""

    type: ClassVar[str] = "lease.reapStale"

    limit: int = 100


async def handle(command: LeaseReapStale, ports: Ports) -> LeaseReapStaleResult:
    """Reap; a lease that was extended or settled meanwhile is left alone by its fence."""
    check_number("limit", command.limit)
    expired = await ports.persistence.list_expired(limit=command.limit)
    if not expired:
        return LeaseReapStaleResult(released=0, failed=0)
    changes = [reap(lease) for lease in expired]
    released = failed = 0
    for change, outcome in zip(changes, await ports.persistence.commit(changes), strict=True):
        if not isinstance(outcome, Committed):
            continue
        await announce(change, outcome, ports)
        if isinstance(change.settle, Finish):
            failed += 1
        else:
            released += 1
    return LeaseReapStaleResult(released=released, failed=failed)
