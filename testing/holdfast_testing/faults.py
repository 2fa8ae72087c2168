"""Ports that fail where a plan says so: before a call, after it, or with the death of the process.

One plan counts the calls of all ports that share it. A test runs its story once without faults to learn how many calls
it makes, then once for each call and each way to fail, and afterwards the promises must hold every time:

    calls = story(FaultPlan()).calls
    for number in range(1, calls + 1):
        for fault in Fault:
            story(FaultPlan({number: fault}))
"""

from __future__ import annotations

import enum
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NoReturn, TypeVar, cast

import attrs

from holdfast.errors import CommitUnknown, StoreUnavailable, Unavailable

P = TypeVar("P")


class Fault(enum.Enum):
    """How a port call fails."""

    #: The call is not made, and the caller is told that the world failed.
    FAIL_BEFORE = "fail before"
    #: The call is made and works, and the caller is told that the world failed.
    FAIL_AFTER = "fail after"
    #: The process dies instead of making the call.
    DIE_BEFORE = "die before"
    #: The process dies when the call has been made, before it learns the outcome.
    DIE_AFTER = "die after"


class ProcessDied(BaseException):
    """Raise in place of the death of the process; nothing but a test may catch it."""


@attrs.frozen(kw_only=True)
class PortCall:
    """One call of a port."""

    #: From 1, over all ports of the plan.
    number: int
    port: str
    method: str
    fault: Fault | None = None

    def __str__(self) -> str:
        return f"{self.number}. {self.port}.{self.method}" + (f"  <- {self.fault.value}" if self.fault else "")


class FaultPlan:
    """Which calls fail and how, counted over all ports that share the plan."""

    def __init__(self, faults: Mapping[int, Fault] | None = None) -> None:
        self._faults = dict(faults or {})
        #: Every call that was asked for while the process lived, in order.
        self.trace: list[PortCall] = []
        #: Whether the process has died: it makes no calls any more.
        self.is_dead = False

    @property
    def calls(self) -> int:
        """How many calls were asked for."""
        return len(self.trace)

    @property
    def is_spent(self) -> bool:
        """Whether every planned fault has happened; a story that ends before has not tested them."""
        return all(number <= self.calls for number in self._faults)

    def describe(self) -> str:
        """Return the trace as text, a call a line, for the message of a failing test."""
        return "\n".join(map(str, self.trace)) + ("\nthe process died" if self.is_dead else "")

    def check_alive(self) -> None:
        """Do nothing in a living process.

        Raises:
            ProcessDied: If the process has died.
        """
        if self.is_dead:
            raise ProcessDied("a dead process makes no calls")

    async def call(self, port: str, method: str, make: Callable[[], Awaitable[Any]]) -> Any:
        """Make the next call, or let it fail as planned.

        Raises:
            Unavailable: If the plan says so; `StoreUnavailable` when nothing was done, `CommitUnknown` for a commit
                that was.
            ProcessDied: If the plan says so, or said so before.
        """
        self.check_alive()
        number = self.calls + 1
        fault = self._faults.get(number)
        call = PortCall(number=number, port=port, method=method, fault=fault)
        self.trace.append(call)
        if fault is Fault.DIE_BEFORE:
            self._die(call)
        if fault is Fault.FAIL_BEFORE:
            raise StoreUnavailable(f"planned: {call}")
        try:
            answer = await make()
        finally:
            # Another task of the same process may have died while this one waited.
            self.check_alive()
            if fault is Fault.DIE_AFTER:
                self._die(call)
        if fault is Fault.FAIL_AFTER:
            raise CommitUnknown(f"planned: {call}") if method == "commit" else Unavailable(f"planned: {call}")
        return answer

    def fail_next(self, fault: Fault, *, after: int = 0) -> None:
        """Let the next call, or the one *after* so many more, fail so, whatever was planned for it."""
        self._faults[self.calls + after + 1] = fault

    def tell(self, port: str, method: str, make: Callable[[], None]) -> None:
        """Give the next hint, or let it fail as planned: a hint may get lost, but it never raises.

        Raises:
            ProcessDied: If the plan says so, or said so before.
        """
        self.check_alive()
        number = self.calls + 1
        fault = self._faults.get(number)
        call = PortCall(number=number, port=port, method=method, fault=fault)
        self.trace.append(call)
        if fault is Fault.DIE_BEFORE:
            self._die(call)
        if fault is not Fault.FAIL_BEFORE:
            make()
        if fault is Fault.DIE_AFTER:
            self._die(call)

    def die(self, why: str) -> NoReturn:
        """End the process now.

        Raises:
            ProcessDied: Always.
        """
        self.is_dead = True
        raise ProcessDied(why)

    def _die(self, call: PortCall) -> NoReturn:
        self.die(f"planned: {call}")


def faulty(port: P, plan: FaultPlan, *, name: str | None = None) -> P:
    """Return *port* with its async methods under *plan*; the rest of it works as before while the process lives.

    Args:
        port: Any port; adapters stay as they are.
        plan: Shared by all ports of one process.
        name: The port's name in the trace; that of its class unless given.
    """
    return cast(P, _FaultyPort(port, plan, name or type(port).__name__))


class _FaultyPort:
    """A stand-in for a port that asks a plan before each call."""

    def __init__(self, port: object, plan: FaultPlan, name: str) -> None:
        self._port = port
        self._plan = plan
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        found = getattr(self._port, attribute)
        if not callable(found):
            return found
        if inspect.iscoroutinefunction(found):

            async def planned(*args: Any, **options: Any) -> Any:
                return await self._plan.call(self._name, attribute, lambda: found(*args, **options))

            return planned

        def while_alive(*args: Any, **options: Any) -> Any:
            self._plan.check_alive()
            return found(*args, **options)

        return while_alive
