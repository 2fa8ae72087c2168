"""What a gate makes of the edges that are resolved one after the other; every store applies these functions."""

from __future__ import annotations

from collections.abc import Mapping, MutableSequence
from typing import Any, Final

import attrs

from holdfast.change import Arrival, NewGate, Refill, Resolution, Rule, Step


@attrs.frozen(kw_only=True)
class GateState:
    """What is stored of a gate."""

    arity: int
    tolerate: int = 0
    resolved: int = 0
    taken: int = 0
    failed: int = 0
    #: Sources of the taken edges, in the order of arrival.
    sources: tuple[str, ...] = ()
    #: Whether it has opened, been skipped or failed; nothing follows from it any more.
    done: bool = False


def new_gate(gate: NewGate) -> GateState:
    """Return the state of a gate that was made with its number of edges; one that waits for none is done."""
    return GateState(arity=gate.arity, tolerate=gate.tolerate, done=gate.arity == 0)


def next_arrival(arrivals: MutableSequence[Arrival], rules: Mapping[str, Rule]) -> Arrival:
    """Take the arrival that is heard next: the first, but one at the gate that ends the run only when no other is left.

    So everything that is skipped on the way to the end is told before it.
    """
    for index, arrival in enumerate(arrivals):
        if rules[arrival.gate].opens.run is None:
            del arrivals[index]
            return arrival
    return arrivals.pop(0)


def arrive(state: GateState | None, rule: Rule, arrival: Arrival) -> tuple[GateState, Step | None]:
    """Return the gate after the arrival and what follows from it, None for nothing.

    Args:
        state: The gate as it is stored; None before the first arrival.
        rule: What applies to it.
        arrival: The edge that is resolved.
    """
    if state is None:
        assert rule.arity is not None, f"the gate {rule.gate} was never made"
        state = GateState(arity=rule.arity, tolerate=rule.tolerate)
    state = _counted(state, arrival)
    if state.done:
        return state, None
    verdict = _verdict(state, rule)
    if verdict is not None:
        return attrs.evolve(state, done=True), verdict
    return state, None if rule.refill is None else _refilled(rule.refill, state)


def _counted(state: GateState, arrival: Arrival) -> GateState:
    is_taken = arrival.resolution is Resolution.TAKEN
    sources = (*state.sources, arrival.source) if is_taken and arrival.source is not None else state.sources
    return attrs.evolve(
        state,
        resolved=state.resolved + 1,
        taken=state.taken + is_taken,
        failed=state.failed + (arrival.resolution is Resolution.FAILED),
        sources=sources,
    )


def _verdict(state: GateState, rule: Rule) -> Step | None:
    if state.failed > state.tolerate:
        return rule.fails
    if rule.need is not None and state.taken >= rule.need:
        return _opened(rule, state)
    if state.resolved < state.arity:
        return None
    if not state.taken and not state.failed:
        return rule.skips
    return _opened(rule, state) if rule.need is None else rule.fails


def _opened(rule: Rule, state: GateState) -> Step:
    opens = rule.opens
    if rule.arity is None:
        return opens
    run = opens.run
    if run is not None and run.output_of:
        run = attrs.evolve(run, output_of=tuple(stage_id for stage_id in run.output_of if stage_id in state.sources))
    return attrs.evolve(opens, run=run, jobs=tuple(attrs.evolve(job, via=state.sources) for job in opens.jobs))


def _refilled(refill: Refill, state: GateState) -> Step | None:
    item = refill.window + state.resolved - 1
    if item >= state.arity:
        return None
    key = attrs.evolve(refill.job.key, item=item)
    return Step(jobs=(attrs.evolve(refill.job, key=key),), events=(attrs.evolve(refill.event, key=key),))


#: How deep a state may be nested; patches beyond are refused where they are made.
_DEEPEST: Final = 100


def merged(state: Any, patch: Any, *, depth: int = _DEEPEST) -> Any:
    """Return *state* after the JSON merge patch *patch* (RFC 7396): objects merge, None deletes, all else replaces."""
    if not isinstance(patch, dict) or depth == 0:
        return patch
    result = dict(state) if isinstance(state, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = merged(result.get(name), value, depth=depth - 1)
    return result
