"""What a gate makes of arrivals does not hang on their order, and nothing follows from it twice."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import attrs
from hypothesis import given
from hypothesis import strategies as st

from holdfast.change import Arrival, NewGate, NewJob, Refill, Resolution, Rule, RunPatch, Step
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageKey
from holdfast.events import EventType, NewEvent
from holdfast.gates import GateState, arrive, new_gate, next_arrival

TAKEN, SKIPPED, FAILED = Resolution.TAKEN, Resolution.SKIPPED, Resolution.FAILED
KEY = StageKey(run_id="r", stage_id="s")
JOB = NewJob(key=KEY, workflow_id="w", workflow_version="1", queue="default", priority=5, max_attempts=1)


def outcome(name: str) -> Step:
    """Return a step that can be recognised."""
    return Step(events=(NewEvent(type=EventType.STAGE_PROGRESS, data={"what": name}),))


def judged(*, arity: int | None, need: int | None, tolerate: int) -> Rule:
    """Return a rule from each of whose ends something else follows."""
    return Rule(
        gate="g",
        generation=1,
        arity=arity,
        need=need,
        tolerate=tolerate,
        opens=outcome("opens"),
        skips=outcome("skips"),
        fails=outcome("fails"),
    )


def verdicts(rule: Rule, resolutions: Sequence[Resolution], *, state: GateState | None = None) -> list[str]:
    """Return what follows from the arrivals, one after the other."""
    found: list[str] = []
    for resolution in resolutions:
        state, step = arrive(state, rule, Arrival(gate="g", resolution=resolution))
        if step is not None:
            found += [str(event.data["what"]) for event in step.events]
    return found


def expected(resolutions: Sequence[Resolution], *, need: int | None, tolerate: int) -> str:
    """Return what a gate comes to that hears of all of this at once."""
    taken, failed = resolutions.count(TAKEN), resolutions.count(FAILED)
    if failed > tolerate:
        return "fails"
    if need is not None:
        return "opens" if taken >= need else "fails" if taken or failed else "skips"
    return "opens" if taken or failed else "skips"


RESOLUTIONS = st.lists(st.sampled_from(Resolution), min_size=1, max_size=5)


@given(resolutions=RESOLUTIONS, tolerate=st.integers(0, 3))
def test_any_order_of_arrivals_gives_the_same_verdict_once(resolutions: list[Resolution], tolerate: int) -> None:
    """A gate that waits for all of its edges comes to one verdict, which only their number decides."""
    rule = judged(arity=len(resolutions), need=None, tolerate=tolerate)
    found = {tuple(verdicts(rule, order)) for order in permutations(resolutions)}
    assert found == {(expected(resolutions, need=None, tolerate=tolerate),)}


@given(resolutions=RESOLUTIONS, need=st.integers(1, 5), tolerate=st.integers(0, 3))
def test_an_early_gate_comes_to_one_verdict(resolutions: list[Resolution], need: int, tolerate: int) -> None:
    """A gate that needs some of its edges comes to one verdict, the same in any order unless too many may fail late."""
    rule = judged(arity=len(resolutions), need=min(need, len(resolutions)), tolerate=tolerate)
    found = {tuple(verdicts(rule, order)) for order in permutations(resolutions)}
    assert all(len(one) == 1 for one in found)
    if resolutions.count(FAILED) <= tolerate:
        assert found == {(expected(resolutions, need=rule.need, tolerate=tolerate),)}


@given(resolutions=RESOLUTIONS, more=RESOLUTIONS)
def test_nothing_follows_from_a_gate_that_is_done(resolutions: list[Resolution], more: list[Resolution]) -> None:
    """Arrivals beyond the verdict bring nothing about, whatever they are."""
    rule = judged(arity=len(resolutions), need=None, tolerate=0)
    assert len(verdicts(rule, [*resolutions, *more])) == 1


@given(resolutions=RESOLUTIONS)
def test_a_gate_made_for_no_edges_is_shut(resolutions: list[Resolution]) -> None:
    """The gate of what a rerun keeps hears of what is done again before it, and opens no second time."""
    shut = new_gate(NewGate(gate="g", generation=2, turn=0, arity=0))
    assert verdicts(judged(arity=len(resolutions), need=1, tolerate=0), resolutions, state=shut) == []


@given(
    items=st.integers(1, 12), window=st.integers(1, 4), failed=st.sets(st.integers(0, 11)), tolerate=st.integers(0, 12)
)
def test_a_map_begins_each_item_once(items: int, window: int, failed: set[int], tolerate: int) -> None:
    """Each item becomes live once, never more than the window at a time, and the last one that ends opens the gate."""
    refill = Refill(window=window, job=JOB, event=NewEvent(type=EventType.STAGE_READY, key=KEY))
    rule = attrs.evolve(judged(arity=None, need=None, tolerate=0), refill=refill)
    state = new_gate(NewGate(gate="g", generation=1, turn=0, arity=items, tolerate=tolerate))
    begun, live, ends = list(range(min(window, items))), list(range(min(window, items))), list[str]()
    while live and not ends:
        resolution = FAILED if live.pop(0) in failed else TAKEN
        state, step = arrive(state, rule, Arrival(gate="g", resolution=resolution))
        jobs = [] if step is None else [job.key.item for job in step.jobs]
        ends += [] if step is None or jobs else [str(event.data["what"]) for event in step.events]
        live += jobs
        begun += jobs
        assert len(live) <= window
    lost = sum(item in failed for item in range(items))
    assert ends == ["fails" if lost > tolerate else "opens"]
    assert begun == sorted(set(begun))
    assert lost > tolerate or begun == list(range(items))


def test_sources_are_those_of_taken_edges_in_their_order() -> None:
    """What a gate opens is told who led to it, in the order of arrival."""
    rule = attrs.evolve(judged(arity=4, need=None, tolerate=1), opens=Step(jobs=(JOB,)))
    state: GateState | None = None
    step: Step | None = None
    for source, resolution in (("c", TAKEN), ("a", SKIPPED), ("d", FAILED), ("b", TAKEN)):
        state, step = arrive(state, rule, Arrival(gate="g", resolution=resolution, source=source))
    assert step is not None
    assert [job.via for job in step.jobs] == [("c", "b")]


def test_the_end_of_a_run_is_heard_of_last() -> None:
    """Of several arrivals the first is next, but one at the gate that ends the run only when no other is left."""
    end = attrs.evolve(judged(arity=1, need=None, tolerate=0), opens=Step(run=RunPatch(status=RunStatus.COMPLETED)))
    rules = {"end": end, "a": judged(arity=1, need=None, tolerate=0), "b": judged(arity=1, need=None, tolerate=0)}
    arrivals = [Arrival(gate=gate) for gate in ("end", "a", "b")]
    assert [next_arrival(arrivals, rules).gate for _ in range(3)] == ["a", "b", "end"]
    assert arrivals == []
