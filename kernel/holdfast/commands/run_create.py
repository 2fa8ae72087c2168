"""Create a run: validate its input and config against the workflow and store it PENDING."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, ClassVar, Final

import attrs

from holdfast.change import ZERO
from holdfast.command import Command, Ports
from holdfast.creating import DEFAULT_PRIORITY, NewRunRequest, RunCreated, SingletonPolicy, create_or_find
from holdfast.entities.retry import LONGEST
from holdfast.errors import InvalidInput
from holdfast.naming import check_name, check_number, check_text

#: Priorities lie between this and its negative.
MAX_PRIORITY: Final = 1_000_000


@attrs.frozen(kw_only=True)
class RunCreate(Command[RunCreated]):
    """Create a run.

    The same *idempotency_key* gives the same run, however often and wherever it is sent; with another request it is
    a conflict.
    """

    type: ClassVar[str] = "run.create"
    joins: ClassVar[bool] = True

    workflow_id: str
    #: A value of the workflow's input type, or the JSON form of one.
    input: Any = None
    #: The latest registered version when None.
    version: str | None = None
    #: Config slices by stage id; each overrides the fields of its defaults that it names.
    config: Mapping[str, Any] = attrs.field(factory=dict)
    #: From -1,000,000 to 1,000,000; higher goes first.
    priority: int = DEFAULT_PRIORITY
    #: An aware instant by this host's clock before which the run does not begin; at once when None.
    start_at: datetime | None = None
    #: What the run's state is at first, for workflows that have one.
    initial_state: Mapping[str, Any] = attrs.field(factory=dict)
    idempotency_key: str | None = None
    operation_id: str | None = None
    tenant: str = ""
    #: What the run's jobs count under in queues that limit how many of one key are leased; such as a customer's id.
    concurrency_key: str = ""
    #: Only one live run of the workflow with this key goes on at a time, within the tenant; such as an account's id.
    singleton: str | None = None
    #: What becomes of this run while another one has that key.
    singleton_policy: SingletonPolicy = SingletonPolicy.QUEUE
    annotations: Mapping[str, Any] = attrs.field(factory=dict)


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
    check_text("concurrency key", command.concurrency_key)
    check_name("singleton", command.singleton)
    check_name("idempotency key", command.idempotency_key)
    check_name("operation id", command.operation_id)
    definition = ports.definitions.get(command.workflow_id, command.version)
    if command.initial_state and not definition.stateful:
        raise InvalidInput("initial state", [f"workflow {definition.name} has no state; make it with state=True"])
    delay = ZERO
    if command.start_at is not None:
        if command.start_at.tzinfo is None:
            raise InvalidInput("start_at", ["it has no time zone; write an instant such as 2026-01-31T09:00:00+01:00"])
        # An instant crosses the store's border as a duration, so that clocks which differ shift it and no more.
        delay = max(command.start_at - ports.clock.now(), ZERO)
        if delay > LONGEST:
            raise InvalidInput("start_at", [f"it is more than {LONGEST.days:,} days ahead"])
    request = NewRunRequest(
        priority=command.priority,
        tenant=command.tenant,
        config=command.config,
        state=command.initial_state,
        annotations=command.annotations,
        delay=delay,
        start_at=None if command.start_at is None else command.start_at.isoformat(),
        idempotency_key=command.idempotency_key,
        operation_id=command.operation_id,
        version=command.version,
        concurrency_key=command.concurrency_key,
        singleton=command.singleton,
        singleton_policy=command.singleton_policy,
    )
    return await create_or_find(definition, command.input, request, ports=ports)
