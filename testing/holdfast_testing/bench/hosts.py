"""What is measured is opened and driven by a host; these are the parts of one that a measurement needs."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
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
