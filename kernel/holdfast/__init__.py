"""Holdfast, a durable workflow engine: the words that workflows are written with, and the kernel that runs them.

The words are there at once; the kernel and its commands are imported when they are first asked for, so that a module
which only writes workflows costs little to import.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from holdfast.authoring.batch import BatchStage, Pending
from holdfast.authoring.branching import otherwise, when
from holdfast.authoring.context import Context
from holdfast.authoring.flow import Flow, line, workflow
from holdfast.authoring.pausing import Child
from holdfast.authoring.results import Fail, Ok, Wait
from holdfast.authoring.seen import Seen
from holdfast.authoring.stage import Stage, stage
from holdfast.driving import run_sync
from holdfast.entities.graph import END
from holdfast.entities.retry import NeverRetry, Retry, RetryAfter
from holdfast.entities.run import Failure, Run, RunStatus
from holdfast.entities.stage import StageStatus
from holdfast.errors import (
    ChildFailed,
    Conflict,
    DefinitionError,
    HoldfastError,
    Rejected,
    Unavailable,
    WaitTimedOut,
)
from holdfast.events import Event, EventType

if TYPE_CHECKING:
    from holdfast.authoring.classes import flow
    from holdfast.authoring.graph import Graph
    from holdfast.authoring.nodes import edge, entry, node
    from holdfast.authoring.registry import Registry
    from holdfast.command import Settings
    from holdfast.commands.queue_configure import QueueConfigure
    from holdfast.commands.run_cancel import RunCancel
    from holdfast.commands.run_create import RunCreate
    from holdfast.commands.run_pause import RunPause
    from holdfast.commands.run_rerun_from import RunRerunFrom
    from holdfast.commands.run_resume import Resumed, RunResume
    from holdfast.commands.run_retry import RunRetry
    from holdfast.commands.run_unpause import RunUnpause
    from holdfast.creating import RunCreated, SingletonPolicy
    from holdfast.kernel import Kernel

__all__ = [
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

#: Where each name stands that is imported when it is first asked for.
_LATER: Final = {
    "flow": "holdfast.authoring.classes",
    "Graph": "holdfast.authoring.graph",
    "edge": "holdfast.authoring.nodes",
    "entry": "holdfast.authoring.nodes",
    "node": "holdfast.authoring.nodes",
    "Registry": "holdfast.authoring.registry",
    "Settings": "holdfast.command",
    "Kernel": "holdfast.kernel",
    "QueueConfigure": "holdfast.commands.queue_configure",
    "SingletonPolicy": "holdfast.creating",
    "Resumed": "holdfast.commands.run_resume",
    "RunCancel": "holdfast.commands.run_cancel",
    "RunCreate": "holdfast.commands.run_create",
    "RunCreated": "holdfast.creating",
    "RunPause": "holdfast.commands.run_pause",
    "RunRerunFrom": "holdfast.commands.run_rerun_from",
    "RunResume": "holdfast.commands.run_resume",
    "RunRetry": "holdfast.commands.run_retry",
    "RunUnpause": "holdfast.commands.run_unpause",
}


def __getattr__(name: str) -> Any:
    """Return a name that is imported when it is first asked for.

    Raises:
        AttributeError: If there is no such name.
    """
    module = _LATER.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(module), name)
    return value


def __dir__() -> list[str]:
    """Return the public names."""
    return list(__all__)
