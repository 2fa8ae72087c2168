"""Keeping leases alive: a thread of its own extends what this process holds, whatever the main loop is doing.

A blocked event loop cannot starve it, because it runs its own. It finds the attempts in pulses, one for each slot of
a host, and it never waits for the main loop: what a slot must know is called into that loop and happens when it can.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import attrs
import structlog

from holdfast.authoring.watch import Watch
from holdfast.commands.job_execute import JobExecute, JobExecuted
from holdfast.commands.job_heartbeat import Beat, JobHeartbeat
from holdfast.entities.stage import Lease
from holdfast.kernel import Kernel
from holdfast.ports.work import LeaseRef
from holdfast_hosts.settings import HeartbeatSettings

T = TypeVar("T")

#: Leases that are extended by one command.
BATCH: Final = 200

log = structlog.stdlib.get_logger("holdfast.heartbeat")


@attrs.define(eq=False)
class LiveAttempt:
    """A lease that this process holds, with the traces its attempt has left so far."""

    lease: Lease
    watch: Watch
    #: Local monotonic instant in seconds not after that at which the lease was granted, or extended last.
    since: float
    #: Whether the store said that the lease is lost; then nothing can be handed back.
    is_lost: bool = False


class Pulse:
    """Where one slot shows the heartbeat what it is executing.

    One attribute is written by the slot and read by the heartbeat's thread, so showing an attempt costs no lock and no
    table that grows and shrinks with every job.
    """

    __slots__ = ("_clock", "_executes", "_kernel", "current", "interrupted", "loop", "task")

    def __init__(self, kernel: Kernel) -> None:
        self._kernel = kernel
        self._clock = kernel.ports.clock
        self.loop = asyncio.get_running_loop()
        #: The task to cancel when the attempt is lost; None leaves it at `Watch.cancelled`.
        self.task: asyncio.Task[Any] | None = None
        self.current: LiveAttempt | None = None
        #: Whether the task was cancelled because its attempt was lost, and for no other reason.
        self.interrupted = False
        #: Whether the task is within an attempt, where it may be cancelled for the attempt's sake.
        self._executes = False

    def attend(self, lease: Lease) -> Watch:
        """Take *lease* on and return the watch of its attempt; `JobExecute.attend` calls this."""
        current = self.current
        if current is not None and current.lease is lease:
            return current.watch
        return self.hold(lease).watch

    def hold(self, lease: Lease, *, granted: float | None = None) -> LiveAttempt:
        """Take *lease* on, which was granted not before the local monotonic instant *granted*, else just now."""
        live = self.current = LiveAttempt(lease, Watch(), self._clock.monotonic() if granted is None else granted)
        return live

    def drop(self) -> None:
        """Show that nothing is held any more."""
        self.current = None

    async def execute(self, command: JobExecute) -> JobExecuted | None:
        """Execute the job with this pulse's heartbeat, or return None if the attempt was stopped, its lease being gone.

        The command's `attend` must be this pulse's. An attempt that was stopped stays shown until the host has seen to
        its lease.

        Raises:
            Rejected: If nobody here can execute the job; the kernel has handed it back.
            Unavailable: If a port cannot be reached; a lease that was handed in still stands.
        """
        self._executes = True
        try:
            executed = await self._kernel.dispatch(command)
        except asyncio.CancelledError:
            if not self.recover():
                raise
            return None
        except Exception:
            self.recover()
            raise
        finally:
            self._executes = False
        # A body may have swallowed the interruption; what became of it is what the store said.
        self.recover()
        return executed

    def interrupt(self, live: LiveAttempt) -> None:
        """Cancel the task if it still executes that attempt; called in the slot's own loop.

        A host that hands the job back, or has not begun it yet, would take a cancellation for its own end.
        """
        if self.current is live and self._executes and self.task is not None and not self.interrupted:
            self.interrupted = True
            self.task.cancel()

    def recover(self) -> bool:
        """Return whether the task may go on, because it was cancelled for its lost attempt and for nothing else."""
        if not self.interrupted:
            return False
        self.interrupted = False
        assert self.task is not None, "only a task can be interrupted"
        return self.task.uncancel() == 0


class Heartbeat:
    """Extends the leases shown by its pulses and stores the traces of their attempts, from a thread of its own."""

    def __init__(self, kernel: Kernel, *, settings: HeartbeatSettings | None = None) -> None:
        self._kernel = kernel
        self._clock = kernel.ports.clock
        self._settings = settings or HeartbeatSettings()
        self._ttl = kernel.ports.settings.lease_ttl.total_seconds()
        self._pulses: list[Pulse] = []
        self._thread: threading.Thread | None = None
        self._ended = asyncio.Event()
        #: The thread's own loop, and what ends it.
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        #: Attempts that were told that their lease is lost.
        self.lost = 0
        #: Ticks whose extension failed.
        self.failures = 0

    def pulse(self) -> Pulse:
        """Return a new pulse that this heartbeat looks at; called in the loop of the slot that it belongs to."""
        pulse = Pulse(self._kernel)
        self._pulses.append(pulse)
        return pulse

    async def start(self) -> None:
        """Start the thread."""
        loop = asyncio.get_running_loop()
        begun, self._ended = asyncio.Event(), asyncio.Event()
        ended = self._ended

        def run() -> None:
            try:
                asyncio.run(self._beat(lambda: loop.call_soon_threadsafe(begun.set)))
            finally:
                loop.call_soon_threadsafe(ended.set)

        # A daemon, so that a store that hangs cannot keep the process from ending.
        self._thread = threading.Thread(target=run, name="holdfast-heartbeat", daemon=True)
        self._thread.start()
        await begun.wait()

    async def stop(self) -> None:
        """End the thread, after the beat that is under way; harmless if it was never started."""
        if self._thread is None:
            return
        assert self._loop is not None, "the thread has begun"
        assert self._stop is not None, "the thread has begun"
        self._loop.call_soon_threadsafe(self._stop.set)
        await self._ended.wait()
        self._thread.join()
        self._thread = None

    @asynccontextmanager
    async def beating(self) -> AsyncGenerator[None, None]:
        """Run the thread for as long as the context lasts."""
        await self.start()
        try:
            yield
        finally:
            await self.stop()

    async def _beat(self, begun: Callable[[], object]) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        begun()
        tick = self._settings.tick.total_seconds()
        while not self._stop.is_set():
            try:
                async with asyncio.timeout(tick):
                    await self._stop.wait()
            except TimeoutError:
                await self.tick()

    async def tick(self) -> None:
        """Extend what is due, store the traces gathered so far, and stop attempts that could not be extended."""
        extended_before = self._clock.monotonic() - self._ttl * self._settings.extend_after
        due = [
            (pulse, live)
            for pulse in self._pulses
            if (live := pulse.current) is not None
            and not live.watch.cancelled
            and (live.since <= extended_before or live.watch.events or live.watch.logs)
        ]
        for first in range(0, len(due), BATCH):
            await self._extend(due[first : first + BATCH])
        self._enforce()

    async def _extend(self, due: Sequence[tuple[Pulse, LiveAttempt]]) -> None:
        traces = [(_peek(live.watch.events), _peek(live.watch.logs)) for _, live in due]
        beats = tuple(
            Beat(lease=LeaseRef(key=live.lease.key, epoch=live.lease.epoch), events=events, logs=logs)
            for (_, live), (events, logs) in zip(due, traces, strict=True)
        )
        before = self._clock.monotonic()
        try:
            # A store that hangs must not keep the local ends of the leases from being enforced.
            async with asyncio.timeout(self._ttl * self._settings.patience):
                result = await self._kernel.dispatch(JobHeartbeat(beats=beats))
                lost = [ref for ref in result.lost if not await self._is_settled(ref)]
        except Exception as error:  # noqa: BLE001 - a heartbeat outlives whatever goes wrong with one beat
            self.failures += 1
            log.warning("leases could not be extended", leases=len(beats), error=repr(error))
            return
        gone = {(ref.key, ref.epoch) for ref in lost}
        for (pulse, live), (events, logs) in zip(due, traces, strict=True):
            if (live.lease.key, live.lease.epoch) in gone:
                live.is_lost = True
                self._give_up(pulse, live, why="lost")
                continue
            live.since = before
            _take_out(live.watch.events, events)
            _take_out(live.watch.logs, logs)

    async def _is_settled(self, ref: LeaseRef) -> bool:
        # The attempt may have committed its outcome a moment ago, and its slot does not know yet: nothing is lost then.
        return await self._kernel.ports.persistence.is_settled(ref.key, epoch=ref.epoch)

    def _enforce(self) -> None:
        """Stop attempts whose lease ends soon for all that this process knows: another worker may take them then."""
        extended_before = self._clock.monotonic() - self._ttl * (1 - self._settings.margin)
        for pulse in self._pulses:
            live = pulse.current
            if live is not None and not live.watch.cancelled and live.since <= extended_before:
                self._give_up(pulse, live, why="not extended in time")

    def _give_up(self, pulse: Pulse, live: LiveAttempt, *, why: str) -> None:
        live.watch.cancelled = True
        self.lost += 1
        log.warning("an attempt is stopped, because its lease is gone", job=str(live.lease.key), why=why)
        try:
            pulse.loop.call_soon_threadsafe(pulse.interrupt, live)
        except RuntimeError:
            # The slot's loop has closed, so there is nothing left to stop.
            pulse.drop()


def _peek(queue: deque[T]) -> tuple[T, ...]:
    # Copying a deque is one step for other threads, iterating over it is not.
    return tuple(queue.copy())


def _take_out(queue: deque[T], items: tuple[T, ...]) -> None:
    """Remove *items*, which are stored now, from the head of *queue*.

    They stayed there until now, so that an attempt which ended meanwhile committed them with its outcome: its fence
    refused them here then. Those that the queue dropped because it was full are gone already.
    """
    for item in items:
        if queue and queue[0] is item:
            queue.popleft()
