"""The port that decides where and how the body of a stage runs."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Protocol

import attrs

from holdfast.entities.definition import Body


class StageTimeout(Exception):
    """Raise when a body ran longer than its stage allows; counts as a failed attempt and may be retried."""

    def __init__(self, timeout: timedelta) -> None:
        self.timeout = timeout
        super().__init__(f"took longer than its timeout of {timeout.total_seconds():g} s")


class StageCrashed(Exception):
    """Raise in place of an exception that is not an `Exception`, such as SystemExit, out of a body."""


class Parked(BaseException):
    """Raised through a body that cannot go on before something from outside happens; the context raises it.

    It is no `Exception`, so that a body which catches those lets it pass.
    """


@attrs.frozen(kw_only=True)
class BodyCall:
    """One call of a body."""

    body: Body
    arguments: tuple[Any, ...]
    timeout: timedelta | None


class Executor(Protocol):
    """Runs bodies; knows nothing of leases, retries or storage."""

    async def run(self, call: BodyCall) -> Any:
        """Call the body with its arguments, await it if it is async, and return its value.

        Raises:
            StageTimeout: If it took longer than *call.timeout*; a body that can be interrupted is.
            StageCrashed: If the body raised something that is not an `Exception`, such as SystemExit.
            Parked: What the body let pass.
            Exception: What the body raised.
        """
        ...

    async def rest(self) -> None:
        """Return after tasks that bodies have started had a chance to go on; at once where there can be none."""
        ...
