"""Let a failed run go on from where it failed, keeping everything that completed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from holdfast.command import Command, Ports
from holdfast.decide.again import retry_run
from holdfast.entities.definition import UNDO
from holdfast.entities.run import Failure, Run
from holdfast.errors import RunNotFound
from holdfast.events import EventType
from holdfast.naming import check_name
from holdfast.operations import Decision, Request, once
from holdfast.settling import PAGE


@attrs.frozen(kw_only=True)
class RunRetryResult:
    """What is done again."""

    run_id: str
    #: The generation that the run is in now.
    generation: int
    #: The stages that are done again, in definition order.
    retried: tuple[str, ...]


@attrs.frozen(kw_only=True)
class RunRetry(Command[RunRetryResult]):
    """Retry a FAILED run: stages that failed, or were cancelled by that, are done again; the others are kept.

    Checkpoints inside them and answered waits stand, and their effects go under the same idempotency keys.
    """

    type: ClassVar[str] = "run.retry"
    joins: ClassVar[bool] = True

    run_id: str
    idempotency_key: str | None = None
    operation_id: str | None = None


async def handle(command: RunRetry, ports: Ports) -> RunRetryResult:
    """Open a new generation of the run.

    Raises:
        RunNotFound: If there is no such run.
        UnknownWorkflow: If its workflow version is not registered here.
        IllegalTransition: If the run has not failed, or what its stages did has been undone.
    """
    check_name("run id", command.run_id)
    check_name("idempotency key", command.idempotency_key)
    check_name("operation id", command.operation_id)

    async def decide() -> Decision[RunRetryResult]:
        snapshot = await ports.persistence.find_snapshot(command.run_id)
        if snapshot is None:
            raise RunNotFound(command.run_id)
        header = snapshot.run.header
        definition = ports.definitions.get(header.workflow_id, header.workflow_version)
        first = await _first_failure(snapshot.run, ports)
        decided = retry_run(snapshot, definition=definition, first=first)
        result = RunRetryResult(run_id=command.run_id, generation=decided.generation, retried=decided.stage_ids)
        return Decision(change=decided.change, result=result)

    request = Request(
        command=command.type,
        tenant="",
        body=[command.run_id],
        operation_id=command.operation_id,
        idempotency_key=command.idempotency_key,
    )
    return await once(request, ports, decide=decide, result_type=RunRetryResult)


async def _first_failure(run: Run, ports: Ports) -> Failure | None:
    """Return why the run had to be undone, as its timeline tells it, when that is what failed last."""
    if run.failure is None or run.failure.stage_id != UNDO:
        return None
    told: Mapping[str, Any] = {}
    after = 0
    while page := await ports.persistence.list_events(run.id, after=after, limit=PAGE):
        began = (event.data for event in page if event.type is EventType.RUN_COMPENSATING)
        told = next((data for data in began if data["because"] != "retried"), told)
        after = page[-1].number
    if told.get("because") != "failed":
        return None
    return Failure(code=told["code"], message=told["message"], stage_id=told.get("stage"))
