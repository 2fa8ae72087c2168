"""What stages do that the compiler put between those a person wrote: meet, wait, split, collect and undo."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

from holdfast.codec import from_json, to_json
from holdfast.decide.route import wait_name
from holdfast.entities.definition import Act, Shape, StageSpec
from holdfast.entities.graph import EdgeOn
from holdfast.entities.payload import Payload
from holdfast.entities.run import Failure
from holdfast.entities.stage import StageInstance, StageStatus
from holdfast.entities.wait import WaitStatus
from holdfast.events import EventType, NewEvent
from holdfast.inputs import Leased, Unfit, at_hand, context_of, input_text, read_outputs, sources_of
from holdfast.inside import JournalledSteps
from holdfast.payloads import attempt_prefix, inline, is_small, keep
from holdfast.ports.executor import BodyCall

#: A map over more items than this is refused.
MAX_ITEMS: Final = 1_000_000
#: Outputs of items that are read at once.
_PAGE: Final = 1_000


@attrs.frozen(kw_only=True)
class Acted:
    """The output of such a stage, and which of its edges may be taken."""

    output: Payload
    on: EdgeOn = EdgeOn.OUTPUT
    #: Of a SPLIT stage.
    items: tuple[Payload, ...] | None = None


async def act(job: Leased) -> Acted:
    """Do what the stage does instead of calling a body.

    Raises:
        Unfit: If something it needs is not there or does not fit.
        Rejected: If a payload is above the limit.
        Unavailable: If a port cannot be reached.
    """
    if job.spec.act is Act.COLLECT:
        return Acted(output=await _collected(job))
    sources = sources_of(job)
    if job.spec.act is Act.PASS and len(sources) == 1 and job.spec.shape is Shape.ONE:
        # What is handed on is not copied.
        payload = job.given.get(sources[0]) or await _payload(sources[0], job)
        if payload is not None:
            return Acted(output=payload)
    job.outputs = at_hand(sources, job) or await read_outputs(sources, job)
    text = await input_text(job)
    if job.spec.act is Act.WAIT:
        return await _waited(text, job)
    if job.spec.act is Act.SPLIT:
        return await _split(text, job)
    return Acted(output=await kept_text(text, job))


async def kept_text(text: str, job: Leased, *, what: str | None = None) -> Payload:
    """Return *text* as a payload of the attempt."""
    if is_small(text, job.ports.settings):
        return inline(text)
    return await keep(
        text,
        prefix=attempt_prefix(job.lease.key, epoch=job.lease.epoch),
        what=what or f'output of stage "{job.spec.id}"',
        blob_store=job.ports.blob_store,
        settings=job.ports.settings,
    )


async def _payload(stage_id: str, job: Leased) -> Payload | None:
    spec, key = job.definition.stages[stage_id], job.lease.key
    item = key.item if spec.within is not None and spec.within == job.spec.within else 0
    return (await job.ports.persistence.get_outputs(key.run_id, [stage_id], item=item)).get(stage_id)


async def _waited(text: str, job: Leased) -> Acted:
    spec = job.spec
    assert spec.wait is not None, "a WAIT stage waits for something"
    name = wait_name(spec.wait.name, spec=spec, item=job.lease.key.item)
    wait = (await job.steps.waits()).get(name)
    if wait is not None and wait.payload is not None:
        payload = await job.text_of(wait.payload)
        return Acted(output=await kept_text(f"[{text},{payload}]", job))
    if any(edge.on is EdgeOn.TIMEOUT for edge in job.definition.graph.outgoing[spec.id]):
        return Acted(output=await kept_text(text, job), on=EdgeOn.TIMEOUT)
    status = "not there" if wait is None else wait.status.value
    told = "Nobody answered in time." if wait is not None and wait.status is WaitStatus.EXPIRED else f"It is {status}."
    message = f'The wait "{name}" was not answered. {told}'
    raise Unfit(Failure(code="WAIT_TIMEOUT", message=message, stage_id=spec.id))


async def _split(text: str, job: Leased) -> Acted:
    values = from_json(text, what=f'input of stage "{job.spec.id}"')
    if not isinstance(values, list):
        message = f"A map takes a list; what arrived is {type(values).__name__}."
        raise Unfit(Failure(code="INVALID_INPUT", message=message, stage_id=job.spec.id))
    if len(values) > MAX_ITEMS:
        message = f"A map takes at most {MAX_ITEMS:,} items; {len(values):,} arrived. Split the work over child runs."
        raise Unfit(Failure(code="TOO_MANY_ITEMS", message=message, stage_id=job.spec.id))
    items = [await _item(value, number, job) for number, value in enumerate(values)]
    return Acted(output=inline(str(len(items))), items=tuple(items))


async def _item(value: Any, number: int, job: Leased) -> Payload:
    text = to_json(value, what="item of a map")
    if is_small(text, job.ports.settings):
        return inline(text)
    return await keep(
        text,
        prefix=f"{attempt_prefix(job.lease.key, epoch=job.lease.epoch)}-{number}",
        what=f"item {number} of a map",
        blob_store=job.ports.blob_store,
        settings=job.ports.settings,
    )


async def _collected(job: Leased) -> Payload:
    key = attrs.evolve(job.lease.key, stage_id=job.spec.sources[0], item=0)
    texts: list[str] = []
    after = -1
    while page := await job.ports.persistence.list_item_outputs(key, after=after, limit=_PAGE):
        for item, payload in page:
            texts += ["null"] * (item - len(texts))
            texts.append("null" if payload is None else await job.text_of(payload))
        after = page[-1][0]
    return await kept_text(f"[{','.join(texts)}]", job)


async def undo(job: Leased) -> None:
    """Call what undoes each completed stage, the latest first; what has been undone by an earlier attempt stays so.

    Raises:
        Exception: What undoing a stage raised.
        Unavailable: If a port cannot be reached.
    """
    snapshot = await job.ports.persistence.find_snapshot(job.lease.key.run_id)
    assert snapshot is not None, "a leased job has its run"
    for done in _to_undo(snapshot.stages, job):
        name = f"~undo:{done.key.stage_id}:{done.key.generation}:{done.key.turn}:{done.key.item}"
        await job.steps.once(
            name, _undone, args=(done, job, job.steps.within(name)), kwargs={}, tells=_telling(done, job)
        )


def _telling(done: StageInstance, job: Leased) -> Callable[[None], NewEvent]:
    told = NewEvent(type=EventType.STAGE_COMPENSATED, key=done.key, data={"attempt": job.lease.attempt})
    return lambda _: told


def _to_undo(stages: tuple[StageInstance, ...], job: Leased) -> list[StageInstance]:
    specs = job.definition.stages
    done = [
        one
        for one in stages
        if one.status is StageStatus.COMPLETED
        and one.key.stage_id in specs
        and specs[one.key.stage_id].compensate is not None
    ]
    # Of those that ended at one instant the one that stands further down the path came later.
    return sorted(done, key=lambda one: (one.finished_at, one.depth, one.key), reverse=True)


async def _undone(done: StageInstance, job: Leased, steps: JournalledSteps) -> None:
    spec: StageSpec = job.definition.stages[done.key.stage_id]
    body = spec.compensate
    assert body is not None, "only such stages are undone"
    assert done.output is not None, "a COMPLETED stage has its output"
    what = f'output of stage "{spec.id}"'
    arguments: list[Any] = []
    if body.takes_input:
        arguments.append(spec.output.decode(await job.text_of(done.output), what=what))
    if body.takes_context:
        # The context of the stage itself, so that its idempotency key is the one under which it acted.
        lease = attrs.evolve(job.lease, key=done.key, origin=done.origin)
        undoing = attrs.evolve(job, lease=lease, spec=spec)
        # Its checkpoints are those of the job that undoes, which alone holds a lease.
        vars(undoing)["steps"] = steps
        arguments.append(await context_of(undoing))
    await job.ports.executor.run(BodyCall(body=body, arguments=tuple(arguments), timeout=spec.timeout))
