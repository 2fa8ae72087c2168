"""Commands and what their handlers are given: the ports, the settings, and the typed bond of command and result."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import Any, ClassVar, Final, Generic

import attrs
from typing_extensions import TypeVar

from holdfast.authoring.context import Services
from holdfast.ports.blob_store import BlobStore
from holdfast.ports.clock import Clock
from holdfast.ports.definitions import Definitions
from holdfast.ports.event_sink import EventSink
from holdfast.ports.executor import Executor
from holdfast.ports.ids import Ids
from holdfast.ports.job_transport import JobTransport
from holdfast.ports.persistence import Persistence
from holdfast.ports.scheduler import Scheduler

R_co = TypeVar("R_co", covariant=True)

KIB: Final = 1024

#: Metadata of a field that only callers in the same process may set or see.
IN_PROCESS: Final[Mapping[str, bool]] = {"in_process": True}


class Command(Generic[R_co]):
    """Something that changes state; dispatching it gives a result of type *R_co*."""

    #: The name on the wire, such as ``run.create``.
    type: ClassVar[str]
    #: Whether it can be part of a transaction that the caller ends: it only decides about runs and commits that.
    joins: ClassVar[bool] = False


@attrs.frozen(kw_only=True)
class Settings:
    """The limits and durations of a kernel; each has a default that suits a small production system."""

    #: How long a lease lasts unless a heartbeat extends it.
    lease_ttl: timedelta = timedelta(seconds=30)
    #: Payloads above this many bytes leave the row for a blob.
    blob_threshold: int = 32 * KIB
    #: Payloads above this many bytes are refused.
    max_payload_bytes: int = 16 * KIB * KIB
    #: How often a commit that may or may not have happened is looked up and repeated before giving up.
    commit_tries: int = 3
    #: How often a decision is made again because somebody else changed the run meanwhile.
    conflict_tries: int = 10
    #: How long one delivery of events to a sink may take before another host may take over.
    delivery_ttl: timedelta = timedelta(seconds=60)
    #: Deliveries of a head event that fail in a row before its stream is parked; many, for sinks have outages.
    delivery_attempts: int = 20
    #: Delay after the first failed delivery; doubles with each further one.
    delivery_base: timedelta = timedelta(seconds=1)
    #: Longest delay between deliveries.
    delivery_cap: timedelta = timedelta(minutes=5)


def unable_to_block(awaitable: Awaitable[Any]) -> Any:
    """Refuse: this kernel runs sync stages where nothing can be waited for."""
    raise RuntimeError("ctx.block_on works in sync stages that a host runs in a thread; use await in an async stage.")


@attrs.frozen(kw_only=True)
class Ports:
    """Everything a handler may await or ask."""

    persistence: Persistence
    blob_store: BlobStore
    job_transport: JobTransport
    event_sinks: tuple[EventSink, ...]
    scheduler: Scheduler
    clock: Clock
    ids: Ids
    executor: Executor
    definitions: Definitions
    services: Services
    settings: Settings
    block_on: Callable[[Awaitable[Any]], Any] = unable_to_block
