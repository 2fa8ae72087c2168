"""The decision to cancel a run."""

from __future__ import annotations

from holdfast.change import Change, Require
from holdfast.decide.ending import cancelling
from holdfast.entities.run import Run, RunStatus


def cancel(run: Run, *, reason: str | None) -> Change:
    """Return the change-set that cancels the run with all its live stage instances, or begins to undo what they did."""
    # A run that has begun meanwhile may have to be undone, so the status that was seen is the one that counts.
    seen = {run.status} if run.status is RunStatus.PENDING else {RunStatus.RUNNING, RunStatus.WAITING, RunStatus.PAUSED}
    return Change(
        run_id=run.id,
        require=Require(statuses=frozenset(seen)),
        step=cancelling(
            reason, header=run.header, generation=run.generation, is_pending=run.status is RunStatus.PENDING
        ),
    )
