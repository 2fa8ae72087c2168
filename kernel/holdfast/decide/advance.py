"""The decision after a stage completed: its record, and what follows from it."""

from __future__ import annotations

from holdfast.change import Arrival, Change, Finish
from holdfast.decide.open import Keep, Opened, open_gate
from holdfast.decide.outcome import NOTHING_LEFT, Left, outcome
from holdfast.entities.definition import Definition
from holdfast.entities.payload import Payload
from holdfast.entities.stage import Lease, StageStatus
from holdfast.events import EventType, NewEvent


def advance(
    lease: Lease,
    *,
    definition: Definition,
    output: Payload,
    left: Left = NOTHING_LEFT,
    keep: Keep | None = None,
) -> Change:
    """Return the change-set that completes the leased stage and readies what its gates open.

    Gates of one source open at once. At the others the completion counts as one arrival, so that completions in
    parallel commute and whichever comes last opens the gate.
    """
    key = lease.key
    opened = Opened(
        events=[*left.events, NewEvent(type=EventType.STAGE_COMPLETED, key=key, data={"attempt": lease.attempt})]
    )
    arrivals: list[Arrival] = []
    for gate in definition.gates_behind[key.stage_id]:
        arity = len(gate.sources)
        behind = opened if arity == 1 else Opened()
        open_gate(gate, behind, definition=definition, header=lease.run, generation=key.generation, keep=keep)
        if arity > 1:
            arrivals.append(Arrival(gate=gate.id, generation=key.generation, arity=arity, step=behind.step()))
    return outcome(
        lease,
        settle=Finish(status=StageStatus.COMPLETED, output=output, metrics=left.metrics),
        left=left,
        step=opened.step(),
        arrivals=tuple(arrivals),
    )
