"""The cards of workers: how they come, go and end, and what workers warn of."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs
from structlog.testing import capture_logs

from holdfast import Flow, RunStatus, workflow
from holdfast.errors import StoreUnavailable
from holdfast_adapters.blobs import MemoryBlobStore
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.system import SystemClock
from holdfast_hosts.roster import FOLDER, LINGERS, PAGE, Card, CardHolder, lacking, list_cards
from holdfast_hosts.wiring import Opened, Store
from tests.hosts.scenes import LINE, ONE, add_one, create, ended, opened, quick, status, until, working

NOW: Final = datetime(2026, 3, 4, tzinfo=UTC)
CARD: Final = Card(
    worker="worker-1",
    host="h",
    pid=7,
    knows=frozenset({("w", "1"), ("v", "2")}),
    queues=frozenset({"default"}),
    until=NOW + timedelta(minutes=1),
)
#: The same workflow as one that workers know here, in a version that they lack.
NEWER: Final[Flow[int, int]] = workflow("one", input=int, version="2").pipe(add_one)
STRANGE: Final[Flow[int, int]] = workflow("strange", input=int, version="1").pipe(add_one)


async def shown(blobs: MemoryBlobStore, *, now: datetime = NOW, tidy: bool = False) -> list[Card]:
    """Return the cards that are valid *now*."""
    return list(await list_cards(blobs, now=now, tidy=tidy))


def test_a_card_is_read_as_it_was_shown() -> None:
    """A card that is shown is found with everything on it, and a renewed one takes the place of the one before."""

    async def main() -> None:
        blobs, later = MemoryBlobStore(), attrs.evolve(CARD, until=NOW + timedelta(minutes=2))
        holder = CardHolder(blobs)
        await holder.show(CARD)
        assert await shown(blobs) == [CARD]
        await holder.show(later)
        assert await shown(blobs) == [later]
        assert len(await blobs.list(f"{FOLDER}/", limit=10)) == 1
        await holder.withdraw()
        await holder.withdraw()
        assert await blobs.list("", limit=10) == []

    asyncio.run(main())


def test_a_card_ends_by_itself() -> None:
    """A worker that died without a word is not there once its card has ended; much later the card is removed."""

    async def main() -> None:
        blobs = MemoryBlobStore()
        await CardHolder(blobs).show(CARD)
        assert await shown(blobs, now=CARD.until, tidy=True) == []
        assert len(await blobs.list("", limit=10)) == 1
        assert await shown(blobs, now=CARD.until + LINGERS * 2) == []
        assert len(await blobs.list("", limit=10)) == 1
        assert await shown(blobs, now=CARD.until + LINGERS * 2, tidy=True) == []
        assert await blobs.list("", limit=10) == []

    asyncio.run(main())


def test_many_cards_are_read_in_pages() -> None:
    """More workers than one page holds are all found."""

    async def main() -> None:
        blobs = MemoryBlobStore()
        for number in range(PAGE + 5):
            await CardHolder(blobs).show(attrs.evolve(CARD, worker=f"worker-{number}"))
        assert len(await shown(blobs)) == PAGE + 5

    asyncio.run(main())


def test_versions_that_no_card_names_are_lacking() -> None:
    """A version counts as there when any worker has it."""
    live = [("v", "1", 3), ("v", "2", 1), ("w", "1", 2)]
    assert lacking(live, [CARD]) == [("v", "1", 3)]
    assert lacking(live, []) == live


def test_a_worker_shows_its_card_while_it_runs() -> None:
    """From start to stop there is a card with what the worker knows, and none after that, also when it was aborted."""

    async def main() -> None:
        async with opened(flows=(ONE, LINE)) as there:

            async def cards() -> list[Card]:
                return list(await list_cards(there.blob_store, now=there.clock.now()))

            async with working(there) as worker:
                async with asyncio.timeout(20):
                    while not (found := await cards()):
                        await asyncio.sleep(0.002)
                (card,) = found
                assert card.worker == worker.stats().worker_id
                assert card.knows == {("one", "1"), ("line", "1")}
            assert await cards() == []
            async with working(there) as worker:
                await until(lambda: worker.is_running)
                worker.abort()
            assert await cards() == []

    asyncio.run(main())


def test_a_worker_leaves_alone_what_it_lacks_and_says_so_once() -> None:
    """Runs of versions that a worker lacks stay as they are; it warns once for each version, however often it looks."""

    async def main() -> None:
        persistence, blobs = MemoryPersistence(clock=SystemClock()), MemoryBlobStore()
        store = Store(persistence=persistence, blob_store=blobs)
        async with opened(store, flows=(NEWER, STRANGE)) as other:
            left = [await create(other, NEWER), await create(other, NEWER), await create(other, STRANGE)]
        settings = quick(notice_interval=timedelta(milliseconds=5))
        async with opened(store, flows=(ONE,)) as there:
            with capture_logs() as logs:
                async with working(there, settings):
                    await until(lambda: len(told(logs)) >= 2)
                    assert await ended(there, await create(there, ONE)) == [RunStatus.COMPLETED]
                    await renewed(there)
            assert told(logs) == [("warning", "one", "2", 2, ["1"]), ("info", "strange", "1", 1, [])]
            assert [await status(there, run_id) for run_id in left] == [RunStatus.PENDING] * 3

    asyncio.run(main())


def told(logs: Any) -> list[tuple[str, str, str, int, list[str]]]:
    """Return what workers said of versions that they lack."""
    return [
        (line["log_level"], line["workflow"], line["version"], line["runs"], line["has"])
        for line in list(logs)
        if line["event"].startswith("runs are left alone")
    ]


async def renewed(there: Opened) -> None:
    """Wait until the worker's card was renewed several times more."""
    keys: set[str] = set()
    async with asyncio.timeout(20):
        while len(keys) < 5:
            keys.update(await there.blob_store.list(f"{FOLDER}/", limit=10))
            await asyncio.sleep(0.001)


class NoBlobs(MemoryBlobStore):
    """A blob store that cannot be reached."""

    async def put(self, key: str, data: bytes) -> None:
        """Fail."""
        raise StoreUnavailable("the test cut the line")


def test_a_worker_works_without_its_card() -> None:
    """A worker that cannot make itself known executes runs all the same, and counts that as an error."""

    async def main() -> None:
        store = Store(persistence=MemoryPersistence(clock=SystemClock()), blob_store=NoBlobs())
        async with opened(store, flows=(ONE,)) as there, working(there) as worker:
            assert await ended(there, await create(there, ONE)) == [RunStatus.COMPLETED]
            await until(lambda: worker.stats().errors == 1)

    asyncio.run(main())
