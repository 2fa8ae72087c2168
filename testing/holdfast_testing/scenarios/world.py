"""What outlives every process of a scenario: the store, the blobs, the clock, and the world that stages act upon."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from holdfast.authoring.registry import Registry
from holdfast.driving import run_sync
from holdfast.ports.clock import Clock
from holdfast.ports.job_transport import JobHint
from holdfast.ports.persistence import Persistence
from holdfast_adapters.blobs.memory import MemoryBlobStore
from holdfast_adapters.memory import MemoryPersistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.ids import SequentialIds
from holdfast_testing.invariants import Ledger, LedgerSink
from holdfast_testing.scenarios.scenario import Scenario


class Store(Protocol):
    """Where the state of one story lives, whatever process looks."""

    def connect(self) -> Persistence:
        """Return the store as a process that starts opens it; processes that died have not closed theirs."""
        ...

    def discard(self) -> None:
        """Give back everything, the connections of dead processes included; the story is over."""
        ...


StoreMaker = Callable[[Clock], Store]


class MemoryStore:
    """The memory adapter, which all processes of a story share."""

    def __init__(self, clock: Clock) -> None:
        self._persistence = MemoryPersistence(clock=clock)
        run_sync(self._persistence.open())

    def connect(self) -> Persistence:
        """Return the one adapter there is."""
        return self._persistence

    def discard(self) -> None:
        """Leave it to be forgotten."""


class Provider:
    """A batch service outside: what is submitted under one key is one batch, and takes its time."""

    def __init__(self, clock: Clock, *, takes: timedelta = timedelta(seconds=90)) -> None:
        self._clock = clock
        self._takes = takes
        self._submitted: dict[str, datetime] = {}

    def submit(self, key: str) -> str:
        """Begin a batch, or find the one that was begun under *key*, and return its reference."""
        self._submitted.setdefault(key, self._clock.now())
        return key

    def is_done(self, reference: str) -> bool:
        """Return whether the batch is done."""
        return self._clock.now() >= self._submitted[reference] + self._takes


class World:
    """The part of a story that no death of a process touches."""

    def __init__(self, scenario: Scenario, make_store: StoreMaker) -> None:
        self.scenario = scenario
        self.clock = FakeClock()
        self.store = make_store(self.clock)
        self.blobs = MemoryBlobStore()
        self.registry = Registry(scenario.flows)
        self.ids = SequentialIds(self.clock)
        self.ledger = Ledger()
        self.sink = LedgerSink(self.ledger, failures=scenario.sink_failures)
        self.provider = Provider(self.clock)
        #: What a broker would hold: hints of jobs, until somebody takes them.
        self.messages: deque[JobHint] = deque()
