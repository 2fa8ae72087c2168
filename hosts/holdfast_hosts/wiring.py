"""The composition root: from a store URL and workflows to a kernel with everything that a host needs."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol

import attrs

from holdfast.change import ZERO
from holdfast.command import Settings
from holdfast.errors import UnusableStore
from holdfast.kernel import Kernel
from holdfast.ports.blob_store import BlobStore
from holdfast.ports.clock import Clock
from holdfast.ports.definitions import Definitions
from holdfast.ports.event_sink import EventSink
from holdfast.ports.ids import Ids
from holdfast.ports.job_transport import JobTransport
from holdfast.ports.persistence import Persistence
from holdfast.ports.scheduler import Scheduler
from holdfast_adapters.schedulers import HeapScheduler, TellingScheduler
from holdfast_adapters.system import SystemClock, SystemIds
from holdfast_adapters.transports import DatabaseTransport, TellingTransport
from holdfast_hosts.blocking import LoopBridge
from holdfast_hosts.executors import HostExecutor
from holdfast_hosts.presence import Presence
from holdfast_hosts.settings import WorkerSettings
from holdfast_hosts.store_url import StoreKind, StoreUrl


class WakingScheduler(Scheduler, Protocol):
    """A scheduler that tells the hosts of this process when to wake up."""

    def subscribe(self, callback: Callable[[timedelta], None]) -> Callable[[], None]:
        """Call *callback* with the time to sleep whenever that gets shorter; return what ends the calls."""
        ...

    def next_in(self) -> timedelta | None:
        """Return how long to sleep, zero if something is due already, or None if nothing will be."""
        ...

    def pop_due(self) -> bool:
        """Forget what is due by now and return whether anything was."""
        ...


class Listening(Protocol):
    """Hears what other processes announce, for as long as somebody here wants to know."""

    @property
    def is_healthy(self) -> bool:
        """Whether all that is announced now is heard, so that looking for work can be rare."""
        ...

    def start(self) -> None:
        """Listen until `stop` was called as often as this."""
        ...

    async def stop(self) -> None:
        """Listen no more when nobody else does."""
        ...


class NoListening:
    """Hears nothing: other processes announce nothing in this store."""

    @property
    def is_healthy(self) -> bool:
        """Always False, so that work is looked for."""
        return False

    def start(self) -> None:
        """Do nothing."""

    async def stop(self) -> None:
        """Do nothing."""


@attrs.frozen(kw_only=True, eq=False)
class Store:
    """A store that no URL names: adapters of the application's own, which are opened and closed with the kernel."""

    persistence: Persistence
    blob_store: BlobStore


@attrs.frozen(kw_only=True, eq=False)
class Opened:
    """A kernel with the ports that hosts use directly, open for as long as its context lasts."""

    #: None for a store that no URL names.
    url: StoreUrl | None
    kernel: Kernel
    persistence: Persistence
    blob_store: BlobStore
    transport: JobTransport
    scheduler: WakingScheduler
    clock: Clock
    ids: Ids
    presence: Presence = attrs.field(factory=Presence)
    listening: Listening = attrs.field(factory=NoListening)


@asynccontextmanager
async def open_kernel(
    store: str | StoreUrl | Store,
    *,
    registry: Definitions,
    event_sinks: Sequence[EventSink] = (),
    services: Mapping[type[Any], object] | None = None,
    settings: Settings | None = None,
    concurrency: int = WorkerSettings().concurrency,
) -> AsyncGenerator[Opened, None]:
    """Open the store and give a kernel on it; close everything at the end.

    Args:
        store: A store URL, as `StoreUrl.parse` takes it, or adapters of the application's own.
        registry: The workflows that this process can execute.
        event_sinks: Where committed events go.
        services: What the application offers to its stages, by type.
        settings: The kernel's limits and durations.
        concurrency: How many sync stages run at once, each in a thread.

    Raises:
        UnusableStore: If the URL names no store that can be used.
        StoreUnavailable: If the store cannot be reached.
    """
    if isinstance(store, str):
        store = StoreUrl.parse(store)
    clock, ids = SystemClock(), SystemIds()
    parts = _store(store, clock=clock, ids=ids)
    persistence, transport, scheduler = parts.persistence, parts.transport, parts.scheduler
    executor, bridge = HostExecutor(threads=concurrency), LoopBridge()
    await persistence.open()
    try:
        # After the store, so that nothing is made beside a file that turns out to be somebody else's.
        blob_store = parts.make_blob_store()
        parts.begin()
        kernel = Kernel(
            persistence=persistence,
            blob_store=blob_store,
            job_transport=transport,
            scheduler=scheduler,
            clock=clock,
            ids=ids,
            registry=registry,
            event_sink=tuple(event_sinks),
            executor=executor,
            services=services,
            settings=settings,
            block_on=bridge.block_on,
        )
        yield Opened(
            url=store if isinstance(store, StoreUrl) else None,
            kernel=kernel,
            persistence=persistence,
            blob_store=blob_store,
            transport=transport,
            scheduler=scheduler,
            clock=clock,
            ids=ids,
            listening=parts.listening,
        )
    finally:
        bridge.close()
        executor.close()
        await parts.end()
        await persistence.close()


