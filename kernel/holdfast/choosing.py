"""Which edge is taken behind a stage, and who executes under a key: what needs the user's functions to decide."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.authoring.seen import Seen
from holdfast.change import Change, Committed, Fence, Held
from holdfast.codec import digest
from holdfast.decide.choose import Unroutable, choose, described
from holdfast.entities.graph import Edge, EdgeOn
from holdfast.entities.keyed import KeyScope
from holdfast.entities.payload import Payload
from holdfast.entities.run import Failure
from holdfast.errors import CommitUnknown
from holdfast.gates import merged
from holdfast.inputs import Leased, Prepared, Unfit
from holdfast.naming import MAX_NAME
from holdfast.settling import checked
from holdfast.traces import Reservation


async def choose_edge(
    job: Leased, output: Payload, *, on: EdgeOn = EdgeOn.OUTPUT, patch: Mapping[str, Any] | None = None
) -> Edge:
    """Return the edge that is taken behind the stage.

    Args:
        job: The stage instance that is done.
        output: What it gave.
        on: Which of its outcomes that is.
        patch: What it changes in the run's state, which conditions see.

    Raises:
        Unroutable: If no edge, or more than one, can be taken, or a condition raised.
    """
    edges = job.definition.graph.outgoing[job.spec.id]
    if len(edges) == 1 and edges[0].condition is None:
        return edges[0]
    edges = tuple(edge for edge in edges if edge.on is on)
    if all(edge.condition is None for edge in edges):
        return choose(edges, of=job.spec.id, matches=lambda _: True)
    text = await job.text_of(output)
    value = job.spec.output.decode(text, what=f'output of stage "{job.spec.id}"')
    seen = Seen(
        job.definition,
        state=merged(job.state, dict(patch or {})),
        outputs={**job.outputs, job.spec.id: text},
        run_input=job.run_input,
    )

    def matches(edge: Edge) -> bool:
        condition = edge.condition
        assert condition is not None, "only conditions are asked"
        try:
            return bool(condition.function(value, seen) if condition.takes_run else condition.function(value))
        except BaseException as error:
            raise Unroutable(
                "CONDITION_FAILED",
                f'Behind "{job.spec.id}" the condition of the edge {described(edge)} raised '
                f"{type(error).__name__}: {error}. See {condition.source}; then retry the run.",
            ) from error

    return choose(edges, of=job.spec.id, matches=matches)


async def take_key(job: Leased, prepared: Prepared) -> Reservation | Held:
    """Take the key of the stage's input, or return who has it.

    Raises:
        Unfit: If the key function raises or returns no fit key.
        LeaseLost: If the lease is lost.
        Unavailable: If the store cannot be reached.
    """
    scope = KeyScope(
        tenant=job.lease.run.tenant,
        workflow_id=job.definition.id,
        stage_id=job.spec.id,
        key=_key(job, prepared),
    )
    reservation = Reservation(scope=scope, fingerprint=digest(prepared.input_text or ""))
    change = Change(
        run_id=job.lease.key.run_id,
        fence=Fence(key=job.lease.key, epoch=job.lease.epoch),
        reservation=reservation,
    )
    unknown: CommitUnknown | None = None
    for _ in range(job.ports.settings.commit_tries):
        try:
            outcome = (await job.ports.persistence.commit((change,)))[0]
        except CommitUnknown as error:
            # Taking it again is harmless: its holder may.
            unknown = error
            continue
        if isinstance(outcome, Held):
            return outcome
        assert isinstance(checked(outcome), Committed), "anything else was raised"
        return reservation
    raise CommitUnknown(f'the key of stage "{job.spec.id}" could not be taken or looked up') from unknown


def _key(job: Leased, prepared: Prepared) -> str:
    function = job.spec.key
    assert function is not None, "only keyed stages take keys"
    try:
        key: object = function(prepared.input_value)
    except BaseException as error:  # noqa: BLE001 - the user's own code, and nothing is awaited here
        message = f"The key function raised {type(error).__name__}: {error}"
        raise Unfit(Failure(code="INVALID_KEY", message=message, stage_id=job.spec.id)) from None
    if not isinstance(key, str) or not key or len(key) > MAX_NAME or not key.isprintable():
        shown = f"text of {len(key)} characters" if isinstance(key, str) else type(key).__name__
        message = f"The key function has to return printable text of 1 to {MAX_NAME} characters; it returned {shown}."
        raise Unfit(Failure(code="INVALID_KEY", message=message, stage_id=job.spec.id))
    return key
