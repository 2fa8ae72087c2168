"""Statuses as icon, word and colour, so that none of the three must stand alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from rich.text import Text

from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageStatus

#: Icon, word and style of every status.
_RUN: Final[Mapping[RunStatus, tuple[str, str]]] = {
    RunStatus.PENDING: ("·", "dim"),
    RunStatus.RUNNING: ("▶", "cyan"),
    RunStatus.WAITING: ("◷", "magenta"),
    RunStatus.PAUSED: ("‖", "yellow"),
    RunStatus.COMPENSATING: ("↶", "yellow"),
    RunStatus.COMPLETED: ("✓", "green"),
    RunStatus.FAILED: ("✕", "bold red"),
    RunStatus.CANCELLED: ("⊘", "yellow"),
}
_STAGE: Final[Mapping[StageStatus, tuple[str, str]]] = {
    StageStatus.PENDING: ("·", "dim"),
    StageStatus.READY: ("○", "blue"),
    StageStatus.RUNNING: ("▶", "cyan"),
    StageStatus.SUSPENDED: ("◷", "magenta"),
    StageStatus.WAITING: ("◷", "magenta"),
    StageStatus.COMPLETED: ("✓", "green"),
    StageStatus.FAILED: ("✕", "bold red"),
    StageStatus.CANCELLED: ("⊘", "yellow"),
    StageStatus.SKIPPED: ("–", "dim"),
}


def run_status(status: RunStatus) -> Text:
    """Return the status of a run."""
    icon, style = _RUN[status]
    return Text(f"{icon} {status.value.lower()}", style=style)


def stage_status(status: StageStatus) -> Text:
    """Return the status of a stage instance."""
    icon, style = _STAGE[status]
    return Text(f"{icon} {status.value.lower()}", style=style)


def stage_look(status: StageStatus) -> tuple[str, str]:
    """Return the icon and the style of a stage instance's status."""
    return _STAGE[status]


def run_look(status: RunStatus) -> tuple[str, str]:
    """Return the icon and the style of a run's status."""
    return _RUN[status]
