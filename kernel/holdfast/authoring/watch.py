"""What one attempt leaves behind while it runs, and how its host follows it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final, TypeVar

from holdfast.change import NewWait
from holdfast.entities.payload import Artifact
from holdfast.events import NewEvent
from holdfast.traces import NewAnnotation, NewLog, Statement

T = TypeVar("T")

#: A stage that logs more lines than this between two heartbeats loses the oldest: a trace must never exhaust memory.
MAX_BUFFERED: Final = 10_000


class Watch:
    """How a host follows one attempt: what the attempt leaves behind, and the word that nothing of it will count.

    Filled by the context, drained by heartbeats and at the end. Deques, because a stage may run in one thread while
    a heartbeat drains in another.
    """

    __slots__ = (
        "annotations",
        "artifacts",
        "asked",
        "cancelled",
        "events",
        "is_undoing",
        "logs",
        "metrics",
        "parking",
        "statements",
        "under_way",
    )

    def __init__(self) -> None:
        self.events: deque[NewEvent] = deque(maxlen=MAX_BUFFERED)
        self.logs: deque[NewLog] = deque(maxlen=MAX_BUFFERED)
        self.annotations: list[NewAnnotation] = []
        self.artifacts: dict[str, Artifact] = {}
        self.metrics: dict[str, float] = {}
        #: Executed when the attempt completes its stage, and never otherwise.
        self.statements: list[Statement] = []
        #: Whether the attempt undoes what stages have done.
        self.is_undoing = False
        #: Keys of checkpoints that are being made, and waits that are being looked at.
        self.under_way: set[str] = set()
        #: What the body cannot go on without, by name; once there is something, no new step begins.
        self.parking: dict[str, NewWait] = {}
        #: Names of what the body has asked for, in order: the store may answer several that ask at once in any order.
        self.asked: dict[str, None] = {}
        self.cancelled = False

    def waits(self) -> tuple[NewWait, ...]:
        """Return what the body cannot go on without, in the order in which it asked."""
        return tuple(self.parking[name] for name in self.asked if name in self.parking)

    def drain(self) -> tuple[tuple[NewEvent, ...], tuple[NewLog, ...]]:
        """Take out the progress events and log lines gathered so far."""
        return _take(self.events), _take(self.logs)

    def put_back(self, events: Iterable[NewEvent], logs: Iterable[NewLog]) -> None:
        """Keep what was taken out for a commit that did not happen."""
        self.events.extend(events)
        self.logs.extend(logs)


def _take(queue: deque[T]) -> tuple[T, ...]:
    return tuple(queue.popleft() for _ in range(len(queue)))
