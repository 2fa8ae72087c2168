"""What is measured is opened and driven by a host; these are the parts of one that a measurement needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from datetime import datetime
from typing import Protocol, TypeVar

from holdfast.kernel import Kernel
from holdfast.ports.definitions import Definitions
from holdfast.ports.persistence import Persistence


class OpenedStore(Protocol):
    """An open store with a kernel on it."""

    @property
    def kernel(self) -> Kernel:
        """The kernel."""
        ...

    @property
    def persistence(self) -> Persistence:
        """The store that the kernel works on."""
        ...


class RunsJobs(Protocol):
    """A worker."""

    async def start(self) -> None:
        """Begin to execute jobs."""
        ...

    async def stop(self) -> None:
        """Let attempts finish and stop."""
        ...


class Server(Protocol):
    """A database server on which stores are made and dropped while it is measured; it can be pickled."""

    def facts(self) -> Mapping[str, str]:
        """Return the version of the server and the settings that decide what a commit costs, by their names."""
        ...

    def fresh(self, label: str) -> AbstractContextManager[str]:
        """Give the URL of a database of its own with *label* in its name, which is dropped at the end."""
        ...

    def bare(self, store: str) -> AbstractContextManager[Callable[[int], object]]:
        """Give what inserts as many rows as it is told by one statement in a transaction of its own."""
        ...

    def log_bytes(self) -> int:
        """Return how many bytes of log the server has written so far."""
        ...

    def traffic(self, persistence: Persistence, /) -> tuple[int, int]:
        """Return how many round trips an open store has made, and how many statements it has sent."""
        ...

    def ended(self, store: str, *, since: datetime, until: datetime) -> int:
        """Return how many runs ended between two instants."""
        ...

    def old_snapshot(self, store: str) -> AbstractContextManager[None]:
        """Have a transaction open in the store that has looked at it once and does nothing more."""
        ...

    def settle(self, store: str) -> None:
        """Let the server do now what would else come in the middle of a measurement."""
        ...

    def multiply(self, store: str, *, runs: int) -> None:
        """Copy the runs of the store with everything of theirs until there are *runs* of them."""
        ...


#: What a host's own way to open a store gives, and its own worker takes.
Opened = TypeVar("Opened", bound=OpenedStore)
Opened_co = TypeVar("Opened_co", bound=OpenedStore, covariant=True)
Opened_contra = TypeVar("Opened_contra", bound=OpenedStore, contravariant=True)


class OpenStore(Protocol[Opened_co]):
    """Opens the store that a URL names, and closes it at the end of the context."""

    def __call__(
        self, store: str, /, *, registry: Definitions, concurrency: int
    ) -> AbstractAsyncContextManager[Opened_co]:
        """Open the store *store*."""
        ...


class MakeWorker(Protocol[Opened_contra]):
    """Makes a worker with its usual settings, but for the number of jobs that it executes at once."""

    def __call__(self, opened: Opened_contra, /, *, concurrency: int) -> RunsJobs:
        """Return a worker on *opened* that was not started yet."""
        ...
