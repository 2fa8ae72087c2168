"""What invocations of the serverless host return."""

from __future__ import annotations

import enum
from datetime import timedelta

import attrs


class Handling(enum.Enum):
    """What became of a message or a job."""

    COMPLETED = "completed"
    #: Parked until its next poll.
    SUSPENDED = "suspended"
    #: The attempt failed and another one follows.
    RETRYING = "retrying"
    FAILED = "failed"
    #: The lease was lost, or the job is somebody else's; nothing was written.
    LOST = "lost"
    #: Not executed, because there was too little time or a port could not be reached; it is due again.
    HANDED_BACK = "handed back"
    #: Nobody in this process knows its workflow version or stage; it is left to others.
    REFUSED = "refused"

    @property
    def is_success(self) -> bool:
        """Whether the job went as far as it could."""
        return self in {Handling.COMPLETED, Handling.SUSPENDED}

    @property
    def is_failure(self) -> bool:
        """Whether an attempt failed."""
        return self in {Handling.RETRYING, Handling.FAILED}


@attrs.frozen(kw_only=True)
class JobHandled:
    """What became of one message."""

    outcome: Handling
    #: Why it failed, or was not executed.
    error: str | None = None
    #: How long until the next attempt or poll.
    delay: timedelta | None = None
    #: Whether the outcome is an earlier one, because the job had nothing left to execute.
    repeated: bool = False


@attrs.frozen(kw_only=True)
class JobsProcessed:
    """What became of some jobs."""

    #: Jobs that were executed.
    processed: int = 0
    #: Those that completed or suspended.
    succeeded: int = 0
    #: Those whose attempt failed, whether another one follows or not.
    failed: int = 0
    #: Jobs that were leased but not executed.
    handed_back: int = 0
    #: What kept the last job from being executed, if anything did.
    error: str | None = None

    def counting(self, handled: JobHandled) -> JobsProcessed:
        """Return the counters with one more job."""
        executed = handled.outcome not in {Handling.HANDED_BACK, Handling.REFUSED}
        return JobsProcessed(
            processed=self.processed + executed,
            succeeded=self.succeeded + handled.outcome.is_success,
            failed=self.failed + handled.outcome.is_failure,
            handed_back=self.handed_back + (not executed),
            error=self.error if executed else handled.error,
        )
