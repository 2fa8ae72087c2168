"""Rows in order of what they wait for, cheap to add to and to leave: whoever moves on leaves a dead entry behind."""

from __future__ import annotations

import heapq
import sys
from typing import Any, Final, Generic, Protocol, TypeVar

#: An agenda with no more entries than this is not worth sweeping.
_SMALL: Final = 256


class Stamped:
    """A row whose entries in agendas are alive as long as they carry its stamp."""

    __slots__ = ("stamp",)

    def __init__(self, stamp: int) -> None:
        #: A number that changes with every move of the row; 0 when it waits for nothing.
        self.stamp = stamp

    def __lt__(self, other: object) -> bool:
        """Tell a heap that two entries of one row, which an undo may leave, are of the same rank."""
        return False


class Ordered(Protocol):
    """What agendas are ordered by: instants, or tuples that begin with a priority."""

    def __lt__(self, other: Any, /) -> bool:
        """Tell whether this comes first."""
        ...


OrderT = TypeVar("OrderT", bound=Ordered)
RowT = TypeVar("RowT", bound=Stamped)


class Agenda(Generic[OrderT, RowT]):
    """A heap of (order, stamp, row) whose dead entries are dropped when they come up, or swept when they prevail.

    While change-sets are applied entries are only added, so that an undo brings a row's entry back to life by
    giving the row its old stamp back.
    """

    __slots__ = ("_entries", "_limit", "_overgrown")

    def __init__(self, overgrown: list[Agenda[OrderT, RowT]]) -> None:
        self._entries: list[tuple[OrderT, int, RowT]] = []
        self._limit = _SMALL
        #: Where the agenda notes itself when it is to be swept after the present operation.
        self._overgrown = overgrown

    def add(self, order: OrderT, row: RowT) -> None:
        """Let *row* wait under its present stamp."""
        entries = self._entries
        heapq.heappush(entries, (order, row.stamp, row))
        if len(entries) > self._limit:
            # Once, however many more are added before the operation ends.
            self._limit = sys.maxsize
            self._overgrown.append(self)

    def first(self) -> tuple[OrderT, RowT] | None:
        """Return the first row and its order, if any row waits."""
        entries = self._entries
        while entries:
            order, stamp, row = entries[0]
            if stamp == row.stamp:
                return order, row
            heapq.heappop(entries)
        return None

    def skip(self) -> None:
        """Drop the entry that `first` returned."""
        heapq.heappop(self._entries)

    def earliest(self, limit: int, *, until: OrderT | None = None) -> list[RowT]:
        """Return the first *limit* rows, those later than *until* left out; they go on waiting.

        The heap is walked, not emptied: its entries below any other come no earlier than that one.
        """
        # What has moved on since lies in front; left there, it would be walked through at every call.
        self.first()
        entries = self._entries
        found: list[RowT] = []
        ahead = [(entries[0], 0)] if entries else []
        while ahead and len(found) < limit:
            (order, stamp, row), index = heapq.heappop(ahead)
            if until is not None and until < order:
                break
            # An undo may have left a second entry, which is the very next.
            if stamp == row.stamp and not (found and found[-1] is row):
                found.append(row)
            for below in (2 * index + 1, 2 * index + 2):
                if below < len(entries):
                    heapq.heappush(ahead, (entries[below], below))
        return found

    def waiting(self) -> int:
        """Return how many rows wait."""
        return len(self.rows())

    def rows(self) -> set[RowT]:
        """Return the rows that wait."""
        return {row for _, stamp, row in self._entries if stamp == row.stamp}

    def sweep(self) -> None:
        """Drop all dead entries; the agenda may then double before it is swept again, so that adding stays cheap."""
        alive = [entry for entry in self._entries if entry[1] == entry[2].stamp]
        heapq.heapify(alive)
        self._entries = alive
        self._limit = max(_SMALL, 2 * len(alive))
