"""What every outcome of an attempt has in common: its fence, what becomes of the job, and what it leaves behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import attrs

from holdfast.change import NOTHING, Change, Fence, Finish, Park, Requeue, Step, Suspend
from holdfast.entities.payload import Artifact
from holdfast.entities.stage import Lease
from holdfast.events import NewEvent
from holdfast.traces import NewAnnotation, NewLog


@attrs.frozen(kw_only=True)
class Left:
    """What an attempt leaves behind besides its outcome; committed with it, whatever it is."""

    events: tuple[NewEvent, ...] = ()
    logs: tuple[NewLog, ...] = ()
    annotations: tuple[NewAnnotation, ...] = ()
    artifacts: tuple[Artifact, ...] = ()
    metrics: Mapping[str, float] = attrs.field(factory=dict)


NOTHING_LEFT: Final = Left()


def outcome(
    lease: Lease,
    *,
    settle: Finish | Requeue | Suspend | Park,
    left: Left = NOTHING_LEFT,
    step: Step = NOTHING,
) -> Change:
    """Return the change-set of the leased attempt; *step* tells the events that are left, where there are any."""
    return Change(
        run_id=lease.key.run_id,
        fence=Fence(key=lease.key, epoch=lease.epoch),
        settle=settle,
        step=step,
        artifacts=left.artifacts,
        annotations=left.annotations,
        logs=left.logs,
    )
