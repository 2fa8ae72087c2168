"""What a stage's body is called with: its input, its config and its context, read lazily and decoded once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import attrs

from holdfast.authoring.config import config_text
from holdfast.authoring.context import Attempt, Context, Surroundings
from holdfast.authoring.watch import Watch
from holdfast.codec import to_json
from holdfast.command import Ports
from holdfast.decide.route import Keep
from holdfast.entities.definition import Body, Definition, Shape, StageSpec
from holdfast.entities.payload import Payload
from holdfast.entities.run import Failure
from holdfast.entities.stage import Lease, StageStatus
from holdfast.entities.wait import Wait, WaitKind, WaitStatus
from holdfast.errors import Rejected
from holdfast.inside import JournalledSteps
from holdfast.payloads import BlobArtifacts, text_of


@attrs.define(kw_only=True, slots=False)
class Leased:
    """A leased job with everything that is known about it before its body runs."""

    lease: Lease
    ports: Ports
    definition: Definition
    spec: StageSpec
    #: Outputs that need not be read again, by stage id.
    given: Mapping[str, Payload]
    #: The worker that takes what follows at once, if it may.
    stay: Keep | None
    watch: Watch
    #: Canonical texts of the outputs that the stage may see, by stage id; known once the stage is prepared.
    outputs: Mapping[str, str] = attrs.field(factory=dict)
    #: The run's state; known once the stage is prepared, and only for workflows that have one.
    state: dict[str, Any] = attrs.field(factory=dict)
    #: Canonical text of the run's input; None while it is not at hand.
    run_input: str | None = None

    @property
    def is_poll(self) -> bool:
        """Whether the job is to be polled, not executed."""
        return self.lease.status is StageStatus.SUSPENDED

    @cached_property
    def steps(self) -> JournalledSteps:
        """What happens inside the stage."""
        return JournalledSteps(self.lease, self.ports, definition=self.definition, watch=self.watch)

    async def text_of(self, payload: Payload) -> str:
        """Return the text of a payload."""
        return await text_of(payload, blob_store=self.ports.blob_store)


@attrs.frozen
class Unfit(Exception):
    """The attempt failed for a reason in the stored data or the code, which another attempt cannot mend."""

    failure: Failure


@attrs.frozen(kw_only=True)
class Prepared:
    """A body with what it is called with."""

    body: Body
    arguments: tuple[Any, ...]
    #: Canonical text and value of the input; None for a body that takes none.
    input_text: str | None = None
    input_value: Any = None


async def prepare(job: Leased) -> Prepared:
    """Return the body of the stage and the arguments to call it with.

    Raises:
        Unfit: If a stored value does not fit the type that the code declares for it.
        Unavailable: If a port cannot be reached.
    """
    spec = job.spec
    polling = spec.polling if job.is_poll else None
    body = spec.body if polling is None else polling.body
    assert body is not None, "only stages with a body are prepared"
    await _look(job)
    arguments: list[Any] = []
    text: str | None = None
    if polling is not None:
        assert job.lease.state is not None, "a suspended stage instance has its state"
        text = await job.text_of(job.lease.state)
        arguments.append(_read(polling.state.decode, text, what=f'reference of stage "{spec.id}"', job=job))
    elif body.takes_input:
        text = await input_text(job)
        arguments.append(_read(spec.input.decode, text, what=f'input of stage "{spec.id}"', job=job))
    value = arguments[0] if arguments else None
    if body.takes_context:
        arguments.append(await context_of(job))
    return Prepared(body=body, arguments=tuple(arguments), input_text=text, input_value=value)


async def _look(job: Leased) -> None:
    """Read what the stage may see: most of it is at hand, and for that nothing is awaited."""
    spec = job.spec
    # A poll is called with its reference; the stage's sources were the business of what it submitted.
    wanted = tuple(job.definition.giving(need) for need in spec.needs)
    if not job.is_poll:
        wanted += sources_of(job)
    job.outputs = at_hand(wanted, job) or await read_outputs(wanted, job)
    payload = job.lease.run.input
    job.run_input = payload.text
    if job.definition.stateful:
        job.state = dict(await job.ports.persistence.get_state(job.lease.key.run_id))
        if payload.text is None:
            job.run_input = await job.text_of(payload)


def sources_of(job: Leased) -> tuple[str, ...]:
    """Return the stages that the input of this attempt is made of."""
    shape, via = job.spec.shape, job.lease.via
    if shape is Shape.TUPLE:
        return tuple(one for one in job.spec.sources if one in via or not _leads_here(one, job))
    return via if shape in {Shape.ONE, Shape.NAMED} else ()


def _leads_here(stage_id: str, job: Leased) -> bool:
    """Return whether an edge leads from the stage to this one.

    If it was not taken the output of that stage is no part of the input, though it may be there: from the stage having
    gone another way, from an earlier turn, or because it came too late for a join that did not wait for it.
    """
    return any(job.spec.id in edge.targets for edge in job.definition.graph.outgoing[stage_id])


def at_hand(wanted: tuple[str, ...], job: Leased) -> Mapping[str, str]:
    """Return the texts of the *wanted* outputs, or nothing if one of them is not in memory."""
    texts: dict[str, str] = {}
    for stage_id in wanted:
        payload = job.given.get(stage_id)
        if payload is None or payload.text is None:
            return {}
        texts[stage_id] = payload.text
    return texts


async def read_outputs(wanted: tuple[str, ...], job: Leased) -> Mapping[str, str]:
    """Return the texts of those of the *wanted* outputs that there are."""
    found: dict[str, Payload] = {stage_id: job.given[stage_id] for stage_id in wanted if stage_id in job.given}
    missing = [stage_id for stage_id in wanted if stage_id not in found]
    run_id, item, within = job.lease.key.run_id, job.lease.key.item, job.spec.within
    beside = [one for one in missing if within is not None and job.definition.stages[one].within == within]
    outside = [one for one in missing if one not in beside]
    if outside:
        found |= await job.ports.persistence.get_outputs(run_id, outside)
    if beside:
        found |= await job.ports.persistence.get_outputs(run_id, beside, item=item)
    return {stage_id: await job.text_of(payload) for stage_id, payload in found.items()}


async def input_text(job: Leased) -> str:
    """Return the canonical text of the stage's input.

    Raises:
        Unfit: If something of it is not there.
        Unavailable: If a port cannot be reached.
    """
    spec, lease, texts = job.spec, job.lease, job.outputs
    if spec.shape is Shape.ITEM:
        return await _item(job)
    if spec.shape is Shape.TUPLE:
        came = sources_of(job)
        _require(job, [one for one in came or _untold(spec) if one not in texts])
        return f"[{','.join(texts[one] if one in came else 'null' for one in spec.sources)}]"
    if spec.shape is Shape.NAMED:
        members = (f"{to_json(source)}:{texts[source]}" for source in sorted(texts) if source in lease.via)
        return "{" + ",".join(members) + "}"
    if not lease.via:
        if spec.id not in job.definition.entry:
            raise _absent(job, spec.sources)
        return await job.text_of(lease.run.input)
    _require(job, [source for source in lease.via if source not in texts])
    return texts[lease.via[0]]


def _untold(spec: StageSpec) -> tuple[str, ...]:
    """Return what is missing when nothing led here: nothing where all of it may fail."""
    return () if spec.join.tolerate else spec.sources


def _require(job: Leased, absent: list[str]) -> None:
    if absent:
        raise _absent(job, absent)


def _absent(job: Leased, absent: Any) -> Unfit:
    message = f"The output of {', '.join(absent)} is not there; the run's input never stands in for it."
    return Unfit(Failure(code="INVALID_INPUT", message=message, stage_id=job.spec.id))


async def _item(job: Leased) -> str:
    assert job.spec.within is not None, "items are those of a map"
    # A retried map was split again under its own generation, so the item is found under that of the instance.
    payload = await job.ports.persistence.find_item(attrs.evolve(job.lease.key, stage_id=job.spec.within))
    if payload is None:
        message = f"Item {job.lease.key.item} of the map is not there."
        raise Unfit(Failure(code="INVALID_INPUT", message=message, stage_id=job.spec.id))
    return await job.text_of(payload)


async def context_of(job: Leased) -> Context[Any]:
    """Return the context that the stage's body is called with."""
    spec, ports = job.spec, job.ports
    config = None
    if spec.config is not None:
        text = config_text(job.lease.run.config, spec.id)
        config = _read(spec.config.decode, text, what=f'config of stage "{spec.id}"', job=job, code="INVALID_CONFIG")
    resume, timed_out = await _resumed(job) if spec.waits and job.definition.stateful else (None, False)
    at = Attempt(
        lease=job.lease,
        spec=spec,
        definition=job.definition,
        outputs=job.outputs,
        watch=job.watch,
        surroundings=Surroundings(
            clock=ports.clock,
            services=ports.services,
            artifacts=BlobArtifacts(ports),
            block_on=ports.block_on,
        ),
        steps=job.steps,
        run_input=job.run_input,
        state=job.state,
        resume=resume,
        timed_out=timed_out,
        deadline=None if spec.timeout is None else ports.clock.now() + spec.timeout,
    )
    return Context(at, config=config)


