"""Hold a run back: what executes may end, nothing more begins."""

from __future__ import annotations

from typing import ClassVar

import attrs

from holdfast.change import Change, Require
from holdfast.command import Command, Ports
from holdfast.decide.pause import pause
from holdfast.entities.run import RunStatus
from holdfast.errors import IllegalTransition, RunNotFound
from holdfast.naming import check_name, check_text
from holdfast.operations import Decision, Request, once


@attrs.frozen(kw_only=True)
class RunPauseResult:
    """Whether this command made the difference."""

    #: False for a run that was so already.
    paused: bool
    #: The run's status now.
    status: RunStatus


@attrs.frozen(kw_only=True)
class RunPause(Command[RunPauseResult]):
    """Pause a RUNNING or WAITING run; timers go on, and what they make due waits until the run goes on."""

    type: ClassVar[str] = "run.pause"
    joins: ClassVar[bool] = True

    run_id: str
    reason: str | None = None
    operation_id: str | None = None


async def handle(command: RunPause, ports: Ports) -> RunPauseResult:
    """Do it unless that was done before.

    Raises:
        RunNotFound: If there is no such run.
        IllegalTransition: If the run is in another status.
    """
    check_name("run id", command.run_id)
    check_name("operation id", command.operation_id)
    check_text("reason", command.reason or "")

    async def decide() -> Decision[RunPauseResult]:
        run = await ports.persistence.find_run(command.run_id)
        if run is None:
            raise RunNotFound(command.run_id)
        if run.status is RunStatus.PAUSED:
            return Decision(
                change=None,
                result=RunPauseResult(paused=False, status=run.status),
                note=Change(run_id=run.id, require=Require(statuses=frozenset({run.status}))),
            )
        if run.status not in {RunStatus.RUNNING, RunStatus.WAITING}:
            raise IllegalTransition(
                f"Run {run.id}",
                source=run.status.value,
                target="paused",
                hint="Only a RUNNING or WAITING run can be paused.",
            )
        return Decision(
            change=pause(run.id, reason=command.reason), result=RunPauseResult(paused=True, status=RunStatus.PAUSED)
        )

    request = Request(
        command=command.type, tenant="", body=[command.run_id, command.reason], operation_id=command.operation_id
    )
    return await once(request, ports, decide=decide, result_type=RunPauseResult)
