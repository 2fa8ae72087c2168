"""The public names, pinned: adding or losing one is a decision, made here."""

from __future__ import annotations

from typing import Final

import holdfast

#: Everything that `from holdfast import …` offers, in the order that the linter keeps.
EXPECTED: Final[list[str]] = [
    "END",
    "BatchStage",
    "Child",
    "ChildFailed",
    "Conflict",
    "Context",
    "DefinitionError",
    "Event",
    "EventType",
    "Fail",
    "Failure",
    "Flow",
    "Graph",
    "HoldfastError",
    "Kernel",
    "NeverRetry",
    "Ok",
    "Pending",
    "QueueConfigure",
    "Registry",
    "Rejected",
    "Resumed",
    "Retry",
    "RetryAfter",
    "Run",
    "RunCancel",
    "RunCreate",
    "RunCreated",
    "RunPause",
    "RunRerunFrom",
    "RunResume",
    "RunRetry",
    "RunStatus",
    "RunUnpause",
    "Seen",
    "Settings",
    "SingletonPolicy",
    "Stage",
    "StageStatus",
    "Unavailable",
    "Wait",
    "WaitTimedOut",
    "edge",
    "entry",
    "flow",
    "line",
    "node",
    "otherwise",
    "run_sync",
    "stage",
    "when",
    "workflow",
]


def test_front_door_exports_exactly_the_pinned_names() -> None:
    """The front door exports the names of this file and no others."""
    exported: list[str] = list(vars(holdfast).get("__all__", []))
    assert exported == EXPECTED
    assert len(set(exported)) == len(exported)


def test_every_pinned_name_can_be_imported() -> None:
    """Each pinned name is there when it is asked for."""
    assert [name for name in EXPECTED if not hasattr(holdfast, name)] == []
