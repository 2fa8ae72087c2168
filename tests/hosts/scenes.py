"""Workflows, stores and waits that the tests of the hosts share."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Final, cast

from holdfast import (
    BatchStage,
    Context,
    Flow,
    Pending,
    Registry,
    Retry,
    RunCreate,
    RunStatus,
    Settings,
    stage,
    workflow,
)
from holdfast.errors import StoreUnavailable
from holdfast.events import Event
from holdfast.ports.event_sink import EventSink
from holdfast.ports.persistence import Persistence
from holdfast_adapters.blobs import MemoryBlobStore
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.system import SystemClock
from holdfast_hosts.settings import HeartbeatSettings, WorkerSettings
from holdfast_hosts.wiring import Opened, Store, open_kernel
from holdfast_hosts.worker import Worker

#: A wait that ends long before, unless something is broken.
PATIENCE: Final = 20.0
#: A lease short enough for a test to outlive, and long enough for a busy machine to extend in time.
LEASE: Final = timedelta(milliseconds=600)
ONCE: Final = Retry(1)
QUICK: Final = HeartbeatSettings(tick=timedelta(milliseconds=30))


def quick(**changes: Any) -> WorkerSettings:
    """Return settings of a worker that looks and beats often."""
    settings: dict[str, Any] = {
        "heartbeat": QUICK,
        "poll_max": timedelta(milliseconds=50),
        "reap_interval": timedelta(milliseconds=50),
        "flush_interval": timedelta(milliseconds=50),
        "drain_timeout": timedelta(seconds=PATIENCE),
        "backoff_base": timedelta(milliseconds=10),
        "backoff_cap": timedelta(milliseconds=100),
    }
    return WorkerSettings(**(settings | changes))


class Scene:
    """What stages and tests tell each other."""

    def __init__(self) -> None:
        #: Set when a stage that waits has begun; for stages in threads as well.
        self.begun = threading.Event()
        #: Lets such a stage go on.
        self.go_on = threading.Event()
        #: What stages noted.
        self.notes: list[str] = []

    async def has_begun(self) -> None:
        """Wait until a stage that waits has begun."""
        await until(self.begun.is_set)

    def has_notes(self) -> bool:
        """Return whether a stage noted anything."""
        return bool(self.notes)

    def note(self, text: str) -> None:
        """Keep a note."""
        self.notes.append(text)


async def until(condition: Callable[[], bool]) -> None:
    """Wait until *condition* holds."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.sleep(0.002)


def until_blocking(condition: Callable[[], bool]) -> None:
    """Wait in this thread until *condition* holds, and let nothing else happen in it."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


@stage(retry=ONCE)
async def add_one(number: int) -> int:
    """Add one."""
    return number + 1


@stage(retry=ONCE)
async def hold(number: int, ctx: Context) -> int:
    """Wait without blocking the loop until the test lets it go on."""
    scene = ctx.services[Scene]
    scene.begun.set()
    try:
        while not scene.go_on.is_set():
            await asyncio.sleep(0.002)
    except asyncio.CancelledError:
        scene.note("interrupted")
        raise
    return number + 1


@stage(retry=ONCE)
def hold_thread(number: int, ctx: Context) -> int:
    """Wait in a thread until the test lets it go on or the attempt is cancelled."""
    scene = ctx.services[Scene]
    scene.begun.set()
    end = time.monotonic() + PATIENCE
    while not scene.go_on.wait(0.002):
        if ctx.cancelled:
            scene.note("saw cancelled")
            break
        assert time.monotonic() < end, "waited in vain"
    return number + 1


@stage(retry=ONCE)
async def fall(number: int) -> int:
    """Fail."""
    raise ValueError(f"cannot take {number}")


class Provider:
    """Somebody else's service, which is done when the test says so."""

    def __init__(self) -> None:
        self.is_done = False
        self.polls = 0


class Batch(BatchStage[int, str, int]):
    """Work at the provider."""

    name = "batch"
    poll_every: str | timedelta = "10ms"
    give_up_after: str | timedelta = "1h"

    async def submit(self, number: int, ctx: Context, /) -> str:
        """Hand the work over."""
        return f"batch-{number}"

    async def poll(self, reference: str, ctx: Context, /) -> int | Pending:
        """Ask for the result."""
        provider = ctx.services[Provider]
        provider.polls += 1
        return 42 if provider.is_done else Pending()


class RareBatch(Batch):
    """The same, polled once an hour."""

    name = "rare"
    poll_every = "1h"
    give_up_after = "24h"


