"""Cancel a run with everything of it that is still live."""

from __future__ import annotations

from typing import ClassVar

import attrs

from holdfast.change import Change, Require
from holdfast.command import Command, Ports
from holdfast.decide.cancel import cancel
from holdfast.entities.run import RunStatus
from holdfast.naming import check_name, check_text
from holdfast.operations import Decision, Request, once


@attrs.frozen(kw_only=True)
class RunCancelResult:
    """Whether this command cancelled the run."""

    #: False for an unknown run, for one that had ended, and for one that is being undone.
    cancelled: bool
    #: The run's status now: COMPENSATING when what its stages did is undone first; None for an unknown run.
    status: RunStatus | None


@attrs.frozen(kw_only=True)
class RunCancel(Command[RunCancelResult]):
    """Cancel a run; stages that are executing lose their leases and cannot commit any more."""

    type: ClassVar[str] = "run.cancel"
    joins: ClassVar[bool] = True

    run_id: str
    reason: str | None = None
    operation_id: str | None = None


async def handle(command: RunCancel, ports: Ports) -> RunCancelResult:
    """Cancel the run unless it has ended."""
    check_name("run id", command.run_id)
    check_name("operation id", command.operation_id)
    check_text("reason", command.reason or "")

    async def decide() -> Decision[RunCancelResult]:
        run = await ports.persistence.find_run(command.run_id)
        if run is None:
            return Decision(change=None, result=RunCancelResult(cancelled=False, status=None))
        if run.status.is_terminal or run.status is RunStatus.COMPENSATING:
            return Decision(
                change=None,
                result=RunCancelResult(cancelled=False, status=run.status),
                note=Change(run_id=run.id, require=Require(statuses=frozenset({run.status}))),
            )
        change = cancel(run, reason=command.reason)
        assert change.step.run is not None, "cancelling moves the run"
        return Decision(change=change, result=RunCancelResult(cancelled=True, status=change.step.run.status))

    request = Request(
        command=command.type,
        tenant="",
        body=[command.run_id, command.reason],
        operation_id=command.operation_id,
    )
    return await once(request, ports, decide=decide, result_type=RunCancelResult)
