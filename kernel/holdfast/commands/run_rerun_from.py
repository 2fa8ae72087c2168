"""Do a finished run again from one of its stages, keeping the outputs of earlier ones."""

from __future__ import annotations

from typing import ClassVar

import attrs

from holdfast.command import Command, Ports
from holdfast.decide.again import rerun
from holdfast.errors import RunNotFound
from holdfast.naming import check_name
from holdfast.operations import Decision, Request, once


@attrs.frozen(kw_only=True)
class RunRerunFromResult:
    """What is done again."""

    run_id: str
    from_stage_id: str
    #: The generation that the run is in now.
    generation: int
    #: The stages whose earlier instances are superseded, in definition order.
    superseded: tuple[str, ...]


@attrs.frozen(kw_only=True)
class RunRerunFrom(Command[RunRerunFromResult]):
    """Rerun a COMPLETED, FAILED or CANCELLED run from a stage, in a new generation; what leads to it is kept."""

    type: ClassVar[str] = "run.rerunFrom"
    joins: ClassVar[bool] = True

    run_id: str
    from_stage_id: str
    idempotency_key: str | None = None
    operation_id: str | None = None


async def handle(command: RunRerunFrom, ports: Ports) -> RunRerunFromResult:
    """Open a new generation of the run.

    Raises:
        RunNotFound: If there is no such run.
        UnknownWorkflow: If its workflow version is not registered here.
        UnknownStage: If the workflow has no such stage.
        IllegalTransition: If the run has not ended, or an earlier stage never completed.
    """
    check_name("run id", command.run_id)
    check_name("stage id", command.from_stage_id)
    check_name("idempotency key", command.idempotency_key)
    check_name("operation id", command.operation_id)

    async def decide() -> Decision[RunRerunFromResult]:
        snapshot = await ports.persistence.find_snapshot(command.run_id)
        if snapshot is None:
            raise RunNotFound(command.run_id)
        header = snapshot.run.header
        definition = ports.definitions.get(header.workflow_id, header.workflow_version)
        decided = rerun(snapshot, definition=definition, stage_id=command.from_stage_id)
        return Decision(
            change=decided.change,
            result=RunRerunFromResult(
                run_id=command.run_id,
                from_stage_id=command.from_stage_id,
                generation=decided.generation,
                superseded=decided.stage_ids,
            ),
        )

    request = Request(
        command=command.type,
        tenant="",
        body=[command.run_id, command.from_stage_id],
        operation_id=command.operation_id,
        idempotency_key=command.idempotency_key,
    )
    return await once(request, ports, decide=decide, result_type=RunRerunFromResult)
