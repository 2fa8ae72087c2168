"""The executor that calls bodies where it stands; hosts offer others with threads and timeouts that interrupt."""

from __future__ import annotations

from collections.abc import Awaitable, Generator
from typing import Any

from holdfast.entities.definition import Calling
from holdfast.ports.clock import Clock
from holdfast.ports.executor import BodyCall, Parked, StageCrashed, StageTimeout


class InlineExecutor:
    """Calls a sync body directly and awaits an async one in its caller's drive.

    Nothing is interrupted here: a body that took too long by the clock has run to its end when that is noticed.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def run(self, call: BodyCall) -> Any:
        """Call the body, await it if it is async, and return its value.

        Raises:
            StageTimeout: If it returned after *call.timeout*.
            StageCrashed: If it raised something that is not an `Exception`, such as SystemExit.
            Exception: What it raised.
        """
        if call.timeout is None:
            return await self._call(call)
        end = self._clock.monotonic() + call.timeout.total_seconds()
        value = await self._call(call)
        if self._clock.monotonic() > end:
            raise StageTimeout(call.timeout)
        return value

    async def rest(self) -> None:
        """Let the loop that drives this, if there is one, go round once."""
        await _Turn()

    async def _call(self, call: BodyCall) -> Any:
        try:
            value = call.body.function(*call.arguments)
        except (Exception, Parked):
            raise
        except BaseException as error:
            raise crashed(error) from error
        return await _Guarded(value) if call.body.calling is Calling.ASYNC else value


class _Turn:
    """An awaitable that lets its loop go round once."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class _Guarded:
    """An awaitable that tells what a body raised by itself from what its caller threw into it.

    What comes from outside, such as the closing of the coroutine or the cancellation of a task, goes through the body
    and back out unchanged. Only what the body raised of its own accord is its crash.
    """

    __slots__ = ("_awaitable",)

    def __init__(self, awaitable: Awaitable[Any]) -> None:
        self._awaitable = awaitable

    def __await__(self) -> Generator[Any, Any, Any]:
        steps = self._awaitable.__await__()
        thrown: BaseException | None = None
        sent: Any = None
        while True:
            try:
                request = steps.send(sent) if thrown is None else steps.throw(thrown)
            except StopIteration as stop:
                return stop.value
            except (Exception, Parked):
                raise
            except BaseException as error:
                if error is thrown:
                    raise
                raise crashed(error) from error
            thrown = sent = None
            try:
                sent = yield request
            except BaseException as error:  # noqa: BLE001 - it is thrown into the body, which decides
                thrown = error


def crashed(error: BaseException) -> StageCrashed:
    """Return what stands in for *error*, which would end more than the attempt if it went further."""
    return StageCrashed(f"the body raised {type(error).__name__}" + (f": {error}" if str(error) else ""))
