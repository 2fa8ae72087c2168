"""Let a paused run go on."""

from __future__ import annotations

from typing import ClassVar

import attrs

from holdfast.change import Change, Require
from holdfast.command import Command, Ports
from holdfast.decide.pause import unpause
from holdfast.entities.run import RunStatus
from holdfast.errors import IllegalTransition, RunNotFound
from holdfast.naming import check_name
from holdfast.operations import Decision, Request, once


@attrs.frozen(kw_only=True)
class RunUnpauseResult:
    """Whether this command made the difference."""

    #: False for a run that was so already.
    unpaused: bool
    #: The run's status now.
    status: RunStatus


@attrs.frozen(kw_only=True)
class RunUnpause(Command[RunUnpauseResult]):
    """Let a PAUSED run go on where it was held back."""

    type: ClassVar[str] = "run.unpause"
    joins: ClassVar[bool] = True

    run_id: str
    operation_id: str | None = None


async def handle(command: RunUnpause, ports: Ports) -> RunUnpauseResult:
    """Do it unless that was done before.

    Raises:
        RunNotFound: If there is no such run.
        IllegalTransition: If the run is in another status.
    """
    check_name("run id", command.run_id)
    check_name("operation id", command.operation_id)

    async def decide() -> Decision[RunUnpauseResult]:
        run = await ports.persistence.find_run(command.run_id)
        if run is None:
            raise RunNotFound(command.run_id)
        if run.status in {RunStatus.RUNNING, RunStatus.WAITING}:
            return Decision(
                change=None,
                result=RunUnpauseResult(unpaused=False, status=run.status),
                note=Change(run_id=run.id, require=Require(statuses=frozenset({run.status}))),
            )
        if run.status is not RunStatus.PAUSED:
            raise IllegalTransition(
                f"Run {run.id}", source=run.status.value, target="unpaused", hint="Only a PAUSED run can go on."
            )
        return Decision(change=unpause(run.id), result=RunUnpauseResult(unpaused=True, status=RunStatus.RUNNING))

    request = Request(command=command.type, tenant="", body=[command.run_id], operation_id=command.operation_id)
    return await once(request, ports, decide=decide, result_type=RunUnpauseResult)
