"""Hand a payload to a wait of a run, or keep it until the wait is opened."""

from __future__ import annotations

import enum
from typing import Any, ClassVar

import attrs

from holdfast.change import Change, Require
from holdfast.codec import digest
from holdfast.command import Command, Ports
from holdfast.decide.park import answer, keep_message
from holdfast.entities.payload import Payload
from holdfast.entities.run import FORWARD_RUN, Run, RunStatus
from holdfast.entities.wait import WaitStatus
from holdfast.errors import IllegalTransition, InvalidInput, RunNotFound, UnknownToken, UnknownWait, WaitOver
from holdfast.naming import check_name, check_text
from holdfast.operations import Decision, Request, once
from holdfast.payloads import keep


class Resumed(enum.Enum):
    """What became of the payload."""

    #: An open wait took it.
    ANSWERED = "answered"
    #: Its wait is not open yet; it is kept until it is.
    KEPT = "kept"
    #: The wait had an answer already; that one stands.
    ANSWERED_BEFORE = "answered_before"


@attrs.frozen(kw_only=True)
class RunResumeResult:
    """What became of the payload, and who had been faster if somebody had."""

    run_id: str
    name: str
    outcome: Resumed
    #: Digest of the payload that stands: equal to that of the payload sent when it was the same.
    digest: str
    #: Who gave the answer that stands; None if nobody said.
    actor: str | None = None


@attrs.frozen(kw_only=True)
class RunResume(Command[RunResumeResult]):
    """Resume a run with a payload, addressed by a token or by run and name of the wait.

    The payload is checked against the type that the workflow declares before it is accepted. A wait takes one payload;
    whoever comes later is told of the first answer.
    """

    type: ClassVar[str] = "run.resume"
    joins: ClassVar[bool] = True

    #: The right to answer one wait; instead of *run_id* and *name*.
    token: str | None = None
    run_id: str | None = None
    #: The wait's name; ``name[item]`` for one of several.
    name: str | None = None
    #: A value of the declared type, or the JSON form of one.
    payload: Any = None
    #: Who answers, for the timeline.
    actor: str | None = None
    operation_id: str | None = None


async def handle(command: RunResume, ports: Ports) -> RunResumeResult:
    """Deliver the payload.

    Raises:
        UnknownToken: If the token is not the right to anything, or has expired.
        RunNotFound: If there is no such run.
        UnknownWorkflow: If the run's workflow version is not registered here.
        UnknownWait: If the workflow never waits for anything of that name.
        InvalidInput: If the payload does not fit.
        WaitOver: If the wait reached its limit before.
        IllegalTransition: If the run has ended.
    """
    check_name("operation id", command.operation_id)
    check_name("actor", command.actor)
    run_id, name = await _address(command, ports)
    run = await ports.persistence.find_run(run_id)
    if run is None:
        raise RunNotFound(run_id)
    text = _checked(command, run, name=name, ports=ports)

    async def decide() -> Decision[RunResumeResult]:
        return await _decide(run_id, name, text=text, actor=command.actor, ports=ports)

    request = Request(
        command=command.type,
        tenant=run.header.tenant,
        body=[run_id, name, digest(text), command.actor],
        operation_id=command.operation_id,
    )
    return await once(request, ports, decide=decide, result_type=RunResumeResult)


async def _address(command: RunResume, ports: Ports) -> tuple[str, str]:
    if command.token is not None:
        if command.run_id is not None or command.name is not None:
            raise InvalidInput("address", ["a token says it all; leave out run_id and name"])
        check_text("token", command.token)
        token = await ports.persistence.find_token(digest(command.token))
        if token is None or token.expired:
            raise UnknownToken
        return token.run_id, token.name
    if command.run_id is None or command.name is None:
        raise InvalidInput("address", ["it should be a token, or run_id and name"])
    check_name("run id", command.run_id)
    check_name("name of a wait", command.name)
    return command.run_id, command.name


def _checked(command: RunResume, run: Run, *, name: str, ports: Ports) -> str:
    """Return the payload as canonical text of its declared type."""
    definition = ports.definitions.get(run.header.workflow_id, run.header.workflow_version)
    waiting = definition.waiting
    declared = name.partition("[")[0]
    if declared not in waiting:
        raise UnknownWait(name, workflow=definition.name, known=sorted(waiting))
    _, kind = waiting[declared]
    return kind.encode(command.payload, what=f'payload of the wait "{name}"')


async def _decide(run_id: str, name: str, *, text: str, actor: str | None, ports: Ports) -> Decision[RunResumeResult]:
    hashed = digest(text)

    def told(outcome: Resumed, *, stands: str = hashed, by: str | None = actor) -> RunResumeResult:
        return RunResumeResult(run_id=run_id, name=name, outcome=outcome, digest=stands, actor=by)

    waits = await ports.persistence.list_named_waits(run_id, name)
    wait = next((one for one in waits if one.status is WaitStatus.OPEN), waits[-1] if waits else None)
    if wait is not None and wait.status is WaitStatus.RESOLVED:
        assert wait.payload is not None, "a RESOLVED wait has its payload"
        before = told(Resumed.ANSWERED_BEFORE, stands=wait.payload.digest, by=wait.actor)
        return Decision(change=None, result=before, note=_note(run_id))
    if wait is not None and wait.status is WaitStatus.EXPIRED:
        raise WaitOver(name, run_id=run_id)
    message = None if wait is not None else await ports.persistence.find_message(run_id, name)
    if message is not None:
        before = told(Resumed.ANSWERED_BEFORE, stands=message.payload.digest, by=message.actor)
        return Decision(change=None, result=before, note=_note(run_id))
    await _require_live(run_id, ports)
    payload = await _stored(text, run_id=run_id, name=name, ports=ports)
    if wait is None:
        change = keep_message(run_id, name=name, payload=payload, actor=actor)
        return Decision(change=change, result=told(Resumed.KEPT))
    return Decision(change=answer(wait, payload=payload, actor=actor), result=told(Resumed.ANSWERED))


async def _require_live(run_id: str, ports: Ports) -> None:
    run = await ports.persistence.find_run(run_id)
    if run is None:
        raise RunNotFound(run_id)
    if run.status not in FORWARD_RUN | {RunStatus.PENDING}:
        hint = "What it waited for is not needed any more."
        raise IllegalTransition(f"Run {run_id}", source=run.status.value, target="resumed", hint=hint)


async def _stored(text: str, *, run_id: str, name: str, ports: Ports) -> Payload:
    return await keep(
        text,
        prefix=f"{run_id}/wait/{digest(name)[:16]}",
        what=f'payload of the wait "{name}"',
        blob_store=ports.blob_store,
        settings=ports.settings,
    )


def _note(run_id: str) -> Change:
    return Change(run_id=run_id, require=Require(statuses=frozenset(RunStatus)))
