"""A kernel for programs that only start, answer and cancel runs, each within a transaction of their own."""

from __future__ import annotations

from holdfast.command import Settings
from holdfast.errors import UnusableStore
from holdfast.kernel import Kernel
from holdfast.ports.definitions import Definitions
from holdfast_adapters.schedulers import HeapScheduler
from holdfast_adapters.system import SystemClock, SystemIds
from holdfast_adapters.transports import DatabaseTransport
from holdfast_hosts.store_url import StoreKind, StoreUrl


def transactional_kernel(url: str, *, registry: Definitions, settings: Settings | None = None) -> Kernel:
    """Return a kernel on Postgres that connects to nothing by itself, for `holdfast_adapters.postgres.within`.

    It needs neither an event loop nor closing, so a web application without a loop makes one when it starts. Workers
    elsewhere execute what it creates; `open_kernel` is for programs that do more.

    Args:
        url: The store, as workers name it.
        registry: The workflows whose runs are started or answered here.
        settings: The kernel's limits and durations.

    Raises:
        UnusableStore: If the URL names no Postgres store.
    """
    store = StoreUrl.parse(url)
    if store.kind is not StoreKind.POSTGRES or store.address is None:
        raise UnusableStore(str(store), why="It is not on Postgres.", fix="Name the store as postgresql://…")
    from holdfast_adapters.postgres import PostgresPersistence

    clock = SystemClock()
    persistence = PostgresPersistence(store.address)
    return Kernel(
        persistence=persistence,
        blob_store=persistence.blob_store,
        job_transport=DatabaseTransport(persistence),
        scheduler=HeapScheduler(clock),
        clock=clock,
        ids=SystemIds(),
        registry=registry,
        settings=settings,
    )
