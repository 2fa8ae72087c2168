"""Remove runs that ended long ago, with everything that belongs to them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import ClassVar, Final

import attrs

from holdfast.command import Command, Ports
from holdfast.naming import check_duration, check_number, check_text
from holdfast.ports.blob_store import BlobStore
from holdfast.ports.retention import Place, Terms

#: The most runs of one batch, which is one transaction.
MAX_BATCH: Final = 10_000
#: Blobs of a run that are listed at once.
PAGE: Final = 1_000
_MONTH: Final = timedelta(days=30)


@attrs.frozen(kw_only=True)
class RunPruneResult:
    """What one batch came to."""

    #: Runs that went; in a trial those that would go.
    pruned: int
    #: Runs that were looked at; those that did not go are still needed by something.
    looked_at: int
    #: Blobs that went with them.
    blobs: int
    #: Operation records that went because their run had gone long enough ago.
    operations: int
    #: What to give as *after* for the next batch; null when there is none.
    next: Place | None


@attrs.frozen(kw_only=True)
class RunPrune(Command[RunPruneResult]):
    """Look at the next *limit* runs that ended long enough ago and remove those that nothing refers to any more.

    A run stays while its parent or a child is live, a sink has not taken all its events, or its results under keys
    are kept. Batches may be stopped and repeated at any time.
    """

    type: ClassVar[str] = "run.prune"

    #: Runs go once they ended so long ago.
    older_than: timedelta = _MONTH
    #: A run that made results under keys stays at least so long.
    keep_results: timedelta = _MONTH
    #: Operation records and idempotency keys are kept so long after their run has gone.
    keep_operations: timedelta = _MONTH
    limit: int = 500
    #: Where the batch before ended.
    after: Place | None = None
    #: Whether to tell what would go and remove nothing.
    trial: bool = False


async def handle(command: RunPrune, ports: Ports) -> RunPruneResult:
    """Remove the rows of a batch in one transaction, and then its blobs."""
    check_number("limit", command.limit, least=1, most=MAX_BATCH)
    check_duration("older_than", command.older_than)
    check_duration("keep_results", command.keep_results)
    check_duration("keep_operations", command.keep_operations)
    if command.after is not None:
        check_text("after", command.after.run_id)
    terms = Terms(runs=command.older_than, results=command.keep_results, operations=command.keep_operations)
    pruned = await ports.persistence.prune(terms, limit=command.limit, after=command.after, trial=command.trial)
    blobs = operations = 0
    if not command.trial:
        # Behind the commit: a crash leaves blobs that `blob.collect` finds, never a run without them.
        blobs = await _remove_blobs(pruned.run_ids, ports.blob_store)
        operations = await ports.persistence.forget_operations(limit=command.limit)
    return RunPruneResult(
        pruned=len(pruned.run_ids), looked_at=pruned.looked_at, blobs=blobs, operations=operations, next=pruned.next
    )


async def _remove_blobs(run_ids: Iterable[str], blob_store: BlobStore) -> int:
    removed = 0
    for run_id in run_ids:
        keys = await blob_store.list(f"{run_id}/", limit=PAGE)
        while keys:
            for key in keys:
                await blob_store.delete(key)
            removed += len(keys)
            keys = await blob_store.list(f"{run_id}/", limit=PAGE) if len(keys) == PAGE else ()
    return removed
