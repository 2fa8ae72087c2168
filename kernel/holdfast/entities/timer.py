"""A timer: a due instant of a run that acts once."""

from __future__ import annotations

import enum
from datetime import datetime

import attrs


class TimerKind(enum.Enum):
    """What happens when a timer fires."""

    #: The run has taken longer than its workflow allows and fails.
    RUN_DEADLINE = "RUN_DEADLINE"


@attrs.frozen(kw_only=True)
class Timer:
    """A due instant of a run; it is consumed by the change-set that acts on it, so it acts once."""

    run_id: str
    #: Unique within the run.
    id: str
    kind: TimerKind
    #: By the store's clock.
    due_at: datetime
