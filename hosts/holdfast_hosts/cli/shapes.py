"""How entities look as JSON: camelCase names, instants in UTC, payloads as the values they stand for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from holdfast.entities.definition import Definition, StageSpec
from holdfast.entities.graph import Edge
from holdfast.entities.queue import QueueLimits, QueueState
from holdfast.entities.run import Failure, Run
from holdfast.entities.stage import StageInstance
from holdfast.entities.wait import Wait
from holdfast.events import Event
from holdfast.ports.queries import Annotation, LogLine


def run_shape(run: Run) -> dict[str, Any]:
    """Return a run without its payloads."""
    return {
        "id": run.id,
        "key": run.idempotency_key,
        "workflowId": run.header.workflow_id,
        "workflowVersion": run.header.workflow_version,
        "status": run.status.value,
        "held": run.held,
        "parentId": run.header.parent_id,
        "generation": run.generation,
        "priority": run.header.priority,
        "tenant": run.header.tenant,
        "concurrencyKey": run.header.concurrency_key or None,
        "singleton": run.singleton,
        "createdAt": instant_shape(run.created_at),
        "startedAt": instant_shape(run.started_at),
        "finishedAt": instant_shape(run.finished_at),
        "failure": failure_shape(run.failure),
    }


def queue_shape(queue: QueueState | QueueLimits) -> dict[str, Any]:
    """Return the limits of a queue, and what waits in it if that is known; durations in seconds."""
    limits = queue if isinstance(queue, QueueLimits) else queue.limits
    rate = limits.rate
    shape: dict[str, Any] = {
        "name": limits.name,
        "concurrency": limits.concurrency,
        "perKey": limits.per_key,
        "rate": None
        if rate is None
        else {"tokens": rate.tokens, "periodSeconds": rate.period.total_seconds(), "burst": rate.burst},
        "paused": limits.paused,
    }
    if isinstance(queue, QueueState):
        oldest = None if queue.oldest is None else queue.oldest.total_seconds()
        shape |= {"ready": queue.ready, "leased": queue.leased, "oldestSeconds": oldest}
    return shape


def stage_shape(stage: StageInstance) -> dict[str, Any]:
    """Return a stage instance without its payloads."""
    return {
        "stageId": stage.key.stage_id,
        "generation": stage.key.generation,
        "turn": stage.key.turn,
        "item": stage.key.item,
        "status": stage.status.value,
        "attempt": stage.attempt,
        "maxAttempts": stage.max_attempts,
        "worker": stage.worker,
        "dueAt": instant_shape(stage.due_at),
        "leaseUntil": instant_shape(stage.lease_until),
        "startedAt": instant_shape(stage.started_at),
        "finishedAt": instant_shape(stage.finished_at),
        "metrics": dict(stage.metrics),
        "edge": stage.edge,
        "superseded": stage.superseded,
        "failure": failure_shape(stage.failure),
    }


def event_shape(event: Event) -> dict[str, Any]:
    """Return an event as it is stored."""
    key = event.key
    about: dict[str, Any] = {}
    if key is not None:
        about = {"stageId": key.stage_id, "generation": key.generation, "turn": key.turn, "item": key.item}
    return {
        "number": event.number,
        "type": event.type.value,
        "at": instant_shape(event.at),
        **about,
        "data": dict(event.data),
    }


def wait_shape(wait: Wait) -> dict[str, Any]:
    """Return a wait without its payload."""
    return {
        "name": wait.name,
        "kind": wait.kind.value,
        "status": wait.status.value,
        "reason": wait.reason,
        "stageId": wait.key.stage_id,
        "generation": wait.key.generation,
        "turn": wait.key.turn,
        "item": wait.key.item,
        "openedAt": instant_shape(wait.opened_at),
        "dueAt": instant_shape(wait.due_at),
        "actor": wait.actor,
    }


def log_shape(line: LogLine) -> dict[str, Any]:
    """Return a log line."""
    return {
        "at": instant_shape(line.at),
        "stageId": line.key.stage_id,
        "attempt": line.attempt,
        "level": line.level,
        "message": line.message,
        "data": dict(line.data),
    }


def annotation_shape(annotation: Annotation) -> dict[str, Any]:
    """Return an annotation."""
    return {
        "at": instant_shape(annotation.at),
        "name": annotation.name,
        "value": annotation.value,
        "stageId": None if annotation.key is None else annotation.key.stage_id,
        "actor": annotation.actor,
    }


def failure_shape(failure: Failure | None) -> dict[str, Any] | None:
    """Return a failure without its trace, which `runs show` prints on demand."""
    if failure is None:
        return None
    return {
        "code": failure.code,
        "message": failure.message,
        "error": failure.error,
        "stageId": failure.stage_id,
    }


def instant_shape(instant: datetime | None) -> str | None:
    """Return an instant as ISO 8601 in UTC with milliseconds."""
    if instant is None:
        return None
    return instant.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def run_length(run: Run, *, now: datetime) -> timedelta | None:
    """Return how long the run has taken so far or took in its present generation, or None before it starts."""
    return None if run.started_at is None else (run.finished_at or now) - run.started_at


def workflow_shape(definition: Definition) -> dict[str, Any]:
    """Return a workflow without its stages."""
    timeout = definition.timeout
    return {
        "id": definition.id,
        "version": definition.version,
        "description": definition.description,
        "input": definition.input.name,
        "output": definition.output.name,
        "timeoutSeconds": None if timeout is None else timeout.total_seconds(),
        "stepLimit": definition.step_limit,
        "compensates": definition.compensates,
    }


def spec_shape(spec: StageSpec) -> dict[str, Any]:
    """Return a stage of a workflow."""
    timeout = spec.timeout if spec.wait is None else spec.wait.timeout
    return {
        "id": spec.id,
        "act": spec.act.value,
        "input": spec.input.name,
        "output": spec.output.name,
        "attempts": spec.retry.attempts,
        "timeoutSeconds": None if timeout is None else timeout.total_seconds(),
        "queue": spec.queue,
        "within": spec.within,
        "limit": None if spec.mapped is None else spec.mapped.limit,
    }


def edge_shape(edge: Edge) -> dict[str, Any]:
    """Return an edge of a workflow; its condition is the source text."""
    return {
        "id": edge.id,
        "source": edge.source,
        "targets": list(edge.targets),
        "on": edge.on.value,
        "condition": None if edge.condition is None else edge.condition.label,
        "priority": edge.priority,
    }
