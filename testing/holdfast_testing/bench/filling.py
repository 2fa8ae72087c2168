"""Fills a store with runs that have ended, by the change-sets that would have ended them, in bulk."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from holdfast.change import Change, Committed, Grant
from holdfast.codec import digest
from holdfast.decide.admit import admit
from holdfast.decide.advance import advance
from holdfast.decide.create import Wanted, create
from holdfast.decide.route import Keep
from holdfast.entities.definition import Definition
from holdfast.entities.payload import Payload
from holdfast.entities.run import RunHeader
from holdfast.entities.stage import Lease
from holdfast.kernel import Kernel
from holdfast.ports.persistence import Persistence
from holdfast.settling import leased

#: Change-sets in one commit.
BATCH: Final = 500
_WORKER: Final = "filler"
_KEEP: Final = Keep(grant=Grant(worker=_WORKER, ttl=timedelta(minutes=10)), queues=frozenset({"default"}))


async def fill(kernel: Kernel, definition: Definition, *, runs: int) -> None:
    """Add *runs* finished runs of *definition*, which is a line of stages."""
    left = runs
    while left:
        number = min(left, BATCH)
        await _finish(kernel, definition, [kernel.ports.ids.new_id() for _ in range(number)])
        left -= number


async def _finish(kernel: Kernel, definition: Definition, run_ids: Sequence[str]) -> None:
    store = kernel.ports.persistence
    headers = [_header(run_id, definition) for run_id in run_ids]
    await _stand(store, [create(header, Wanted()) for header in headers])
    pending = await store.list_pending(limit=len(headers), known=frozenset({(definition.id, definition.version)}))
    changes = [admit(run, definition=definition, keep=_KEEP) for run in pending]
    leases = await _granted(store, changes, [run.header for run in pending])
    while leases:
        changes = [_advanced(lease, definition) for lease in leases]
        leases = await _granted(store, changes, [lease.run for lease in leases])


def _advanced(lease: Lease, definition: Definition) -> Change:
    (edge,) = definition.graph.outgoing[lease.key.stage_id]
    return advance(lease, definition=definition, output=lease.run.input, edge=edge, keep=_KEEP)


async def _granted(store: Persistence, changes: Sequence[Change], headers: Sequence[RunHeader]) -> list[Lease]:
    """Commit *changes* and return the leases that they gave."""
    await _stand(store, changes)
    return [lease for change, header in zip(changes, headers, strict=True) for lease in _leases(change, header)]


async def _stand(store: Persistence, changes: Sequence[Change]) -> None:
    for outcome in await store.commit(changes):
        assert isinstance(outcome, Committed), "nobody else is at work in this store"


def _leases(change: Change, header: RunHeader) -> list[Lease]:
    return [leased(job, run=header) for job in change.step.jobs]


def _header(run_id: str, definition: Definition) -> RunHeader:
    text = "1"
    return RunHeader(
        id=run_id,
        tenant="",
        workflow_id=definition.id,
        workflow_version=definition.version,
        priority=5,
        input=Payload(text=text, digest=digest(text), size=len(text)),
        config="{}",
    )
