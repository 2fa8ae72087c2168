"""Coroutines of several processes interleaved call by call: each port call waits until somebody lets it be made."""

from __future__ import annotations

import heapq
import random
from collections.abc import Awaitable, Callable, Coroutine, Generator
from datetime import timedelta
from typing import Any, Final

from holdfast.errors import CommitUnknown
from holdfast_testing.clock import FakeClock
from holdfast_testing.faults import Fault, FaultPlan, ProcessDied

#: A commit that is not made, and whose outcome the process is told nobody knows.
UNKNOWN: Final = "unknown"
#: The process makes no call for a while, and then this one.
STAND_STILL: Final = "stand still"
#: How long a call takes, in seconds.
LATENCY: Final = (0.001, 0.02)


class Call:
    """What a coroutine waits for: leave to make one port call; the answer says what goes wrong with it, if anything."""

    __slots__ = ("method", "plan", "port")

    def __init__(self, plan: SteppedPlan, port: str, method: str) -> None:
        self.plan = plan
        self.port = port
        self.method = method

    def __await__(self) -> Generator[Call, str | None, str | None]:
        return (yield self)


class Rest:
    """What a coroutine waits for: that so many seconds pass."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def __await__(self) -> Generator[Rest, None, None]:
        yield self


class SteppedPlan(FaultPlan):
    """A process whose every call waits for leave, and goes wrong as is decided then."""

    def __init__(self, name: str) -> None:
        super().__init__()
        #: Of the process.
        self.name = name
        #: Until when the process makes no calls, in seconds from the start.
        self.stands_still_until = 0.0

    async def call(self, port: str, method: str, make: Callable[[], Awaitable[Any]]) -> Any:
        """Make the next call when it is allowed.

        Raises:
            CommitUnknown: If it is decided that the call is not made and nobody knows of it.
            Unavailable: If it is decided that the call fails.
            ProcessDied: If it is decided that the process dies, or it is dead.
        """
        self.check_alive()
        what = await Call(self, port, method)
        if what == UNKNOWN:
            self.check_alive()
            raise CommitUnknown(f"nobody knows of {port}.{method}")
        if what is not None:
            self.fail_next(Fault(what))
        return await super().call(port, method, make)


class Interleaving:
    """Drives coroutines that wait for calls and rests only, in an order that a source of chance decides.

    Time never jumps over anybody: whoever is due first goes on first, and a process that stands still does so while the
    others live through all of that time.

    Args:
        order: The source of chance for latencies and ties.
        clock: Moved on as the coroutines' time goes on.
        decide: Says what goes wrong with a call that is about to be made; asked once for each.
        ended: Told of every coroutine that ends, with the defect that it ended by.
    """

    def __init__(
        self,
        *,
        order: random.Random,
        clock: FakeClock,
        decide: Callable[[Call], str | None],
        ended: Callable[[Exception | None], None],
    ) -> None:
        self._order = order
        self._clock = clock
        self._decide = decide
        self._ended = ended
        self._heap: list[tuple[float, float, Coroutine[Any, Any, None], Call | None]] = []
        #: Seconds from the start.
        self.now = 0.0

    def begin(self, coroutine: Coroutine[Any, Any, None], *, after: float = 0.0) -> None:
        """Let *coroutine* begin after so many seconds."""
        self._push(after, coroutine, None)

    def go_on(self, is_over: Callable[[], bool]) -> None:
        """Go on until *is_over* says so or nobody is left."""
        while self._heap and not is_over():
            due, _, coroutine, call = heapq.heappop(self._heap)
            if due > self.now:
                self._clock.advance(timedelta(seconds=due - self.now))
                self.now = due
            self._resume(coroutine, call)

    def close(self) -> None:
        """Drop every coroutine that has not ended."""
        for _, _, coroutine, _ in self._heap:
            coroutine.close()
        self._heap.clear()

    def _push(self, delay: float, coroutine: Coroutine[Any, Any, None], call: Call | None) -> None:
        heapq.heappush(self._heap, (self.now + delay, self._order.random(), coroutine, call))

    def _resume(self, coroutine: Coroutine[Any, Any, None], call: Call | None) -> None:
        what = None
        if call is not None:
            if not self._stands_still(call):
                what = self._decide(call)
            if self._stands_still(call):
                self._push(call.plan.stands_still_until - self.now, coroutine, call)
                return
        try:
            request = coroutine.send(what)
        except (StopIteration, ProcessDied):
            self._ended(None)
        except Exception as error:  # noqa: BLE001 - it is the business of whoever is told
            self._ended(error)
        else:
            if isinstance(request, Rest):
                self._push(request.seconds, coroutine, None)
            else:
                self._push(self._order.uniform(*LATENCY), coroutine, request)

    def _stands_still(self, call: Call) -> bool:
        return not call.plan.is_dead and call.plan.stands_still_until > self.now
