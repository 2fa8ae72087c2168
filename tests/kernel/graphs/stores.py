"""Stores that let others go first before a commit, and that have somebody look at the run behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, Protocol, cast

from holdfast.change import Change, Committed, Refusal
from holdfast.ports.persistence import Persistence


class Pause:
    """What a coroutine of the kernel stops at: the body of a stage, or a commit that is about to be made."""

    def __await__(self) -> Generator[Pause, None, None]:
        yield self


class Onlooker(Protocol):
    """Who looks at every commit."""

    def hear(self, change: Change) -> None:
        """Take note of a change-set that stands."""
        ...

    def compare(self) -> None:
        """Look at what the store holds now."""
        ...


def watched(persistence: Persistence, onlooker: Onlooker) -> Persistence:
    """Return a store whose every commit is looked at."""
    return cast("Persistence", _Watched(persistence, onlooker))


def stopping(persistence: Persistence, *, before_commit: Callable[[], Awaitable[None]]) -> Persistence:
    """Return a store that waits before each commit."""
    return cast("Persistence", _Stopping(persistence, before_commit))


class _Watched:
    def __init__(self, persistence: Persistence, onlooker: Onlooker) -> None:
        self._persistence = persistence
        self._onlooker = onlooker

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._persistence, attribute)

    async def commit(self, changes: Sequence[Change]) -> Sequence[Committed | Refusal]:
        outcomes = await self._persistence.commit(changes)
        for change, outcome in zip(changes, outcomes, strict=True):
            if isinstance(outcome, Committed):
                self._onlooker.hear(change)
        self._onlooker.compare()
        return outcomes


class _Stopping:
    def __init__(self, persistence: Persistence, before_commit: Callable[[], Awaitable[None]]) -> None:
        self._persistence = persistence
        self._before_commit = before_commit

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._persistence, attribute)

    async def commit(self, changes: Sequence[Change]) -> Sequence[Committed | Refusal]:
        await self._before_commit()
        return await self._persistence.commit(changes)
