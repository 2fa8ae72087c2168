"""Remove blobs that no run names: those of runs that were pruned or never came to be."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Final

import attrs

from holdfast.command import Command, Ports
from holdfast.naming import check_blob_key, check_duration, check_number

#: The most blobs of one batch.
MAX_BATCH: Final = 10_000
#: A run id as every `Ids` makes them, a UUIDv7: it begins with the milliseconds since 1970 at which it was made.
_RUN_ID: Final = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@attrs.frozen(kw_only=True)
class BlobCollectResult:
    """What one batch came to."""

    #: Blobs that went; in a trial those that would go.
    collected: int
    #: Blobs that were looked at.
    looked_at: int
    #: What to give as *after* for the next batch; null when there is none.
    next: str | None


@attrs.frozen(kw_only=True)
class BlobCollect(Command[BlobCollectResult]):
    """Look at the next *limit* blobs and remove those whose run does not exist.

    A crash between the removal of a run and that of its blobs leaves some, and so does a run that was refused after
    its input was put away. Only what lies under the id of a run is looked at; anything else is not the kernel's.
    """

    type: ClassVar[str] = "blob.collect"

    #: Blobs of a run id younger than this are left alone: the run may be about to come to be.
    grace: timedelta = timedelta(days=1)
    limit: int = 1_000
    #: The last key of the batch before.
    after: str | None = None
    #: Whether to tell what would go and remove nothing.
    trial: bool = False


async def handle(command: BlobCollect, ports: Ports) -> BlobCollectResult:
    """List first and ask for the runs then, so that a run which comes to be meanwhile is seen."""
    check_number("limit", command.limit, least=1, most=MAX_BATCH)
    check_duration("grace", command.grace)
    if command.after is not None:
        check_blob_key(command.after)
    keys = await ports.blob_store.list("", limit=command.limit, after=command.after)
    latest = ports.clock.now() - command.grace
    owners = {owner: made for owner in dict.fromkeys(key.partition("/")[0] for key in keys) if (made := _made(owner))}
    old = [owner for owner, made in owners.items() if made <= latest]
    missing = set(await ports.persistence.list_missing(old)) if old else set[str]()
    orphans = [key for key in keys if key.partition("/")[0] in missing]
    if not command.trial:
        for key in orphans:
            await ports.blob_store.delete(key)
    return BlobCollectResult(
        collected=len(orphans), looked_at=len(keys), next=keys[-1] if len(keys) == command.limit else None
    )


def _made(owner: str) -> datetime | None:
    """Return when a run id was made; None for what is no run id, such as the folder of the workers' cards."""
    found = _RUN_ID.fullmatch(owner)
    return None if found is None else _EPOCH + timedelta(milliseconds=int(found[1] + found[2], 16))
