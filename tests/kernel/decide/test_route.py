"""What follows from the edges: forks, choices, joins, skips, loops, maps, and the end of the run."""

from __future__ import annotations

import pytest

from holdfast.decide.choose import Unroutable, choose, described
from holdfast.entities.definition import Join
from holdfast.entities.graph import END, TURN_BITS, Edge
from holdfast.entities.run import RunStatus
from tests.kernel.decide.drawing import Followed, Walk, drawn
from tests.kernel.graphs.compiled import compiled
from tests.kernel.graphs.plans import Arrow, Node, Plan

#: Two branches that meet: a forks into b and c, which lead to d.
DIAMOND = drawn("start: a", "a: b c", "b: d", "c: d", "d: end")
#: Two branches of which one is taken.
CHOICE = drawn("start: a", "a: b | c", "b: d", "c: d", "d: end")
#: A loop of a and b that is left from either.
LOOP = drawn("start: s", "s: a", "a: b | x", "b: c", "c: a | y", "x: end", "y: end")
#: A loop of i and j in one of h, i, j and k; both can be left from j.
NESTED = drawn("start: h", "h: i | k", "i: j", "j: i | z | k", "k: h | y", "y: end", "z: end")


# Forks, choices and joins.


def test_a_fork_begins_all_of_its_targets() -> None:
    """An edge with several targets makes all of them live, in order."""
    assert Walk(DIAMOND).take("a0").followed == Followed(("b", "c"), (), None, None)


def test_a_join_waits_for_every_way() -> None:
    """A stage where ways meet begins once all of them are taken, told of their sources in order of arrival."""
    assert Walk(DIAMOND).take("b0").followed.begun == ()
    (job,) = Walk(DIAMOND).take("c0", "b0").jobs
    assert (job.key.stage_id, job.via) == ("d", ("c", "b"))


def test_what_is_not_taken_is_skipped() -> None:
    """The other branch of a choice is skipped, and the stage behind both hears of it."""
    assert Walk(CHOICE).take("a0").followed == Followed(("b",), ("c",), None, None)
    (job,) = [job for job in Walk(CHOICE).take("a0", "b0").jobs if job.key.stage_id == "d"]
    assert job.via == ("b",)


def test_skipping_goes_on_to_whatever_only_leads_from_there() -> None:
    """A stage all of whose ways are skipped is skipped itself, and so on."""
    graph = drawn("start: a", "a: b c | end", "b: d", "c: d", "d: e", "e: end")
    assert Walk(graph).take("a1").followed == Followed((), ("b", "c", "d", "e"), RunStatus.COMPLETED, None)


def test_a_stage_that_a_branch_and_a_skip_lead_to_begins() -> None:
    """One taken way is enough once the others are skipped, whatever their number."""
    graph = drawn("start: a b", "a: c | d", "b: d", "c: end", "d: end")
    (job,) = [job for job in Walk(graph).take("b0", "a0").jobs if job.key.stage_id == "d"]
    assert job.via == ("b",)


def test_two_edges_to_one_stage_are_two_ways() -> None:
    """A stage that another one leads to by two of its edges begins when one is taken and the other is not."""
    graph = drawn("start: a", "a: b | b c", "b: end", "c: end")
    assert Walk(graph).take("a0").followed.begun == ("b",)
    assert sorted(Walk(graph).take("a1").followed.begun) == ["b", "c"]


def test_an_early_join_begins_once() -> None:
    """A join that needs one of two begins with the first, and the second changes nothing."""
    graph = drawn("start: a b", "a: j", "b: j", "j: end", joins={"j": Join(need=1)})
    (job,) = Walk(graph).take("b0", "a0").jobs
    assert (job.key.stage_id, job.via) == ("j", ("b",))


def test_a_join_that_cannot_get_what_it_needs_fails_the_run() -> None:
    """When too few ways are taken, and all are resolved, the run fails with the join's name."""
    graph = drawn("start: a b", "a: j | end", "b: j", "j: end", joins={"j": Join(need=2)})
    assert Walk(graph).take("a1", "b0").followed[2:] == (RunStatus.FAILED, "TOO_MANY_FAILED")


def test_a_tolerated_failure_lets_the_join_begin() -> None:
    """A join that tolerates a failure begins without the output of what failed; what lay between is skipped."""
    graph = drawn("start: a b", "a: x", "x: j", "b: j", "j: end", joins={"j": Join(tolerate=1)})
    assert graph.absorbs("a")
    walk = Walk(graph).fail("a").take("b0")
    assert walk.followed == Followed(("j",), ("x",), None, None)
    assert walk.jobs[0].via == ("b",)


