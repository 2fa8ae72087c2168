"""Which ways a run has taken, as its timeline and its records tell."""

from __future__ import annotations

from holdfast import StageStatus
from holdfast.events import EventType
from tests.kernel.watching import WatchedHarness


def chosen(harness: WatchedHarness, run_id: str, stage_id: str) -> tuple[object, object]:
    """Return which edge was taken behind the stage and why, as the timeline tells it."""
    (data,) = [
        event.data
        for event in harness.events(run_id)
        if event.type is EventType.STAGE_COMPLETED and event.key is not None and event.key.stage_id == stage_id
    ]
    return data["edge"], data["because"]


def skipped(harness: WatchedHarness, run_id: str) -> list[str]:
    """Return the stages that were skipped, by name."""
    return sorted(name for name, status in harness.statuses(run_id).items() if status is StageStatus.SKIPPED)
