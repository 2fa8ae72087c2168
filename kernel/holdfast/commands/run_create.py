"""Create a run: validate its input and config against the workflow and store it PENDING."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import attrs

from holdfast.authoring.config import combine_config, resolve_config
from holdfast.codec import from_json, to_json
from holdfast.command import Command, Ports
from holdfast.decide.create import create
from holdfast.entities.run import RunHeader, RunStatus
from holdfast.errors import InvalidConfig, InvalidInput
from holdfast.naming import check_name, check_number, check_text
from holdfast.operations import Decision, Request, once
from holdfast.payloads import keep

#: What a run has that names no priority; higher goes first.
DEFAULT_PRIORITY = 5
#: Priorities lie between this and its negative.
MAX_PRIORITY = 1_000_000
#: Configs and annotations above this many bytes are refused: they stand in rows that are read with every job.
MAX_ROW_TEXT = 1_048_576


@attrs.frozen(kw_only=True)
class RunCreated:
    """The run that now exists."""

    run_id: str
    workflow_id: str
    workflow_version: str
    status: RunStatus = RunStatus.PENDING


@attrs.frozen(kw_only=True)
class RunCreate(Command[RunCreated]):
    """Create a run.

    The same *idempotency_key* gives the same run, however often and wherever it is sent; with another request it is
    a conflict.
    """

    type: ClassVar[str] = "run.create"

    workflow_id: str
    #: A value of the workflow's input type, or the JSON form of one.
    input: Any = None
    #: The latest registered version when None.
    version: str | None = None
    #: Config slices by stage id; each overrides the fields of its defaults that it names.
    config: Mapping[str, Any] = attrs.field(factory=dict)
    #: From -1,000,000 to 1,000,000; higher goes first.
    priority: int = DEFAULT_PRIORITY
    idempotency_key: str | None = None
    operation_id: str | None = None
    tenant: str = ""
    annotations: Mapping[str, Any] = attrs.field(factory=dict)


def _annotations(command: RunCreate) -> Mapping[str, Any]:
    if not isinstance(command.annotations, Mapping):
        raise InvalidInput("annotations", ["they should be an object"])
    text = to_json(dict(command.annotations), what="annotations")
    if len(text) > MAX_ROW_TEXT:
        raise InvalidInput("annotations", [_too_large(text)])
    annotations: dict[str, Any] = from_json(text, what="annotations")
    for name in annotations:
        check_name("annotation name", name)
    return annotations


def _too_large(text: str) -> str:
    return f"{len(text):,} bytes are too many; the limit is {MAX_ROW_TEXT:,}. Hand large data over as input"


async def handle(command: RunCreate, ports: Ports) -> RunCreated:
    """Create the run, or return the one that the same request created before.

    Raises:
        UnknownWorkflow: If the workflow is not registered here.
        InvalidInput: If the input does not fit, or a name, a key or a number is not fit to be stored.
        InvalidConfig: If config slices do not fit; all faults at once.
        PayloadTooLarge: If the input is above the limit.
        IdempotencyMismatch: If the key was used with another request.
    """
    check_name("workflow id", command.workflow_id)
    check_name("version", command.version)
    check_number("priority", command.priority, least=-MAX_PRIORITY, most=MAX_PRIORITY)
    check_text("tenant", command.tenant)
    check_name("idempotency key", command.idempotency_key)
    check_name("operation id", command.operation_id)
    definition = ports.definitions.get(command.workflow_id, command.version)
    text = definition.input.encode(command.input, what=f'input of workflow "{definition.id}"')
    config = combine_config(resolve_config(definition, command.config))
    if len(config) > MAX_ROW_TEXT:
        raise InvalidConfig(definition.id, [_too_large(config)])
    annotations = _annotations(command)
    body = [command.workflow_id, command.version, text, config, command.priority]

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
            tenant=command.tenant,
            workflow_id=definition.id,
            workflow_version=definition.version,
            priority=command.priority,
            input=payload,
            config=config,
        )
        return Decision(
            change=create(header, idempotency_key=command.idempotency_key, annotations=annotations),
            result=RunCreated(run_id=run_id, workflow_id=definition.id, workflow_version=definition.version),
        )

    request = Request(
        command=command.type,
        tenant=command.tenant,
        body=body,
        operation_id=command.operation_id,
        idempotency_key=command.idempotency_key,
    )
    return await once(request, ports, decide=decide, result_type=RunCreated)
