"""Where stage bodies run in a process with an event loop: async ones on the loop, sync ones in threads."""

from __future__ import annotations

import asyncio
import contextvars
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Final

import attrs

from holdfast.entities.definition import Calling
from holdfast.executing import crashed
from holdfast.ports.executor import BodyCall, Parked, StageTimeout

#: Seconds for which other tasks are let run; short against any step that is worth waiting for.
_REST: Final = 0.002

#: The task in whose context code runs, for tasks of `HostTask`; what a body starts inherits it.
_within: contextvars.ContextVar[HostTask] = contextvars.ContextVar("holdfast_within")


class HostTask(asyncio.Task[None]):
    """A task of a host that executes bodies, and tells whether a cancellation comes from them or from outside.

    A body can reach the task that it runs in and cancel it, by itself or by what it has started. That is the body's
    crash and must not end the host's task.
    """

    #: Whether something outside of the bodies cancelled the task and that stands.
    is_stopped = False

    def cancel(self, msg: Any | None = None) -> bool:
        """Cancel the task, and note whether something outside of it asks for that."""
        if _within.get(None) is not self:
            self.is_stopped = True
        return super().cancel(msg)

    def uncancel(self) -> int:
        """Take back one cancellation."""
        left = super().uncancel()
        if not left:
            self.is_stopped = False
        return left

    def enter(self) -> None:
        """Take what runs from now on in the present context for a body's; called within the task."""
        _within.set(self)

    async def forget(self) -> None:
        """Take back what bodies asked for, if nobody else cancelled the task."""
        if self.is_stopped or not self.cancelling():
            return
        while self.cancelling():
            self.uncancel()
        try:
            # What was asked for and has not been delivered yet comes here.
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            if self.is_stopped:
                raise


class HostExecutor:
    """Runs async bodies on the event loop and sync bodies in a pool of threads of its own.

    A timeout or a cancellation interrupts an async body at its next await. A thread cannot be interrupted: the caller
    stops waiting at once, while the function runs on and holds its thread until it returns, so long sync functions
    should look at ``ctx.cancelled``. The time that a function waits for a thread counts against its timeout, so
    functions that never return make others time out rather than wait for ever; what timed out or was cancelled while
    it waited is never called.

    Args:
        threads: How many sync bodies run at once.
    """

    def __init__(self, *, threads: int) -> None:
        self._pool = ThreadPoolExecutor(max_workers=threads, thread_name_prefix="holdfast-stage")

    async def run(self, call: BodyCall) -> Any:
        """Call the body, await it if it is async, and return its value.

        Raises:
            StageTimeout: If it took longer than *call.timeout*.
            StageCrashed: If it raised something that is not an `Exception`; a cancellation from outside is none.
            Exception: What it raised.
        """
        task = asyncio.current_task()
        try:
            if call.timeout is not None:
                return await self._run_within(call, limit=call.timeout)
            if call.body.calling is Calling.ASYNC:
                return await call.body.function(*call.arguments)
            return await self._run_in_thread(call)
        except (Exception, Parked):
            raise
        except BaseException as error:
            if _is_from_outside(error, task):
                raise
            raise crashed(error) from error
        finally:
            if isinstance(task, HostTask) and task.cancelling():
                await task.forget()

    async def rest(self) -> None:
        """Let other tasks run for a moment."""
        await asyncio.sleep(_REST)

    def close(self) -> None:
        """Let the threads end with what they execute; call it when nobody waits for an outcome any more."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def _run_within(self, call: BodyCall, *, limit: timedelta) -> Any:
        loop = asyncio.get_running_loop()
        end = loop.time() + limit.total_seconds()
        scope = asyncio.timeout_at(end)
        try:
            async with scope:
                if call.body.calling is Calling.ASYNC:
                    value = await call.body.function(*call.arguments)
                else:
                    value = await self._run_in_thread(call)
        except asyncio.CancelledError:
            # Somebody else cancelled too, and that goes before.
            raise
        except BaseException as error:
            # Whatever a body answers to being interrupted, it was interrupted; any other TimeoutError is its own.
            if scope.expired():
                raise StageTimeout(limit) from error
            raise
        # A body that swallowed the interruption, or blocked the loop so that none could come, took too long as well.
        if scope.expired() or loop.time() > end:
            raise StageTimeout(limit)
        return value

    async def _run_in_thread(self, call: BodyCall) -> Any:
        context = contextvars.copy_context()
        outcome = await asyncio.get_running_loop().run_in_executor(self._pool, lambda: context.run(_outcome, call))
        if outcome.error is None:
            return outcome.value
        try:
            raise outcome.error
        finally:
            # The error's traceback holds this frame; without the name there is no cycle that keeps the arguments alive.
            del outcome


@attrs.frozen(kw_only=True)
class _Outcome:
    """What became of a call in a thread, as a value, because a future takes a cancellation or StopIteration amiss."""

    value: Any = None
    error: Exception | Parked | None = None


def _outcome(call: BodyCall) -> _Outcome:
    try:
        return _Outcome(value=call.body.function(*call.arguments))
    except (Exception, Parked) as error:  # noqa: BLE001 - it is raised again where the call is awaited
        return _Outcome(error=error)
    except BaseException as error:  # noqa: BLE001 - it must end neither the thread nor the process
        crash = crashed(error)
        crash.__cause__ = error
        return _Outcome(error=crash)


def _is_from_outside(error: BaseException, task: asyncio.Task[Any] | None) -> bool:
    """Return whether *error* was thrown into the body by its host: a cancellation or the closing of the coroutine."""
    try:
        running = asyncio.current_task()
    except RuntimeError:
        running = None
    if running is not task:
        # Only a closing runs elsewhere than in the task.
        return isinstance(error, GeneratorExit)
    if not isinstance(error, asyncio.CancelledError) or task is None:
        return False
    return task.is_stopped if isinstance(task, HostTask) else task.cancelling() > 0
