"""Derive what follows for a run and apply it; a no-op when nothing is lacking."""

from __future__ import annotations

import enum
from typing import ClassVar

import attrs

from holdfast.change import Change
from holdfast.command import Command, Ports
from holdfast.decide.derive import derive
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageKey
from holdfast.errors import StaleVersion
from holdfast.naming import check_name
from holdfast.settling import announce, checked


class TransitionAction(enum.Enum):
    """What a transition did."""

    ADVANCED = "advanced"
    COMPLETED = "completed"
    FAILED = "failed"
    NOOP = "noop"


@attrs.frozen(kw_only=True)
class RunTransitionResult:
    """What followed."""

    action: TransitionAction
    #: The jobs that became ready.
    jobs: tuple[StageKey, ...] = ()


@attrs.frozen(kw_only=True)
class RunTransition(Command[RunTransitionResult]):
    """Derive what a run lacks; normally every commit has done that already and this is a no-op."""

    type: ClassVar[str] = "run.transition"

    run_id: str


async def handle(command: RunTransition, ports: Ports) -> RunTransitionResult:
    """Apply what the run lacks; another host that is faster makes this a no-op.

    Raises:
        UnknownWorkflow: If the run's workflow version is not registered here.
    """
    check_name("run id", command.run_id)
    snapshot = await ports.persistence.find_snapshot(command.run_id)
    if snapshot is None or snapshot.run.status is not RunStatus.RUNNING:
        return RunTransitionResult(action=TransitionAction.NOOP)
    header = snapshot.run.header
    change = derive(snapshot, definition=ports.definitions.get(header.workflow_id, header.workflow_version))
    if change is None:
        return RunTransitionResult(action=TransitionAction.NOOP)
    outcome = (await ports.persistence.commit((change,)))[0]
    if isinstance(outcome, StaleVersion):
        return RunTransitionResult(action=TransitionAction.NOOP)
    await announce(change, checked(outcome), ports)
    return RunTransitionResult(action=_action(change), jobs=tuple(job.key for job in change.step.jobs))


def _action(change: Change) -> TransitionAction:
    if change.step.run is None:
        return TransitionAction.ADVANCED
    if change.step.run.status is RunStatus.COMPLETED:
        return TransitionAction.COMPLETED
    return TransitionAction.FAILED
