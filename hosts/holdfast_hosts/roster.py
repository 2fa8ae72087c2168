"""Which workers there are, for people: each leaves a card in the blob store and renews it for as long as it runs.

Nothing is decided by cards. Their instants are those of the workers' own clocks, so a card may be taken for one that
has ended, or the other way round, by as much as clocks differ.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import attrs

from holdfast.errors import BlobMissing
from holdfast.ports.blob_store import BlobStore
from holdfast.ports.work import KnownWorkflow

#: Where cards lie among the blobs.
FOLDER: Final = "workers"
#: Cards that are read at once, and in all.
PAGE: Final = 200
MOST: Final = 10_000
#: How long a card that has ended is left lying.
LINGERS: Final = timedelta(hours=1)


@attrs.frozen(kw_only=True)
class Card:
    """What a worker says of itself."""

    worker: str
    host: str
    pid: int
    knows: frozenset[KnownWorkflow]
    queues: frozenset[str]
    #: Until when it is there unless it renews its card.
    until: datetime


class CardHolder:
    """Keeps the card of one worker."""

    def __init__(self, blob_store: BlobStore) -> None:
        self._blob_store = blob_store
        self._key: str | None = None
        self._number = 0

    async def show(self, card: Card) -> None:
        """Show *card* instead of the one before.

        Raises:
            Unavailable: If the blob store cannot be reached.
        """
        self._number += 1
        before, self._key = self._key, f"{FOLDER}/{card.worker}@{self._number:09}"
        await self._blob_store.put(self._key, _written(card))
        if before is not None:
            await self._blob_store.delete(before)

    async def withdraw(self) -> None:
        """Show no card any more.

        Raises:
            Unavailable: If the blob store cannot be reached.
        """
        if self._key is not None:
            await self._blob_store.delete(self._key)
            self._key = None


async def list_cards(blob_store: BlobStore, *, now: datetime, tidy: bool = False) -> Sequence[Card]:
    """Return the cards of the workers that are there, by worker.

    Args:
        blob_store: Where the cards lie.
        now: The present instant.
        tidy: Whether to remove those of workers that ended long ago without a word.

    Raises:
        Unavailable: If the blob store cannot be reached.
    """
    cards: dict[str, Card] = {}
    after: str | None = None
    for _ in range(MOST // PAGE):
        keys = await blob_store.list(f"{FOLDER}/", limit=PAGE, after=after)
        for key in keys:
            card = await _read(key, blob_store)
            if card is not None and card.until > now:
                cards[card.worker] = card
            elif tidy and card is not None and card.until + LINGERS < now:
                await blob_store.delete(key)
        if len(keys) < PAGE:
            break
        after = keys[-1]
    return list(cards.values())


def lacking(live: Iterable[tuple[str, str, int]], cards: Iterable[Card]) -> list[tuple[str, str, int]]:
    """Return those versions with live runs that no worker has."""
    known = {one for card in cards for one in card.knows}
    return [one for one in live if one[:2] not in known]


async def _read(key: str, blob_store: BlobStore) -> Card | None:
    try:
        told: dict[str, Any] = json.loads(await blob_store.get(key))
    except BlobMissing:
        # It was renewed between the list and now; the new one is behind it in the list, or seen next time.
        return None
    return Card(
        worker=told["worker"],
        host=told["host"],
        pid=told["pid"],
        knows=frozenset((workflow_id, version) for workflow_id, version in told["knows"]),
        queues=frozenset(told["queues"]),
        until=datetime.fromisoformat(told["until"]),
    )


def _written(card: Card) -> bytes:
    told = {
        "worker": card.worker,
        "host": card.host,
        "pid": card.pid,
        "knows": sorted(card.knows),
        "queues": sorted(card.queues),
        "until": card.until.isoformat(),
    }
    return json.dumps(told).encode()
