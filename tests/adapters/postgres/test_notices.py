"""Notices between processes: what is told, that nobody waits for it, and that a listener knows how well it hears."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Final

import psycopg
import pytest

from holdfast import RunCreate, run_sync
from holdfast.change import ZERO
from holdfast_adapters.postgres import PostgresPersistence, listening, within
from holdfast_adapters.postgres.notices import CHANNEL, FARTHEST, MOST_QUEUES, Notice, Notices, written
from holdfast_adapters.system import SystemIds
from tests.adapters.postgres.joined import kernel_on, make_table
from tests.adapters.postgres.proxy import Proxy, proxy

SECOND: Final = timedelta(seconds=1)


class Process:
    """What one process has of it: a store, its notices, and what it has heard."""

    def __init__(self, url: str, *, listen_at: str | None = None) -> None:
        self.store = PostgresPersistence(url)
        self.notices = self.store.make_notices(ids=SystemIds(), listen_at=listen_at)
        self.listener = self.notices.listener
        self.heard: list[Notice] = []
        #: How often health came or went.
        self.changes = 0
        self.listener.attach(on_notice=self._hear, on_change=self._change)

    def _hear(self, payload: str) -> None:
        notice = self.notices.hear(payload)
        if notice is not None:
            self.heard.append(notice)

    def _change(self) -> None:
        self.changes += 1


@asynccontextmanager
async def process(
    url: str, *, listen_at: str | None = None, listens: bool = True, hears: bool = True
) -> AsyncGenerator[Process, None]:
    """Open one, and wait until it hears if it ever will."""
    one = Process(url, listen_at=listen_at)
    await one.store.open()
    one.notices.open()
    if listens:
        one.listener.start()
    try:
        await until(lambda: one.listener.is_healthy or not listens or not hears)
        yield one
    finally:
        if listens:
            await one.listener.stop()
        await one.notices.close()
        await one.store.close()


async def until(condition: Callable[[], object]) -> None:
    """Wait until *condition* holds."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.002)


@asynccontextmanager
async def overheard(url: str) -> AsyncGenerator[list[str], None]:
    """Collect every payload on the channel, whoever sent it."""
    payloads: list[str] = []
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        connection.add_notify_handler(lambda notice: payloads.append(notice.payload))
        await connection.execute(f"LISTEN {CHANNEL}")
        yield payloads
        # The answer comes behind everything that was sent before.
        await connection.execute("SELECT 1")


def listeners(url: str, *, end: bool = False) -> int:
    """Return how many connections listen for notices; with *end* they are ended by the server."""
    act = "pg_terminate_backend(pid)" if end else "true"
    with psycopg.connect(url, autocommit=True) as connection:
        ask = f"""
            SELECT {act} FROM pg_stat_activity
            WHERE application_name = 'holdfast listener' AND datname = current_database()"""
        return len(connection.execute(ask.encode()).fetchall())


def test_a_notice_reaches_the_others_and_not_its_sender(url: str) -> None:
    """What one process tells another hears, with queue and delay, and the teller does not."""

    async def main() -> None:
        async with process(url) as one, process(url) as other:
            one.notices.tell(ZERO, "gpu")
            await until(lambda: other.heard)
            assert other.heard == [Notice(queues=frozenset({"gpu"}))]
            other.notices.tell(1.5 * SECOND)
            await until(lambda: one.heard)
            assert one.heard == [Notice(later=1.5 * SECOND)]
            assert len(other.heard) == 1

    asyncio.run(main())


def test_what_is_told_together_is_one_notice(url: str) -> None:
    """However much becomes due in one wave, it is one notice with what comes first; later ones keep their distance."""

    async def main() -> list[str]:
        async with process(url, listens=False) as one:
            async with overheard(url) as payloads:
                for n in range(1_000):
                    one.notices.tell(timedelta(seconds=n % 50), f"q{n % 3}")
                await until(lambda: not one.notices.is_telling)
            return payloads

    (payload,) = asyncio.run(main())
    assert hear(payload) == Notice(queues=frozenset({"q0", "q1", "q2"}), later=SECOND)


