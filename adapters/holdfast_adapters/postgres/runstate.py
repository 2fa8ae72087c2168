"""A run as it stands while change-sets are judged and its jobs are granted."""

from __future__ import annotations

from typing import Any, Final

from holdfast.change import NewRun, RunPatch
from holdfast.entities.run import RunStatus
from holdfast_adapters.postgres import encoding

#: What `RunState` is made of, of run r.
RUN_STATE: Final = (
    "r.n, r.status, r.version, r.generation, r.events, r.undelivered, r.active, r.waiting, r.holds, r.parent, "
    "r.tenant, r.flow_key"
)
RUN_WIDTH: Final = 12
#: Positions of what it holds, the parent's id, the tenant and the concurrency key.
HOLDS, PARENT, TENANT, FLOW_KEY = 8, 9, 10, 11

#: What `run.holds` adds up.
WAITS: Final = 1
KEYS: Final = 2
SINGLETON: Final = 4

_RUNNING: Final = RunStatus.RUNNING.value
_WAITING: Final = RunStatus.WAITING.value
PAUSED: Final = RunStatus.PAUSED.value
_TERMINAL: Final = frozenset(status.value for status in RunStatus if status.is_terminal)


class RunState:
    """The row of a run as it stands within the wave."""

    __slots__ = (
        "active",
        "closed",
        "created",
        "events",
        "failure",
        "flow_key",
        "generation",
        "held",
        "holds",
        "id",
        "moved",
        "n",
        "output_of",
        "parent",
        "reopened",
        "started",
        "status",
        "stored_status",
        "tenant",
        "touched",
        "undelivered",
        "version",
        "waiting",
    )

    def __init__(self, run_id: str, *, row: tuple[Any, ...]) -> None:
        self.id = run_id
        self.n: int
        self.status: str
        self.version: int
        self.generation: int
        self.events: int
        self.undelivered: int | None
        self.active: int
        self.waiting: int
        self.holds: int
        self.parent: str | None
        self.tenant: str
        self.flow_key: str
        (
            self.n,
            self.status,
            self.version,
            self.generation,
            self.events,
            self.undelivered,
            self.active,
            self.waiting,
            self.holds,
            self.parent,
            self.tenant,
            self.flow_key,
        ) = row
        #: As it stands in the store.
        self.stored_status = self.status
        self.created: NewRun | None = None
        #: Whether one that is created may not be admitted yet.
        self.held = False
        #: Whether a decision has moved the run in this wave, and what became of it.
        self.moved = False
        self.reopened = False
        self.started: int | None = None
        self.output_of: str | None = None
        self.failure: str | None = None
        #: Nothing more of this run can be judged before the wave is written: jobs, timers or records moved as a set.
        self.closed = False
        #: What the wave has already changed of what others are judged by: jobs it has settled, made or woken, ids of
        #: timers it has set or consumed, and names of waits and messages.
        self.touched: set[object] = set()

    @property
    def is_over(self) -> bool:
        """Whether the run has ended."""
        return self.status in _TERMINAL

    def move(self, patch: RunPatch, *, now: int) -> None:
        """Move the run as a decision says."""
        before, after = self.status, patch.status.value
        self.moved = True
        if before in _TERMINAL:
            self.reopened, self.output_of, self.failure = True, None, None
        starts = before == RunStatus.PENDING.value or before in _TERMINAL
        if starts and after not in _TERMINAL and after != before:
            self.started = now
        if patch.generation is not None:
            self.generation = patch.generation
        if patch.output_of:
            self.output_of = encoding.names_text(patch.output_of)
        self.failure = encoding.failure_text(patch.failure) or self.failure
        self.status = after
        # Its start is the only move that changes nothing else than the run and what stands in the change-set.
        self.closed = self.closed or not (before == RunStatus.PENDING.value and after == _RUNNING)

    def follow_jobs(self) -> None:
        """Move the run to WAITING if all its live jobs are, and back if not."""
        if self.status == _RUNNING:
            if self.waiting and not self.active:
                self.status = _WAITING
        elif self.status == _WAITING and (self.active or not self.waiting):
            self.status = _RUNNING
