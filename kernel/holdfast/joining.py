"""A kernel whose commands are part of a transaction that its caller ends."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Any, Protocol, TypeVar, cast

import attrs

from holdfast.command import Command
from holdfast.errors import UnusableTransaction
from holdfast.kernel import COMMANDS, Kernel
from holdfast.ports.blob_store import BlobStore
from holdfast.ports.job_transport import JobHint, JobTransport
from holdfast.ports.persistence import Persistence

R = TypeVar("R")


class Transaction(Protocol):
    """A transaction of the caller's that a store has joined."""

    @property
    def persistence(self) -> Persistence:
        """The store, reading and writing in the transaction."""
        ...

    @property
    def blob_store(self) -> BlobStore:
        """Where large payloads go: into the transaction, or to a place where nobody looks if it is rolled back."""
        ...

    async def within(self, act: Callable[[], Awaitable[R]]) -> R:
        """Return what *act* returns; if it raises, nothing that it wrote is left in the transaction, which goes on.

        Raises:
            UnusableTransaction: If there is no transaction that anything can be part of.
        """
        ...


class JoinedKernel(Kernel):
    """A kernel within a transaction: what its commands do stands when, and only when, the caller commits.

    Nobody is told of it here, for nobody could see it yet; the store tells at the commit, and who hears nothing looks
    by itself after a while.
    """

    __slots__ = ("_transaction",)

    def __init__(self, kernel: Kernel, transaction: Transaction) -> None:
        self._transaction = transaction
        silence = _Silence()
        self.ports = attrs.evolve(
            kernel.ports,
            persistence=transaction.persistence,
            blob_store=transaction.blob_store,
            # Such a command tells of jobs and does nothing else with them.
            job_transport=cast(JobTransport, silence),
            scheduler=silence,
        )

    async def dispatch(self, command: Command[R]) -> R:
        """Carry out *command* in the transaction and return its result.

        Raises:
            UnusableTransaction: If the command, or the transaction, is none that this can be done with.
            TransactionLost: If the transaction met another one and has to begin again.
            Rejected: If the caller is wrong.
            Conflict: If somebody else was faster.
            Unavailable: If a port cannot be reached.
        """
        if not type(command).joins:
            able = ", ".join(sorted(name for name, kind in COMMANDS.items() if kind.joins))
            raise UnusableTransaction(
                f"{type(command).__name__} cannot be part of a transaction.",
                fix=f"Dispatch it on the kernel itself. Within a transaction there are: {able}.",
            )
        dispatch: Callable[[Command[Any]], Awaitable[Any]] = super().dispatch
        result: R = await self._transaction.within(lambda: dispatch(command))
        return result


class _Silence:
    """Hears hints and passes none on."""

    async def enqueue(self, hints: Sequence[JobHint]) -> None:
        """Do nothing."""

    def wake_in(self, delay: timedelta, *, local: bool = False) -> None:
        """Do nothing."""
