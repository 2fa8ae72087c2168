"""A timer: a due instant of a run that acts once."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Final

import attrs


class TimerKind(enum.Enum):
    """What happens when a timer fires."""

    #: The run has taken longer than its workflow allows and fails.
    RUN_DEADLINE = "RUN_DEADLINE"
    #: A run that was created to start later may be admitted.
    RUN_START = "RUN_START"
    #: An open wait has reached its limit: a sleep is over, or nobody answered in time.
    WAIT_LIMIT = "WAIT_LIMIT"
    #: A child of the run has ended; set by the store when it does.
    CHILD_ENDED = "CHILD_ENDED"
    #: The parent of the run has failed or was cancelled, and so is the run; set by the store when it does.
    PARENT_ENDED = "PARENT_ENDED"


#: Ids of the timers of which a run has at most one.
DEADLINE: Final = "deadline"
START: Final = "start"
PARENT: Final = "parent"
#: The id of the timer that tells of the end of a child is this and the child's run id.
CHILD_PREFIX: Final = "child:"


@attrs.frozen(kw_only=True)
class Timer:
    """A due instant of a run; it is consumed by the change-set that acts on it, so it acts once."""

    run_id: str
    #: Unique within the run.
    id: str
    kind: TimerKind
    #: By the store's clock.
    due_at: datetime
