"""Leases, headers and failures as decide functions are given them."""

from __future__ import annotations

from holdfast.codec import digest
from holdfast.entities.definition import Definition
from holdfast.entities.graph import Edge
from holdfast.entities.payload import Payload
from holdfast.entities.run import Failure, Run, RunHeader, RunStatus
from holdfast.entities.stage import ExpiredLease, Lease, StageInstance, StageKey, StageStatus
from holdfast_testing.clock import START

RUN_ID = "01941f29-7c00-7000-8000-000000000001"
FAILURE = Failure(code="STAGE_ERROR", message="no luck", stage_id="s1")


def payload(text: str = "1") -> Payload:
    """Return a payload that lies in its row."""
    return Payload(text=text, digest=digest(text), size=len(text))


def header(workflow_id: str = "line") -> RunHeader:
    """Return what a run keeps from its creation on."""
    return RunHeader(
        id=RUN_ID,
        tenant="",
        workflow_id=workflow_id,
        workflow_version="1",
        priority=5,
        input=payload(),
        config="{}",
    )


def key(stage_id: str, *, generation: int = 1) -> StageKey:
    """Return the identity of a stage instance of the run."""
    return StageKey(run_id=RUN_ID, stage_id=stage_id, generation=generation)


def sole(definition: Definition, stage_id: str = "s1") -> Edge:
    """Return the one edge that leads away from a stage."""
    (edge,) = definition.graph.outgoing[stage_id]
    return edge


def lease(
    stage_id: str = "s1",
    *,
    attempt: int = 1,
    epoch: int = 1,
    status: StageStatus = StageStatus.RUNNING,
    generation: int = 1,
) -> Lease:
    """Return a lease on a job of the run, of three attempts."""
    return Lease(
        key=key(stage_id, generation=generation),
        epoch=epoch,
        attempt=attempt,
        max_attempts=3,
        worker="w1",
        queue="default",
        status=status,
        run=header(),
        state=payload('"batch-1"') if status is StageStatus.SUSPENDED else None,
    )


def expired(*, attempt: int, status: StageStatus = StageStatus.RUNNING) -> ExpiredLease:
    """Return a lease that is past its end, on a job of three attempts."""
    return ExpiredLease(key=key("s1"), epoch=7, attempt=attempt, max_attempts=3, worker="dead", status=status)


def run(status: RunStatus, *, version: int = 9, generation: int = 1, failure: Failure | None = None) -> Run:
    """Return the run in a status."""
    return Run(
        header=header(),
        status=status,
        version=version,
        generation=generation,
        events=version,
        output_of=(),
        failure=failure,
        idempotency_key=None,
        created_at=START,
        started_at=START,
        finished_at=START if status.is_terminal else None,
    )


def instance(stage_id: str, status: StageStatus, *, failure: Failure | None = None) -> StageInstance:
    """Return a stage instance of the run in a status."""
    return StageInstance(
        key=key(stage_id),
        status=status,
        attempt=1,
        max_attempts=3,
        epoch=1,
        worker="w1",
        output=payload() if status is StageStatus.COMPLETED else None,
        failure=failure,
        due_at=None,
        lease_until=None,
        started_at=START,
        finished_at=START if status.is_terminal else None,
        metrics={},
        superseded=False,
    )