def test_more_failures_than_tolerated_fail_the_run_and_nothing_follows_behind() -> None:
    """The run fails at the first failure too many; a join that would have begun by the same failure does not."""
    joins = {"j": Join(tolerate=1), "k": Join(tolerate=2)}
    graph = drawn("start: a b", "a: j k", "b: j k", "j: end", "k: end", joins=joins)
    assert Walk(graph).fail("a", "b").followed == Followed((), (), RunStatus.FAILED, "TOO_MANY_FAILED")


def test_a_failure_before_a_map_is_left_to_the_join_behind_it() -> None:
    """A map stands between a stage and a join as one stage would, also when its line branches."""
    plan = Plan(
        nodes={
            one.id: one
            for one in (
                Node(id="a"),
                Node(id="m*", kind="split", body=("p", "q", "r", "o"), collect="m+", limit=1),
                *(Node(id=name, within="m*") for name in "pqro"),
                Node(id="m+", kind="collect", form="nothing", sources=("o",)),
                Node(id="b"),
                Node(id="j", tolerate=1),
            )
        },
        arrows=tuple(
            Arrow(id=f"{source}>{'+'.join(targets)}", source=source, targets=targets)
            for source, targets in (
                ("~start", ("a", "b")),
                ("a", ("m*",)),
                ("m*", ("p",)),
                ("p", ("q", "r")),
                ("q", ("o",)),
                ("r", ("o",)),
                ("o", ("m+",)),
                ("m+", ("j",)),
                ("b", ("j",)),
                ("j", (END,)),
            )
        ),
    )
    definition = compiled(plan)
    assert [definition.absorbs(stage_id) for stage_id in ("a", "m*", "m+", "b")] == [True] * 4
    assert Walk(definition).fail("m*").followed.skipped == ("p", "q", "r", "o", "m+")


# The end of the run.


def test_the_run_ends_when_every_way_to_its_end_is_resolved() -> None:
    """A run with two ends ends with the last of them, and its output is of those that led there, in order."""
    graph = drawn("start: a b", "a: end", "b: end | c", "c: end")
    assert Walk(graph).take("b0").followed == Followed((), ("c",), None, None)
    step = Walk(graph).take("b0", "a0").routing.settled()
    assert step.run is not None
    assert (step.run.status, step.run.output_of) == (RunStatus.COMPLETED, ("a", "b"))


def test_the_end_is_the_last_that_is_told() -> None:
    """What the last edge passes by is skipped before the run ends."""
    graph = drawn("start: a", "a: end | b", "b: end")
    assert [event.type.value for event in Walk(graph).take("a0").routing.settled().events] == [
        "stage.skipped",
        "run.completed",
    ]


def test_a_path_longer_than_the_limit_fails_the_run() -> None:
    """The stage that would be one too many does not begin, and the failure names it."""
    graph = drawn("start: a", "a: a | end", step_limit=3)
    assert Walk(graph).take("a0", depth=2).followed.begun == ("a@1",)
    step = Walk(graph).take("a0", depth=3).routing.settled()
    assert step.run is not None
    assert step.run.failure is not None
    assert (step.run.failure.code, step.run.failure.stage_id) == ("STEP_LIMIT", "a")


# Loops.


def test_going_back_begins_the_next_turn() -> None:
    """The way back makes the head live in the next turn and leaves the ways out of the loop open."""
    assert Walk(LOOP).take("c0").followed == Followed(("a@1",), (), None, None)


def test_a_turn_that_is_cut_short_skips_its_rest() -> None:
    """Whatever of the turn was passed by on the way back is skipped in that turn."""
    graph = drawn("start: a", "a: b c", "b: d", "c: d", "d: a | e", "e: a | end")
    assert Walk(graph).take("d0", turn=1).followed == Followed(("a@2",), ("e@1",), None, None)


def test_leaving_a_loop_skips_its_other_ways_out() -> None:
    """The loop is left by one edge: what the others lead to is skipped, and so is the rest of the turn."""
    assert Walk(LOOP).take("a1", turn=1).followed == Followed(("x",), ("y", "b@1", "c@1"), None, None)
    assert Walk(LOOP).take("c1").followed == Followed(("y",), ("x",), None, None)


