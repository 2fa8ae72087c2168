"""Taking back what an operation wrote when it fails half-way."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from holdfast_adapters.memory.agenda import Agenda

#: How to take back each write, noted before it is made: a function and its arguments. All of them do no harm when the
#: write they take back was not reached.
Undo = list[tuple[Callable[..., object], tuple[Any, ...]]]


class Transaction:
    """The store's one lock; when an operation under it raises, everything it wrote is undone."""

    __slots__ = ("_lock", "_overgrown", "_undo")

    def __init__(self, overgrown: list[Agenda[Any, Any]]) -> None:
        self._lock = threading.Lock()
        self._undo: Undo = []
        self._overgrown = overgrown

    def __enter__(self) -> Undo:
        self._lock.acquire()
        return self._undo

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._undo.clear()
                if self._overgrown:
                    self._sweep()
            else:
                while self._undo:
                    function, arguments = self._undo.pop()
                    function(*arguments)
        finally:
            self._lock.release()

    def _sweep(self) -> None:
        # Not while an operation may still fail: an undo brings entries back to life.
        while self._overgrown:
            self._overgrown.pop().sweep()