LINE: Final[Flow[int, int]] = (
    workflow("line", input=int, version="1")
    .pipe(add_one)
    .pipe(add_one.using(name="second"))
    .pipe(add_one.using(name="third"))
)
ONE: Final[Flow[int, int]] = workflow("one", input=int, version="1").pipe(add_one)
HOLD: Final[Flow[int, int]] = workflow("hold", input=int, version="1").pipe(hold).pipe(add_one)
HOLD_THREAD: Final[Flow[int, int]] = workflow("hold-thread", input=int, version="1").pipe(hold_thread)
FALL: Final[Flow[int, int]] = workflow("fall", input=int, version="1").pipe(fall)
BATCH: Final[Flow[int, int]] = workflow("batch", input=int, version="1").pipe(Batch()).pipe(add_one)
RARE: Final[Flow[int, int]] = workflow("rare", input=int, version="1").pipe(RareBatch())
FLOWS: Final[Sequence[Flow[int, int]]] = (LINE, ONE, HOLD, HOLD_THREAD, FALL, BATCH, RARE)


class Outage:
    """A persistence that cannot be reached while the test says so, as a whole or in some of its methods."""

    def __init__(self, persistence: Persistence) -> None:
        self._persistence = persistence
        self.down: frozenset[str] | None = frozenset()
        self.error: Exception = StoreUnavailable("the test cut the line")
        #: How often each method was called.
        self.calls: dict[str, int] = {}

    def fail(self, *methods: str) -> None:
        """Fail these methods from now on, or all if none is named."""
        self.down = frozenset(methods) or None

    def heal(self) -> None:
        """Work again."""
        self.down = frozenset()

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method: Callable[..., Awaitable[Any]] = getattr(self._persistence, name)

        async def call(*args: Any, **kwargs: Any) -> Any:
            self.calls[name] = self.calls.get(name, 0) + 1
            if name not in {"open", "close"} and (self.down is None or name in self.down):
                raise self.error
            return await method(*args, **kwargs)

        return call


@asynccontextmanager
async def opened(
    store: str | Store = "memory:",
    *,
    flows: Sequence[Flow[Any, Any]] = FLOWS,
    services: Mapping[type[Any], object] | None = None,
    event_sinks: Sequence[EventSink] = (),
    lease: timedelta = LEASE,
) -> AsyncGenerator[Opened, None]:
    """Open a kernel with the flows of this module and short leases."""
    settings = Settings(lease_ttl=lease, delivery_base=timedelta(milliseconds=10))
    registry = Registry(flows)
    async with open_kernel(
        store, registry=registry, services=services, event_sinks=event_sinks, settings=settings, concurrency=4
    ) as there:
        yield there


def flaky_store() -> tuple[Outage, Store]:
    """Return a store in memory that the test can cut off."""
    outage = Outage(MemoryPersistence(clock=SystemClock()))
    return outage, Store(persistence=cast("Persistence", outage), blob_store=MemoryBlobStore())


@asynccontextmanager
async def working(there: Opened, settings: WorkerSettings | None = None) -> AsyncGenerator[Worker, None]:
    """Run a worker, and stop it at the end, at once if the test fails."""
    worker = Worker(there, settings=settings or quick())
    await worker.start()
    try:
        yield worker
    except BaseException:
        worker.abort()
        raise
    finally:
        await worker.stop()


async def create(there: Opened, flow: Flow[Any, Any], input: object = 1, **fields: Any) -> str:
    """Create a run and return its id."""
    return (await there.kernel.dispatch(RunCreate(workflow_id=flow.id, input=input, **fields))).run_id


async def status(there: Opened, run_id: str) -> RunStatus:
    """Return the run's status."""
    run = await there.persistence.find_run(run_id)
    assert run is not None
    return run.status


async def ended(there: Opened, *run_ids: str, store: Persistence | None = None) -> list[RunStatus]:
    """Wait until the runs have ended and return their statuses."""
    statuses: list[RunStatus] = []
    async with asyncio.timeout(PATIENCE):
        for run_id in run_ids:
            while True:
                run = await (store or there.persistence).find_run(run_id)
                assert run is not None
                if run.status.is_terminal:
                    statuses.append(run.status)
                    break
                await asyncio.sleep(0.002)
    return statuses


async def events(there: Opened, run_id: str) -> list[Event]:
    """Return the timeline of the run."""
    return list(await there.persistence.list_events(run_id, limit=10_000))


async def story(there: Opened, run_id: str) -> list[str]:
    """Return the timeline of the run as words."""
    return [
        f"{event.type.value} {event.key.stage_id}" if event.key is not None else event.type.value
        for event in await events(there, run_id)
    ]
