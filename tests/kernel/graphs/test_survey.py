"""What follows from the edges of random graphs: loops, turns, and what lies ahead."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.entities.graph import DEEPEST_LOOP, END, START, TURN_BITS, Edge, LoopError, Way, survey, turns
from tests.kernel.graphs.compiled import compiled
from tests.kernel.graphs.plans import Plan, Script
from tests.kernel.graphs.strategies import plans

Drawn = tuple[Plan, Script]
QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much)
#: So many turns of each loop are looked at.
TURNS = 2


def encoded(turn: tuple[int, ...]) -> int:
    """Return the number that stands for a turn."""
    return sum(digit << (TURN_BITS * place) for place, digit in enumerate(reversed(turn)))


def next_turn(plan: Plan, source: str, turn: tuple[int, ...], target: str) -> tuple[int, ...]:
    """Return the turn that a way from *source* in *turn* leads to."""
    around, own = plan.loops(target), plan.loops(source)
    if target in own:
        depth = own.index(target)
        return (*turn[:depth], turn[depth] + 1)
    shared = len([one for one in own if one in around])
    return (*turn[:shared], *(0 for _ in around[shared:]))


def ways(plan: Plan) -> Iterator[Way]:
    """Return every way of the definition."""
    for edge in compiled(plan).edges:
        yield from (Way(edge=edge, target=target) for target in edge.targets)


@settings(max_examples=100, deadline=None, suppress_health_check=QUIET)
@given(drawn=plans())
def test_loops_and_ways_are_found(drawn: Drawn) -> None:
    """Loops are found as they were nested, and ways are counted without those that begin a turn."""
    plan = drawn[0]
    graph = compiled(plan).graph
    for node in plan.nodes.values():
        assert graph.nests[node.id] == node.loops
        assert graph.arity[node.id] == len(plan.entering[node.id])
    assert graph.arity[END] == len(plan.entering[END])
    for head, loop in graph.loops.items():
        assert loop.members == {node.id for node in plan.nodes.values() if head in node.loops}
        assert {(way.edge.id, way.target) for way in loop.exits} == {
            (way.edge.id, way.target)
            for way in ways(plan)
            if way.edge.source in loop.members and way.target not in loop.members
        }


@settings(max_examples=100, deadline=None, suppress_health_check=QUIET)
@given(drawn=plans(), data=st.data())
def test_ways_lead_to_the_turn_they_should(drawn: Drawn, data: st.DataObject) -> None:
    """A way keeps the turns of loops around both ends, begins those that it enters, and counts the one it repeats."""
    plan = drawn[0]
    graph = compiled(plan).graph
    for way in ways(plan):
        source, target = way.edge.source, way.target
        own = plan.loops(source)
        turn = tuple(data.draw(st.integers(0, 2**TURN_BITS - 2)) for _ in own)
        reached = next_turn(plan, source, turn, target)
        assert turns(graph.turn(way, turn=encoded(turn)), depth=len(plan.loops(target))) == reached
        assert graph.is_back(way) == (target in own)
        assert graph.leaves(way) == next((loop for loop in own if loop not in plan.loops(target)), None)
        if target not in {*own, END} and source != START:
            assert graph.at(target, of=source, turn=encoded(turn)) == encoded(reached)


@settings(max_examples=60, deadline=None, suppress_health_check=QUIET)
@given(drawn=plans(most=12))
def test_what_precedes_what_is_what_a_way_leads_to(drawn: Drawn) -> None:
    """A stage in a turn precedes another one exactly if a path through turns leads there."""
    plan = drawn[0]
    graph = compiled(plan).graph
    # One turn more than is looked at, for a path may go around a loop once before it leaves it.
    places = {
        (stage, turn) for stage in plan.nodes for turn in product(range(TURNS + 1), repeat=len(plan.loops(stage)))
    }
    onward = {
        (stage, turn): {
            (target, next_turn(plan, stage, turn, target)) for arrow in plan.leaving[stage] for target in arrow.targets
        }
        & places
        for stage, turn in places
    }
    for stage, turn in places:
        if any(digit >= TURNS for digit in turn):
            continue
        found: set[tuple[str, tuple[int, ...]]] = set()
        work = [(stage, turn)]
        while work:
            news = onward[work.pop()] - found
            found |= news
            work += news
        for other, later in places:
            if all(digit < TURNS for digit in later) and (other, later) != (stage, turn):
                precedes = graph.precedes(stage, encoded(turn), of=other, of_turn=encoded(later))
                assert precedes == ((other, later) in found), f"{stage}@{turn} and {other}@{later}"


def edges(*ways: str) -> list[Edge]:
    """Return an edge for each text such as ``a b c``: from a to b and c."""
    split = [way.split() for way in ways]
    return [Edge(id=way, source=names[0], targets=tuple(names[1:])) for way, names in zip(ways, split, strict=True)]


def test_a_loop_with_two_entries_is_refused() -> None:
    """A loop that can be entered at two stages has no head, and the error names both."""
    with pytest.raises(LoopError, match="entered at more than one stage") as raised:
        survey("abc", edges(f"{START} a", "a b", "a c", "b c", "c b", f"c {END}"))
    assert raised.value.stages == ("b", "c")


def test_loops_stand_three_deep_and_no_deeper() -> None:
    """Three loops one within the other are understood, a fourth is refused."""
    names = "abcdef"
    line = [f"{START} a", *(f"{one} {other}" for one, other in pairwise(names)), f"f {END}"]
    backs = ["f a", "e b", "d c"]
    assert survey(names, edges(*line, *backs)).nests["d"] == ("a", "b", "c")
    assert len(backs) == DEEPEST_LOOP
    with pytest.raises(LoopError, match="more than 3 loops"):
        survey(names, edges(*line, *backs, "d d"))


def test_a_loop_that_nothing_leads_to_is_refused() -> None:
    """Stages that only lead to each other can never begin."""
    with pytest.raises(LoopError, match="cannot be reached"):
        survey("abc", edges(f"{START} a", f"a {END}", "b c", "c b"))
