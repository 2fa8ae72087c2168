"""A run: one execution of a workflow version, its statuses and the legal moves between them."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from datetime import datetime
from typing import Final

import attrs

from holdfast.entities.payload import Payload

#: Error and log texts are cut to this many characters before they are stored, so that none can flood the store.
MAX_TEXT: Final = 16_384
#: So much of it is the beginning of a traceback that has to be cut.
_TRACE_HEAD: Final = 4_096
_MAX_NAME: Final = 255


class RunStatus(enum.Enum):
    """Where a run stands."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    #: Live, and nothing of it can go on before a wait is answered or a timer fires.
    WAITING = "WAITING"
    #: Held back by a person: what executes may end, nothing more begins.
    PAUSED = "PAUSED"
    #: It failed or was cancelled, and what its stages did is being undone.
    COMPENSATING = "COMPENSATING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def is_terminal(self) -> bool:
        """Whether only a rerun, which opens a new generation, can move the run again."""
        return self in TERMINAL_RUN


TERMINAL_RUN: Final = frozenset({RunStatus.COMPLETED, RunStatus.FAILED, RunStatus.CANCELLED})
LIVE_RUN: Final = frozenset(RunStatus) - TERMINAL_RUN
#: Statuses in which stage instances may be live.
ACTIVE_RUN: Final = LIVE_RUN - {RunStatus.PENDING}
#: Statuses in which the run goes forward.
FORWARD_RUN: Final = frozenset({RunStatus.RUNNING, RunStatus.WAITING, RunStatus.PAUSED})

_ENDS: Final = frozenset({RunStatus.COMPENSATING, *TERMINAL_RUN})

#: Every legal move of a run. The moves out of a terminal status belong to `run.rerunFrom` and `run.retry` alone.
RUN_TRANSITIONS: Final[Mapping[RunStatus, frozenset[RunStatus]]] = {
    RunStatus.PENDING: frozenset({RunStatus.RUNNING, RunStatus.WAITING, RunStatus.FAILED, RunStatus.CANCELLED}),
    RunStatus.RUNNING: frozenset({RunStatus.WAITING, RunStatus.PAUSED, *_ENDS}),
    RunStatus.WAITING: frozenset({RunStatus.RUNNING, RunStatus.PAUSED, *_ENDS}),
    RunStatus.PAUSED: frozenset({RunStatus.RUNNING, RunStatus.WAITING, *_ENDS}),
    RunStatus.COMPENSATING: frozenset({RunStatus.FAILED, RunStatus.CANCELLED}),
    RunStatus.COMPLETED: frozenset({RunStatus.RUNNING, RunStatus.WAITING}),
    RunStatus.FAILED: frozenset({RunStatus.RUNNING, RunStatus.WAITING, RunStatus.COMPENSATING}),
    RunStatus.CANCELLED: frozenset({RunStatus.RUNNING, RunStatus.WAITING}),
}


def storable(text: str) -> str:
    """Return *text* as every store can hold it: surrogates and NUL escaped, cut to `MAX_TEXT`."""
    clean = _clean(text[:MAX_TEXT])
    return clean if len(text) <= MAX_TEXT and len(clean) <= MAX_TEXT else clean[: MAX_TEXT - 1] + "…"


def storable_trace(text: str) -> str:
    """Return a traceback as `storable` does, but cut in its middle: it begins and ends with what tells most."""
    if len(text) <= MAX_TEXT:
        return storable(text)
    return storable(f"{text[:_TRACE_HEAD]}\n…\n{_clean(text[-MAX_TEXT:])[_TRACE_HEAD + 3 - MAX_TEXT :]}")


def _short(name: str) -> str:
    # A class may be named anything; its error is stored all the same.
    return _clean(name[:_MAX_NAME])


def _clean(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode("utf-8").replace("\x00", "\\x00")


@attrs.frozen(kw_only=True)
class Failure:
    """Why a stage or a run failed; texts are made storable and cut to `MAX_TEXT`."""

    #: Stable word for machines, such as ``STAGE_ERROR``, ``TIMEOUT``, ``LEASE_EXPIRED`` or ``INVALID_OUTPUT``.
    code: str
    message: str = attrs.field(converter=storable)
    #: Qualified name of the error class, when an error was raised.
    error: str | None = attrs.field(default=None, converter=attrs.converters.optional(_short))
    #: The stage that failed; None when the run failed as a whole.
    stage_id: str | None = None
    #: The traceback without local variables, which could hold secrets.
    trace: str | None = attrs.field(default=None, converter=attrs.converters.optional(storable_trace))


@attrs.frozen(kw_only=True)
class RunHeader:
    """The part of a run that never changes while it executes; travels with a lease so that nothing is read twice."""

    id: str
    tenant: str
    workflow_id: str
    workflow_version: str
    priority: int
    input: Payload
    #: Canonical JSON object text: config slice by stage id, already merged with the defaults.
    config: str
    #: The run that started this one and is told when it ends; None for a run of its own.
    parent_id: str | None = None
    #: Whether what its stages did is undone when it fails or is cancelled.
    compensates: bool = False
    #: What its jobs count under in queues that limit how many of one key are leased; empty for none in particular.
    concurrency_key: str = ""


@attrs.frozen(kw_only=True)
class Run:
    """One execution of a workflow, pinned to its version."""

    header: RunHeader
    status: RunStatus
    #: Rises by exactly 1 with every change-set that touches the run.
    version: int
    #: 1 at first; rises with every rerun.
    generation: int
    #: Number of the run's newest event.
    events: int
    #: The stages whose outputs are the run's output; empty until the run is COMPLETED.
    output_of: tuple[str, ...]
    failure: Failure | None
    idempotency_key: str | None
    created_at: datetime
    #: When the present generation was admitted.
    started_at: datetime | None
    finished_at: datetime | None
    #: Whether a PENDING run may not be admitted yet.
    held: bool = False
    #: The key of which only one live run of the workflow goes on at a time, within the tenant.
    singleton: str | None = None

    @property
    def id(self) -> str:
        """The run's id, a UUIDv7."""
        return self.header.id