async def _resumed(job: Leased) -> tuple[Any, bool]:
    """Return what the newest wait that the stage returned was answered with, and whether it reached its limit."""
    waits: list[Wait] = [one for one in (await job.steps.waits()).values() if one.kind is WaitKind.PAYLOAD]
    answered = [one for one in waits if one.status in {WaitStatus.RESOLVED, WaitStatus.EXPIRED}]
    if not answered:
        return None, False
    newest = answered[-1]
    if newest.payload is None:
        return None, True
    kind = job.spec.waits[newest.name.partition("[")[0]]
    text = await job.text_of(newest.payload)
    return _read(kind.decode, text, what=f'payload of the wait "{newest.name}"', job=job), False


def _read(decode: Callable[..., Any], text: str, *, what: str, job: Leased, code: str = "INVALID_INPUT") -> Any:
    try:
        return decode(text, what=what)
    except Rejected as error:
        name = type(error).__qualname__
        raise Unfit(Failure(code=code, message=str(error), error=name, stage_id=job.spec.id)) from error
    except BaseException as error:  # noqa: BLE001 - a validator of the user's, and nothing is awaited here
        message = f"The {what} could not be read: its validator raised {type(error).__name__}."
        failure = Failure(code=code, message=message, error=type(error).__qualname__, stage_id=job.spec.id)
        raise Unfit(failure) from None
