"""How a run comes to be, whether a command asks for it or a stage of another run does."""

from __future__ import annotations

import enum
import itertools
from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Final

import attrs

from holdfast.authoring.config import combine_config, resolve_config
from holdfast.change import ZERO, Change, Committed, Require
from holdfast.codec import from_json, to_json
from holdfast.command import Ports
from holdfast.decide.cancel import cancel
from holdfast.decide.create import Wanted, create
from holdfast.entities.definition import Definition
from holdfast.entities.run import RunHeader, RunStatus
from holdfast.errors import InvalidConfig, InvalidInput, SingletonTaken
from holdfast.naming import check_name
from holdfast.operations import Decision, Request, once
from holdfast.payloads import keep
from holdfast.settling import announce

#: What a run has that names no priority; higher goes first.
DEFAULT_PRIORITY: Final = 5
#: Configs, states and annotations above this many bytes are refused: they stand in rows that are read with every job.
MAX_ROW_TEXT: Final = 1_048_576


@attrs.frozen(kw_only=True)
class RunCreated:
    """The run that now exists."""

    run_id: str
    workflow_id: str
    workflow_version: str
    status: RunStatus = RunStatus.PENDING
    #: Whether nothing was created, because that run was live and has the same singleton key.
    skipped: bool = False


@attrs.frozen(kw_only=True)
class ChildOf:
    """What a child run has from its parent."""

    parent_id: str
    tenant: str
    priority: int
    concurrency_key: str


class SingletonPolicy(enum.Enum):
    """What becomes of a new run while another live run of its workflow and tenant has the same singleton key."""

    #: It is created and begins when those before it have ended, in order of creation.
    QUEUE = "queue"
    #: It is not created; the answer is the run that is there.
    SKIP = "skip"
    #: Those before it are cancelled, and it begins when they have ended.
    REPLACE = "replace"


@attrs.frozen(kw_only=True)
class NewRunRequest:
    """Everything about a run that is to be created but its workflow and input."""

    priority: int = DEFAULT_PRIORITY
    tenant: str = ""
    config: Mapping[str, Any] = attrs.field(factory=dict)
    state: Mapping[str, Any] = attrs.field(factory=dict)
    annotations: Mapping[str, Any] = attrs.field(factory=dict)
    delay: timedelta = ZERO
    #: The instant that *delay* was made of, as text; a part of what makes a request the same.
    start_at: str | None = None
    parent_id: str | None = None
    #: Under which the run is found again.
    idempotency_key: str | None = None
    #: Under which the outcome is found again.
    operation_id: str | None = None
    #: The version that was asked for; None for the latest.
    version: str | None = None
    concurrency_key: str = ""
    singleton: str | None = None
    singleton_policy: SingletonPolicy = SingletonPolicy.QUEUE


async def create_run(definition: Definition, value: Any, *, parent: ChildOf, idempotency_key: str, ports: Ports) -> str:
    """Create the child run unless it was created before, and return its id.

    Raises:
        UnknownWorkflow: If its workflow is not registered here.
        InvalidInput: If the input does not fit.
    """
    known = ports.definitions.get(definition.id, definition.version)
    request = NewRunRequest(
        priority=parent.priority,
        tenant=parent.tenant,
        concurrency_key=parent.concurrency_key,
        parent_id=parent.parent_id,
        idempotency_key=idempotency_key,
        version=definition.version,
    )
    created = await create_or_find(known, value, request, ports=ports)
    return created.run_id


