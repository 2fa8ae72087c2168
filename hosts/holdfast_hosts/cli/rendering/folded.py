"""The timeline with the items of a map folded into one line and what only hands values on left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Final

import attrs

from holdfast.entities.definition import UNDO
from holdfast.entities.stage import StageKey
from holdfast.events import Event, EventType
from holdfast_hosts.cli.rendering.event_words import Moment, Teller
from holdfast_hosts.cli.rendering.names import instance_words, is_between, mapped_by
from holdfast_hosts.cli.spelling import counted

#: So many events of items in a row are still shown one by one.
FEW: Final = 12

#: What becomes of items, in the order in which it is told; a plural is made of the noun.
_COUNTED: Final = {
    EventType.STAGE_COMPLETED: "completed",
    EventType.STAGE_FAILED: "failed for good",
    EventType.STAGE_SKIPPED: "skipped",
    EventType.STAGE_SUSPENDED: "suspended",
    EventType.STAGE_WAITING: "began to wait",
    EventType.STAGE_RESUMED: "were answered",
    EventType.STAGE_WAIT_EXPIRED: "were not answered in time",
    EventType.STAGE_KEY_AWAITED: "found their key held",
    EventType.STAGE_COMPENSATED: "undone",
}
_TROUBLE: Final = {
    EventType.STAGE_RETRYING: "failed try",
    EventType.STAGE_POLL_FAILED: "failed poll",
    EventType.STAGE_LEASE_EXPIRED: "lost lease",
    EventType.STAGE_CHILD_STARTED: "child run",
}
#: What a stage that a person did not write is not worth a line for.
_QUIET: Final = frozenset(
    {EventType.STAGE_READY, EventType.STAGE_STARTED, EventType.STAGE_RELEASED, EventType.STAGE_SKIPPED}
)


@attrs.frozen(kw_only=True)
class Fold:
    """Events of the items of a map, one behind the other, as one line."""

    first: Moment
    last: Event
    #: Events in all.
    events: int
    subject: str
    words: str


Row = Moment | Fold


@attrs.define(kw_only=True)
class _Gathering:
    """Events of one stage within a map while they come one behind the other."""

    key: StageKey
    moments: list[Moment]
    counts: Counter[EventType] = attrs.field(factory=Counter)
    items: set[int] = attrs.field(factory=set)
    last: Event
    failed: Moment | None = None
    lowest: int
    highest: int

    def add(self, moment: Moment) -> None:
        event = moment.event
        assert event.key is not None, "items are stage instances"
        if len(self.moments) <= FEW:
            self.moments.append(moment)
        self.counts[event.type] += 1
        self.last = event
        self.lowest, self.highest = min(self.lowest, event.key.item), max(self.highest, event.key.item)
        if event.type is EventType.STAGE_FAILED and self.failed is None:
            self.failed = moment

    def rows(self) -> Iterator[Row]:
        if len(self.moments) <= FEW:
            yield from self.moments
            return
        name = instance_words(attrs.evolve(self.key, item=0))
        yield Fold(
            first=self.moments[0],
            last=self.last,
            events=self.counts.total(),
            subject=f"{name} [{self.lowest:,}–{self.highest:,}]",
            words=self._words(),
        )

    def _words(self) -> str:
        said = [f"{self.counts[kind]:,} {word}" for kind, word in _COUNTED.items() if self.counts[kind]]
        said += [counted(self.counts[kind], noun) for kind, noun in _TROUBLE.items() if self.counts[kind]]
        begun = self.counts[EventType.STAGE_STARTED]
        words = ", ".join(said) or f"{begun:,} started" if begun else ", ".join(said) or "ready"
        if self.failed is None:
            return f"items: {words}"
        return f"items: {words}; first [{self._item(self.failed)}] {self.failed.words}"

    def _item(self, moment: Moment) -> int:
        key = moment.event.key
        return 0 if key is None else key.item


class Folder:
    """Turns events, in order, into rows; remembers which stages execute within maps.

    Args:
        full: Whether every event is a row of its own.
    """

    def __init__(self, *, full: bool) -> None:
        self._full = full
        self._teller = Teller()
        self._mapped: set[str] = set()
        self._gathering: dict[StageKey, _Gathering] = {}

    @property
    def teller(self) -> Teller:
        """What durations are counted from."""
        return self._teller

    def fold(self, event: Event) -> Iterator[Row]:
        """Yield the rows that are complete with the next event."""
        moment = self._teller.tell(event)
        if self._full:
            yield moment
            return
        key = event.key
        if key is None or not self._is_item(key):
            if key is not None and _is_noise(event):
                return
            yield from self.rest()
            yield moment
            return
        of = attrs.evolve(key, item=0)
        there = self._gathering.get(of)
        if there is None:
            there = _Gathering(key=of, moments=[], last=event, lowest=key.item, highest=key.item)
            self._gathering[of] = there
        # Among its siblings the first item is one too.
        there.add(moment if key.item else attrs.evolve(moment, subject=f"{moment.subject} [0]"))

    def rest(self) -> Iterator[Row]:
        """Yield the rows of what was held back, in case that more of the same came."""
        rows = [row for one in self._gathering.values() for row in one.rows()]
        self._gathering.clear()
        yield from sorted(rows, key=number_of)

    def _is_item(self, key: StageKey) -> bool:
        begun = mapped_by(key.stage_id)
        if begun is not None:
            self._mapped.add(begun)
        if key.item:
            self._mapped.add(key.stage_id)
        return key.stage_id in self._mapped


def number_of(row: Row) -> int:
    """Return the number of the first event of a row."""
    return row.event.number if isinstance(row, Moment) else row.first.event.number


def gap_of(row: Row) -> timedelta | None:
    """Return how long after the event before it the row begins."""
    return row.gap if isinstance(row, Moment) else row.first.gap


def _is_noise(event: Event) -> bool:
    """Return whether the event is of a stage that only hands values on, and tells nothing of how the run went."""
    key = event.key
    if key is None or not is_between(key.stage_id) or key.stage_id == UNDO:
        return False
    if event.type in _QUIET:
        return True
    return event.type is EventType.STAGE_COMPLETED and "edge" not in event.data and "items" not in event.data