def test_leaving_two_loops_at_once_skips_the_ways_out_of_both() -> None:
    """What only the inner loop leads to is skipped in the turn of the outer one."""
    walk = Walk(NESTED).take("h0", turn=2).take("j1", turn=2 << TURN_BITS | 1)
    assert walk.followed == Followed(("i@2.0", "z"), ("y", "k@2"), None, None)


def test_leaving_the_inner_loop_leaves_the_ways_out_of_the_outer_one_open() -> None:
    """A way out of both loops may be taken in a later turn, so nothing is said of it."""
    assert Walk(NESTED).take("h0").take("j2").followed == Followed(("i", "k"), (), None, None)


def test_a_skipped_loop_is_skipped_with_all_its_stages() -> None:
    """Its stages are skipped in their first turn, and its ways out are resolved, once."""
    graph = drawn("start: s t", "s: a | j", "a: b", "b: a | j | k", "j: end", "t: k", "k: end")
    assert Walk(graph).take("s1", "t0").followed == Followed(("j", "k"), ("a", "b"), None, None)


def test_a_skipped_inner_loop_says_nothing_of_the_ways_out_of_the_outer_one() -> None:
    """The outer loop goes on, and by a later turn of the inner one it may still be left."""
    assert Walk(NESTED).take("h1").followed == Followed(("k",), ("i", "j"), None, None)


def test_going_back_from_an_inner_loop_leaves_that_loop() -> None:
    """A way from the inner loop to the head of the outer one begins a turn of that and skips what is between."""
    graph = drawn("start: h", "h: i", "i: i | h | k", "k: h | end")
    assert Walk(graph).take("i1", turn=3).followed == Followed(("h@1",), ("k",), None, None)
    assert Walk(graph).take("i2", turn=3).followed == Followed(("k",), (), None, None)


# Maps.


def test_a_skipped_map_is_skipped_as_a_whole() -> None:
    """Its beginning, its stages and its end are skipped, and then what it leads to."""
    graph = drawn("start: a", "a: m* | end", "m+: b", "b: end")
    assert Walk(graph).take("a1").followed.skipped == ("m*", "m-", "m+", "b")


# Choices.


def edge(name: str, *, priority: int = 0, otherwise: bool = False) -> Edge:
    """Return an edge to a stage of that name."""
    (made,) = [one for one in drawn("start: a", f"a: {name} | end", f"{name}: end").edges if one.id == "a0"]
    return Edge(
        id=name,
        source="a",
        targets=(name,),
        priority=priority,
        condition=None if otherwise else made.condition,
    )


def test_the_highest_priority_that_matches_is_taken_and_no_lower_one_asked() -> None:
    """Conditions are asked from the highest priority down, and no further than needed."""
    asked: list[str] = []

    def matches(one: Edge) -> bool:
        asked.append(one.id)
        return one.id != "high"

    edges = [edge("low"), edge("mid", priority=1), edge("high", priority=2), edge("other", priority=-1, otherwise=True)]
    assert choose(edges, of="a", matches=matches).id == "mid"
    assert asked == ["high", "mid"]


def test_without_a_match_the_edge_without_a_condition_is_taken() -> None:
    """Otherwise is what is left."""
    edges = [edge("other", priority=-1, otherwise=True), edge("b")]
    assert choose(edges, of="a", matches=lambda _: False).id == "other"


def test_a_tie_is_an_error_that_names_both_edges() -> None:
    """Two matches of one priority are not decided by their order."""
    with pytest.raises(Unroutable, match=r'"to b if choice in .* and "to c if choice in .*priority 0') as raised:
        choose([edge("b"), edge("c")], of="a", matches=lambda _: True)
    assert raised.value.code == "AMBIGUOUS_EDGE"


def test_no_match_is_an_error_and_never_the_end_of_the_run() -> None:
    """A stage without an edge to take is a gap in the workflow, and the error says which stage."""
    with pytest.raises(Unroutable, match='Behind "a" no edge matches') as raised:
        choose([edge("b"), edge("c", priority=1)], of="a", matches=lambda _: False)
    assert raised.value.code == "NO_EDGE"


def test_edges_are_described_as_a_person_would() -> None:
    """Where an edge leads and when."""
    assert described(edge("b", otherwise=True)) == "to b otherwise"
    assert described(Edge(id="e", source="a", targets=("b", END))) == "to b and the end otherwise"