def blob_directory(database: Path) -> Path:
    """Return the directory in which the blobs of a SQLite database lie, beside its file."""
    return database.with_name(f"{database.name}.blobs")


async def _nothing() -> None:
    return


@attrs.frozen(kw_only=True, eq=False)
class _Parts:
    """What depends on the kind of store; none of it is open yet."""

    persistence: Persistence
    #: Makes the place for large payloads once the store is open.
    make_blob_store: Callable[[], BlobStore]
    transport: JobTransport
    scheduler: WakingScheduler
    listening: Listening = attrs.field(factory=NoListening)
    #: Called when the store is open, and before it is closed.
    begin: Callable[[], None] = lambda: None
    end: Callable[[], Awaitable[None]] = _nothing


def _store(store: StoreUrl | Store, *, clock: Clock, ids: Ids) -> _Parts:
    if isinstance(store, Store):
        given = store.blob_store
        return _alone(store.persistence, lambda: given, clock=clock)
    # Each technology is imported only when its store is asked for.
    match store.kind:
        case StoreKind.MEMORY:
            return _memory(clock)
        case StoreKind.SQLITE:
            return _sqlite(store, clock=clock)
        case StoreKind.POSTGRES:
            return _postgres(store, clock=clock, ids=ids)


def _alone(persistence: Persistence, make_blob_store: Callable[[], BlobStore], *, clock: Clock) -> _Parts:
    """Return the parts of a host that hears nothing of other processes."""
    return _Parts(
        persistence=persistence,
        make_blob_store=make_blob_store,
        transport=DatabaseTransport(persistence),
        scheduler=HeapScheduler(clock),
    )


def _memory(clock: Clock) -> _Parts:
    from holdfast_adapters.blobs import MemoryBlobStore
    from holdfast_adapters.memory import MemoryPersistence

    return _alone(MemoryPersistence(clock=clock), MemoryBlobStore, clock=clock)


def _sqlite(url: StoreUrl, *, clock: Clock) -> _Parts:
    from holdfast_adapters.blobs import LocalBlobStore

    assert url.path is not None, "a SQLite store is a file"
    try:
        from holdfast_adapters.sqlite import SqlitePersistence
    except ModuleNotFoundError as error:
        if error.name not in {"sqlite3", "_sqlite3"}:
            raise
        raise UnusableStore(
            str(url), why="This Python was built without SQLite.", fix="Install a Python that has the module sqlite3."
        ) from error
    directory = blob_directory(url.path)
    return _alone(SqlitePersistence(url.path, clock=clock), lambda: LocalBlobStore(directory), clock=clock)


def _postgres(url: StoreUrl, *, clock: Clock, ids: Ids) -> _Parts:
    assert url.address is not None, "a Postgres store has an address"
    try:
        from holdfast_adapters.postgres import PostgresPersistence
    except ImportError as error:
        if error.name != "psycopg":
            raise
        raise UnusableStore(
            str(url), why="This Python has no psycopg.", fix='Install it: pip install "holdfast[postgres]"'
        ) from error
    persistence = PostgresPersistence(url.address)
    if not url.notify:
        return _alone(persistence, lambda: persistence.blob_store, clock=clock)
    notices = persistence.make_notices(ids=ids, listen_at=url.listen_at)
    transport = TellingTransport(persistence, tell=notices.tell)
    scheduler = TellingScheduler(clock, tell=notices.tell)

    def hear(payload: str) -> None:
        notice = notices.hear(payload)
        if notice is not None:
            transport.hear(notice.queues)
            if notice.now:
                scheduler.wake_in(ZERO, local=True)
            if notice.later is not None:
                scheduler.wake_in(notice.later, local=True)

    def look() -> None:
        # What was announced while nothing was heard is found by one look, and so is the way back to polling.
        scheduler.wake_in(ZERO, local=True)

    notices.listener.attach(on_notice=hear, on_change=look)
    return _Parts(
        persistence=persistence,
        make_blob_store=lambda: persistence.blob_store,
        transport=transport,
        scheduler=scheduler,
        listening=notices.listener,
        begin=notices.open,
        end=notices.close,
    )