async def create_or_find(definition: Definition, value: Any, request: NewRunRequest, *, ports: Ports) -> RunCreated:
    """Create the run, or return the one that the same request created before.

    Raises:
        InvalidInput: If the input does not fit, or a name is not fit to be stored.
        InvalidConfig: If config slices do not fit; all faults at once.
        PayloadTooLarge: If the input is above the limit.
        IdempotencyMismatch: If the key was used with another request.
    """
    text = definition.input.encode(value, what=f'input of workflow "{definition.id}"')
    config = combine_config(resolve_config(definition, request.config))
    if len(config) > MAX_ROW_TEXT:
        raise InvalidConfig(definition.id, [_too_large(config)])
    annotations = _small_object(request.annotations, what="annotations")
    for name in annotations:
        check_name("annotation name", name)
    state = _small_object(request.state, what="state")
    wanted = Wanted(
        idempotency_key=request.idempotency_key,
        annotations=annotations,
        state=state,
        delay=request.delay,
        singleton=request.singleton,
        queues_up=request.singleton_policy is not SingletonPolicy.SKIP,
    )

    async def decide() -> Decision[RunCreated]:
        run_id = ports.ids.new_id()
        payload = await keep(
            text,
            prefix=f"{run_id}/input",
            what=f'input of workflow "{definition.id}"',
            blob_store=ports.blob_store,
            settings=ports.settings,
        )
        header = RunHeader(
            id=run_id,
            tenant=request.tenant,
            workflow_id=definition.id,
            workflow_version=definition.version,
            priority=request.priority,
            input=payload,
            config=config,
            parent_id=request.parent_id,
            compensates=definition.compensates,
            concurrency_key=request.concurrency_key,
        )
        return Decision(
            change=create(header, wanted),
            result=RunCreated(run_id=run_id, workflow_id=definition.id, workflow_version=definition.version),
        )

    async def skipped(taken: SingletonTaken) -> Decision[RunCreated]:
        return await _skipped(taken.run_id, ports)

    seen = Request(
        command="run.create",
        tenant=request.tenant,
        body=[definition.id, request.version, text, config, request.priority, *_extra(request, state)],
        operation_id=request.operation_id,
        idempotency_key=request.idempotency_key,
    )
    created = await once(seen, ports, decide=decide, result_type=RunCreated, instead=skipped)
    if request.singleton_policy is SingletonPolicy.REPLACE and request.singleton is not None:
        await _replace(created.run_id, request.singleton, ports)
    return created


async def _skipped(run_id: str, ports: Ports) -> Decision[RunCreated]:
    """Return the answer that names the run which is there already, to be kept beside it."""
    run = await ports.persistence.find_run(run_id)
    assert run is not None, "a run that was met is there"
    header = run.header
    return Decision(
        change=None,
        result=RunCreated(
            run_id=run_id,
            workflow_id=header.workflow_id,
            workflow_version=header.workflow_version,
            status=run.status,
            skipped=True,
        ),
        note=Change(run_id=run_id, require=Require(statuses=frozenset(RunStatus))),
    )


async def _replace(run_id: str, key: str, ports: Ports) -> None:
    """Cancel the live runs of the key that were created before the run, unless that has begun, when there are none."""
    run = await ports.persistence.find_run(run_id)
    if run is None or not run.held:
        return
    header = run.header
    live = await ports.persistence.list_singletons(tenant=header.tenant, workflow_id=header.workflow_id, key=key)
    for other in itertools.takewhile(lambda one: one.id != run_id, live):
        for _ in range(ports.settings.conflict_tries):
            now = await ports.persistence.find_run(other.id)
            if now is None or now.status.is_terminal or now.status is RunStatus.COMPENSATING:
                break
            change = cancel(now, reason=f"Replaced by run {run_id}.")
            (outcome,) = await ports.persistence.commit((change,))
            if isinstance(outcome, Committed):
                await announce(change, outcome, ports)
                break


def _extra(request: NewRunRequest, state: Mapping[str, Any]) -> list[Any]:
    """Return what makes a request another one only where it is given."""
    extra: list[Any] = []
    if request.concurrency_key:
        extra.append({"concurrencyKey": request.concurrency_key})
    if request.singleton is not None:
        extra.append({"singleton": [request.singleton, request.singleton_policy.value]})
    if state:
        extra.append({"state": state})
    if request.start_at is not None:
        extra.append({"startAt": request.start_at})
    if request.parent_id is not None:
        extra.append({"parent": request.parent_id})
    return extra


def _small_object(value: Mapping[str, Any], *, what: str) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise InvalidInput(what, ["they should be an object" if what.endswith("s") else "it should be an object"])
    text = to_json(dict(value), what=what)
    if len(text) > MAX_ROW_TEXT:
        raise InvalidInput(what, [_too_large(text)])
    found: dict[str, Any] = from_json(text, what=what)
    return found


def _too_large(text: str) -> str:
    return f"{len(text):,} bytes are too many; the limit is {MAX_ROW_TEXT:,}. Hand large data over as input"
