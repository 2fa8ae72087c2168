"""How far each sink has read each run's events, and in which order it goes on."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from holdfast_adapters.memory.agenda import Agenda, Stamped
from holdfast_adapters.memory.rows import RunRow
from holdfast_adapters.memory.undo import Undo


class StreamRow(Stamped):
    """One run's events on their way to one sink."""

    __slots__ = ("due_at", "epoch", "error", "failures", "leased", "not_before", "parked", "position", "run")

    def __init__(self, run: RunRow) -> None:
        super().__init__(0)
        self.run = run
        self.position = 0
        self.failures = 0
        self.epoch = 0
        self.leased = False
        self.parked = False
        #: When the stream may be leased, or its lease may be taken over; None when it is parked or has nothing to tell.
        self.due_at: datetime | None = None
        #: The end of the delay after the last delivery, if it asked for one.
        self.not_before: datetime | None = None
        self.error: str | None = None

    def saved(self) -> tuple[Any, ...]:
        """Return everything that moves, as the arguments of `restore`."""
        return (
            self.stamp,
            self.position,
            self.failures,
            self.epoch,
            self.leased,
            self.parked,
            self.due_at,
            self.not_before,
            self.error,
        )

    def restore(self, *saved: Any) -> None:
        """Put back what `saved` returned."""
        (
            self.stamp,
            self.position,
            self.failures,
            self.epoch,
            self.leased,
            self.parked,
            self.due_at,
            self.not_before,
            self.error,
        ) = saved

    @property
    def has_more(self) -> bool:
        """Whether there are events that the sink has not taken."""
        return self.position < len(self.run.events)


class SinkStreams:
    """The streams of one sink; one that has something to tell and is not parked stands in the agenda."""

    __slots__ = ("_stamps", "agenda", "parked", "streams")

    def __init__(self, runs: Iterable[RunRow], *, overgrown: list[Agenda[Any, Any]]) -> None:
        self._stamps = 0
        self.agenda: Agenda[datetime, StreamRow] = Agenda(overgrown)
        self.streams: dict[str, StreamRow] = {}
        #: In the order in which they were parked.
        self.parked: dict[str, StreamRow] = {}
        for run in runs:
            if run.events:
                row = self.streams[run.header.id] = StreamRow(run)
                self.wait(row, run.events[0][1])

    def wait(self, row: StreamRow, due_at: datetime) -> None:
        """Let the stream wait until *due_at*, in the place of what it waited for before."""
        self._stamps += 1
        row.stamp = self._stamps
        row.due_at = due_at
        self.agenda.add(due_at, row)

    def rest(self, row: StreamRow) -> None:
        """Take the stream out of the agenda."""
        row.stamp = 0
        row.due_at = None

    def tell(self, run: RunRow, now: datetime, undo: Undo) -> None:
        """Note that the run has new events."""
        run_id = run.header.id
        row = self.streams.get(run_id)
        if row is None:
            row = StreamRow(run)
            undo.append((self.streams.pop, (run_id, None)))
            self.streams[run_id] = row
        elif row.due_at is not None or row.parked:
            return
        undo.append((row.restore, row.saved()))
        self.wait(row, now if row.not_before is None else max(now, row.not_before))