def test_a_stream_of_notices_is_slowed_down(url: str) -> None:
    """One process sends at most one notice in each pause, however long it goes on, and the last is not lost."""

    async def main() -> None:
        async with process(url, listens=False) as one:
            async with overheard(url) as payloads:
                loop = asyncio.get_running_loop()
                begun = loop.time()
                while loop.time() < begun + 0.2:
                    one.notices.tell(ZERO)
                    await asyncio.sleep(0)
                one.notices.tell(ZERO, "last")
                await until(lambda: not one.notices.is_telling)
            assert 2 <= len(payloads) <= 1 + (loop.time() - begun) / 0.01

    asyncio.run(main())


def test_what_was_told_last_is_sent_before_the_store_closes(url: str) -> None:
    """A process that creates something and ends at once has told others of it."""

    async def main() -> list[str]:
        async with overheard(url) as payloads, process(url, listens=False) as one:
            one.notices.tell(ZERO)
            await asyncio.sleep(0)
            one.notices.tell(SECOND)
        return payloads

    last = hear(asyncio.run(main())[-1])
    assert last is not None
    assert last.later == SECOND


def test_telling_takes_no_time_and_raises_nothing(url: str, caplog: pytest.LogCaptureFixture) -> None:
    """A server that answers nobody, a thread, a store that is closed: telling is a call that returns."""

    async def main() -> None:
        async with proxy(url) as through:
            one = Process(through.url)
            one.notices.tell(ZERO)
            await one.store.open()
            one.notices.open()
            through.hush()
            one.notices.tell(ZERO)
            thread = threading.Thread(target=one.notices.tell, args=(ZERO, "a"))
            thread.start()
            thread.join()
            # A connection that ends is met by whoever sends, and by nobody else.
            through.cut()
            await one.store.close()
            await until(lambda: not one.notices.is_telling)
            await one.notices.close()
            one.notices.tell(ZERO)

    asyncio.run(main())
    assert "could not be told" in caplog.text


def test_what_is_far_away_is_not_told(url: str) -> None:
    """Of what is due after everybody has looked for himself nobody is told."""

    async def main() -> list[str]:
        async with process(url, listens=False) as one:
            async with overheard(url) as payloads:
                one.notices.tell(FARTHEST + SECOND)
                one.notices.tell(timedelta.max, "a")
                one.notices.tell(FARTHEST, "b")
                await until(lambda: not one.notices.is_telling)
            return payloads

    (payload,) = asyncio.run(main())
    assert hear(payload) == Notice(later=FARTHEST)


def hear(payload: str) -> Notice | None:
    """Return what a process hears in *payload*."""
    return Process("postgresql://nobody@/nowhere").notices.hear(payload)


def test_payloads_stay_small() -> None:
    """A notice of more queues than fit concerns everybody, and a delay is never told too short."""
    queues = [f"{n:>04}" * 90 for n in range(MOST_QUEUES + 1)]
    assert hear(written(Notice(queues=frozenset(queues)), name="x")) == Notice(now=True)
    most = Notice(queues=frozenset(queues[1:]), later=1.5 * SECOND)
    assert len(written(most, name="x" * 36).encode()) < 8_000
    assert hear(written(most, name="x")) == most
    assert hear(written(Notice(later=timedelta(microseconds=1)), name="x")) == Notice(later=SECOND / 1_000)


@pytest.mark.parametrize("payload", ["", "hello", "[]", "{}", '{"from": "x", "queues": 1}', '{"from": "x", "in": "y"}'])
def test_a_payload_that_nobody_understands_makes_hosts_look(payload: str) -> None:
    """Whatever stands on the channel, from another version or from somebody else, costs one look."""
    assert hear(payload) == Notice(now=True)


def test_a_killed_connection_is_replaced(url: str) -> None:
    """A listener whose backend is killed says so, makes another connection, and hears again."""

    async def main() -> None:
        async with process(url) as one, process(url, listens=False) as other:
            for n in range(1, 4):
                assert one.changes == 2 * n - 1
                assert listeners(url, end=True) == 1
                await until(lambda: one.changes == 2 * n)  # noqa: B023 - awaited at once
                await until(lambda: one.listener.is_healthy)
                other.notices.tell(n * SECOND, "a")
                await until(lambda: len(one.heard) == n)  # noqa: B023 - awaited at once
        assert one.heard == [Notice(later=n * SECOND) for n in (1, 2, 3)]
        assert listeners(url) == 0

    asyncio.run(main())


