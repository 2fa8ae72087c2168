"""Holdfast, a durable workflow engine: the words that workflows are written with, and the kernel that runs them."""

from holdfast.authoring.batch import BatchStage, Pending
from holdfast.authoring.context import Context
from holdfast.authoring.flow import Flow, workflow
from holdfast.authoring.registry import Registry
from holdfast.authoring.stage import Stage, stage
from holdfast.command import Settings
from holdfast.commands.run_cancel import RunCancel
from holdfast.commands.run_create import RunCreate
from holdfast.creating import RunCreated
from holdfast.commands.run_rerun_from import RunRerunFrom
from holdfast.driving import run_sync
from holdfast.entities.retry import NeverRetry, Retry, RetryAfter
from holdfast.entities.run import Failure, Run, RunStatus
from holdfast.entities.stage import StageStatus
from holdfast.errors import Conflict, DefinitionError, HoldfastError, Rejected, Unavailable
from holdfast.events import Event, EventType
from holdfast.kernel import Kernel

__all__ = [
    "BatchStage",
    "Conflict",
    "Context",
    "DefinitionError",
    "Event",
    "EventType",
    "Failure",
    "Flow",
    "HoldfastError",
    "Kernel",
    "NeverRetry",
    "Pending",
    "Registry",
    "Rejected",
    "Retry",
    "RetryAfter",
    "Run",
    "RunCancel",
    "RunCreate",
    "RunCreated",
    "RunRerunFrom",
    "RunStatus",
    "Settings",
    "Stage",
    "StageStatus",
    "Unavailable",
    "run_sync",
    "stage",
    "workflow",
]
