"""A kernel on Postgres and an application's table beside it, for tests of transactions that have both in them."""

from __future__ import annotations

from typing import Any, Final

import psycopg

from holdfast import Context, Registry, stage, workflow
from holdfast.kernel import Kernel
from holdfast.ports.blob_store import BlobStore
from holdfast_adapters.postgres import PostgresPersistence
from holdfast_adapters.schedulers import HeapScheduler
from holdfast_adapters.system import SystemClock, SystemIds
from holdfast_adapters.transports import DatabaseTransport

#: What an application has of its own; made anew for each test.
TABLE: Final = "DROP TABLE IF EXISTS public.purchase; CREATE TABLE public.purchase (id text PRIMARY KEY, cents bigint)"
INSERT: Final = "INSERT INTO public.purchase (id, cents) VALUES ('A-17', 4200)"


@stage
def charge(order: str, ctx: Context) -> str:
    """Return what it was given."""
    return order


payment = workflow("payment", input=str).pipe(charge)
approval = workflow("approval", input=str).wait_for("approval", str)


def kernel_on(store: PostgresPersistence, *, blob_store: BlobStore | None = None) -> Kernel:
    """Return a kernel on the store, which need not be open."""
    clock = SystemClock()
    return Kernel(
        persistence=store,
        blob_store=blob_store or store.blob_store,
        job_transport=DatabaseTransport(store),
        scheduler=HeapScheduler(clock),
        clock=clock,
        ids=SystemIds(),
        registry=Registry([payment, approval]),
    )


def make_table(url: str) -> None:
    """Make the application's table, empty."""
    with psycopg.connect(url) as connection:
        connection.execute(TABLE)


def there(url: str) -> tuple[list[str], list[str]]:
    """Return the purchases and the statuses of runs that everybody can see."""
    with psycopg.connect(url) as connection:
        return _column(connection, "SELECT id FROM public.purchase ORDER BY id"), _column(
            connection, "SELECT status FROM holdfast.run ORDER BY n"
        )


def _column(connection: psycopg.Connection[Any], query: str) -> list[str]:
    return [row[0] for row in connection.execute(query.encode())]