def test_a_connection_that_went_silent_is_noticed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A way to the server on which nothing passes any more, without a word, is found out and replaced."""
    monkeypatch.setattr(listening, "SILENCE_SECONDS", 0.05)
    monkeypatch.setattr(listening, "PATIENCE_SECONDS", 0.5)

    async def main() -> None:
        async with (
            proxy(url) as through,
            process(url, listen_at=through.url) as one,
            process(url, listens=False) as other,
        ):
            through.hush()
            await until(lambda: one.changes == 2)
            await until(lambda: one.listener.is_healthy)
            other.notices.tell(ZERO)
            await until(lambda: one.heard)

    asyncio.run(main())


class Pooler(Proxy):
    """A way on which statements are answered and no notice ever arrives, as through a pooler in transaction mode."""

    def passes_back(self, data: bytes) -> bool:
        """Keep back what names a channel, of which only a notice does."""
        return f"{CHANNEL}_".encode() not in data


def test_a_connection_that_hears_nothing_never_counts_as_healthy(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Where LISTEN is accepted and no notice passes, the listener says that it hears nothing, once, and why."""
    monkeypatch.setattr(listening, "PATIENCE_SECONDS", 0.3)
    attempts: list[int] = []

    def at_once(failures: int) -> float:
        attempts.append(failures)
        return 0.0

    async def main() -> None:
        async with (
            proxy(url, kind=Pooler) as through,
            process(url, listen_at=through.url, hears=False) as deaf,
        ):
            monkeypatch.setattr(deaf.listener, "_backoff", at_once)
            await until(lambda: len(attempts) == 3)
            assert not deaf.listener.is_healthy
            assert (deaf.changes, deaf.heard) == (0, [])

    asyncio.run(main())
    warnings = [record for record in caplog.records if record.levelname == "WARNING"]
    assert ["transaction mode" in warning.getMessage() for warning in warnings] == [True]


def test_a_server_that_cannot_be_reached_is_tried_ever_more_seldom() -> None:
    """The pauses between attempts double up to a bound, with a part of chance."""
    notices: Notices = Process("postgresql://nobody@127.0.0.1:1/nowhere?password=hunter2").notices
    pauses = [notices.listener._backoff(failures) for failures in range(1, 40)]
    assert pauses[0] <= listening.BACKOFF_SECONDS
    assert all(listening.MOST_BACKOFF_SECONDS / 2 <= pause <= listening.MOST_BACKOFF_SECONDS for pause in pauses[12:])


def test_listening_needs_a_connection_only_while_somebody_listens(url: str) -> None:
    """Two hosts of one process share a connection, which ends with the second; a process that only tells has none."""

    async def main() -> None:
        async with process(url, listens=False) as one:
            assert listeners(url) == 0
            one.listener.start()
            one.listener.start()
            await until(lambda: one.listener.is_healthy)
            await one.listener.stop()
            assert listeners(url) == 1
            await one.listener.stop()
            await until(lambda: listeners(url) == 0)
            assert not one.listener.is_healthy

    asyncio.run(main())


def test_an_address_that_cannot_be_read_is_told_without_its_password(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A wrong address to listen at leaves the store as it is; what is logged holds no secret."""

    async def main() -> None:
        async with process(url, listen_at="password=hunter2 nonsense", hears=False):
            await until(lambda: "not heard" in caplog.text)

    asyncio.run(main())
    assert "hunter2" not in caplog.text


def test_others_are_told_at_the_commit_of_a_joined_transaction(url: str) -> None:
    """Workers hear that something is due when they can see it, and nothing of what was rolled back."""
    make_table(url)
    with psycopg.connect(url) as connection, psycopg.connect(url, autocommit=True) as worker:
        worker.execute("LISTEN holdfast")
        joined = within(connection, kernel_on(PostgresPersistence(url)))
        run_sync(joined.dispatch(RunCreate(workflow_id="payment", input="A-17")))
        connection.rollback()
        run_sync(joined.dispatch(RunCreate(workflow_id="payment", input="A-17")))
        worker.execute("SELECT 1")
        assert list(worker.notifies(timeout=0)) == []
        connection.commit()
        (notice,) = worker.notifies(timeout=5, stop_after=1)
        assert json.loads(notice.payload)["from"] == ""
