"""Reruns and retries of graphs: what is kept, what begins again, and what is refused."""

from __future__ import annotations

import pytest

from holdfast.change import NewGate
from holdfast.decide.again import Again, rerun, retry_run
from holdfast.entities.definition import Definition, Join
from holdfast.entities.graph import TURN_BITS
from holdfast.entities.run import RunStatus
from holdfast.entities.snapshot import RunSnapshot
from holdfast.entities.stage import StageStatus
from holdfast.errors import IllegalTransition
from tests.kernel.decide.drawing import arrived, drawn, ended, past

FAILED, CANCELLED, SKIPPED = StageStatus.FAILED, StageStatus.CANCELLED, StageStatus.SKIPPED
DONE = RunStatus.COMPLETED


def again(snapshot: RunSnapshot, definition: Definition, stage_id: str | None = None) -> Again:
    """Rerun from the stage, or retry."""
    if stage_id is None:
        return retry_run(snapshot, definition=definition)
    return rerun(snapshot, definition=definition, stage_id=stage_id)


def begun(decided: Again) -> list[tuple[str, int]]:
    """Return what begins at once, with its turn; it begins in the new generation."""
    jobs = arrived(decided.change).jobs
    assert {job.key.generation for job in jobs} == {2}
    return [(job.key.stage_id, job.key.turn) for job in jobs]


def test_rerun_keeps_what_leads_to_the_stage_and_redoes_what_stands_beside_it() -> None:
    """A branch that does not lead to the stage is done again with it."""
    graph = drawn("start: a", "a: b c", "b: d", "c: e", "d: end", "e: end")
    decided = again(ended(*map(past, "abcde"), status=DONE), graph, "d")
    assert sorted(begun(decided)) == [("c", 0), ("d", 0)]
    assert decided.stage_ids == ("c", "d", "e")


def test_rerun_from_a_stage_of_a_loop_does_its_last_turn_again() -> None:
    """Earlier turns stay; the turn goes on from the stage."""
    graph = drawn("start: a", "a: b", "b: a | end")
    turns = [past("a"), past("b", edge="b0"), past("a", turn=1), past("b", turn=1, edge="b1")]
    decided = again(ended(*turns, status=DONE), graph, "b")
    assert begun(decided) == [("b", 1)]
    assert [(one.stage_id, one.from_turn) for one in decided.change.supersede] == [("b", 1)]


def test_rerun_from_a_stage_that_was_skipped_in_the_last_turn_does_the_one_before_again() -> None:
    """The last turn counts in which the stage was done."""
    graph = drawn("start: a", "a: b | end", "b: a")
    turns = [past("a", edge="a0"), past("b"), past("a", turn=1, edge="a1"), past("b", SKIPPED, turn=1)]
    assert begun(again(ended(*turns, status=DONE), graph, "b")) == [("b", 0)]


def test_rerun_behind_a_loop_keeps_all_its_turns() -> None:
    """Turns that led back lead to what stands behind the loop all the same."""
    graph = drawn("start: h", "h: x | b", "b: h", "x: end")
    turns = [past("h", edge="h1"), past("b"), past("h", turn=1, edge="h0"), past("b", SKIPPED, turn=1), past("x")]
    assert begun(again(ended(*turns, status=DONE), graph, "x")) == [("x", 0)]


def test_rerun_behind_an_inner_loop_keeps_its_turns_within_the_turn_of_the_outer_one() -> None:
    """So it is for a loop in a loop."""
    graph = drawn("start: h", "h: i", "i: j | k", "j: i", "k: h | end")
    outer = 1 << TURN_BITS
    first = [past("h"), past("i", edge="i1"), past("j", SKIPPED), past("k", edge="k0")]
    second = [past("h", turn=1), past("i", turn=outer, edge="i0"), past("j", turn=outer)]
    last = [past("i", turn=outer + 1, edge="i1"), past("j", SKIPPED, turn=outer + 1), past("k", turn=1, edge="k1")]
    assert begun(again(ended(*first, *second, *last, status=DONE), graph, "k")) == [("k", 1)]


def test_rerun_behind_a_skipped_loop_is_not_refused() -> None:
    """The stages of a loop that was passed by did not have to complete."""
    graph = drawn("start: a", "a: l | j", "l: m", "m: l | j", "j: end")
    stages = [past("a", edge="a1"), past("l", SKIPPED), past("m", SKIPPED), past("j")]
    assert begun(again(ended(*stages, status=DONE), graph, "j")) == [("j", 0)]


def test_rerun_behind_a_tolerated_failure_keeps_it() -> None:
    """What the join went on without leads to the stage as well, and stays as it is."""
    graph = drawn("start: a b", "a: j", "b: j", "j: k", "k: end", joins={"j": Join(tolerate=1)})
    stages = [past("a", FAILED), past("b"), past("j"), past("k")]
    decided = again(ended(*stages, status=DONE), graph, "k")
    assert begun(decided) == [("k", 0)]
    assert decided.stage_ids == ("k",)


def test_what_an_early_join_did_not_wait_for_cannot_begin_it_again() -> None:
    """A stage that was cancelled when the run ended is done again; the gate of the join that is kept is shut."""
    graph = drawn("start: a b", "a: j", "b: j", "j: k", "k: end", joins={"j": Join(need=1)})
    decided = again(ended(past("a"), past("b", CANCELLED), past("j"), past("k"), status=DONE), graph, "k")
    assert sorted(begun(decided)) == [("b", 0), ("k", 0)]
    assert decided.change.step.gates == (NewGate(gate="j", generation=2, turn=0, arity=0),)


def test_rerun_begins_a_map_again_whose_end_was_cancelled() -> None:
    """A map that never came to its end is done again as a whole, or nothing would lead on from it."""
    graph = drawn("start: a", "a: m* j", "m+: j k", "j: end", "k: end", joins={"j": Join(need=1)})
    stages = [past("a"), past("m*"), past("m-"), past("m+", CANCELLED), past("j")]
    assert sorted(begun(again(ended(*stages), graph, "j"))) == [("j", 0), ("m*", 0)]


def test_rerun_from_a_stage_of_a_map_begins_the_map_again() -> None:
    """A map is done again as a whole, with a list that may have changed."""
    graph = drawn("start: a", "a: m*", "m+: end")
    decided = again(ended(past("a"), past("m*"), past("m-"), past("m+"), status=DONE), graph, "m-")
    assert begun(decided) == [("m*", 0)]


@pytest.mark.parametrize(
    ("stage_id", "hint"),
    [("d", "never completed: b"), ("c", "It was skipped"), ("e", "never completed: b")],
)
def test_rerun_is_refused_from_where_nothing_leads_to(stage_id: str, hint: str) -> None:
    """A stage that would not begin at once cannot be rerun from, and the error says why."""
    graph = drawn("start: a", "a: b | c", "b: d", "c: d", "d: e", "e: end")
    stages = [past("a", edge="a0"), past("b", FAILED), past("c", SKIPPED)]
    with pytest.raises(IllegalTransition, match=hint):
        again(ended(*stages), graph, stage_id)


def test_rerun_that_would_fail_at_once_is_refused() -> None:
    """What is kept may be what failed the run; then it has to be done again as well."""
    graph = drawn("start: a", "a: j b | j", "j: end", "b: end", joins={"j": Join(need=2)})
    stages = [past("a", edge="a0"), past("b", CANCELLED)]
    with pytest.raises(IllegalTransition, match="fail the run again at once"):
        again(ended(*stages), graph, "b")
    assert begun(again(ended(*stages), graph, "a")) == [("a", 0)]


def test_retry_goes_on_where_the_run_failed() -> None:
    """What completed is kept, also beside the failure and behind it; what failed or was cancelled begins again."""
    graph = drawn("start: a b c", "a: d", "b: end", "c: end", "d: end")
    decided = again(ended(past("a"), past("b", FAILED), past("c", CANCELLED), past("d")), graph)
    assert sorted(begun(decided)) == [("b", 0), ("c", 0)]


def test_retry_may_take_what_was_skipped_because_of_the_failure() -> None:
    """A stage that was skipped behind a failure is decided anew."""
    graph = drawn("start: a b", "a: x", "x: j", "b: j", "j: end", joins={"j": Join(tolerate=1)})
    stages = [past("a", FAILED), past("x", SKIPPED), past("b", FAILED)]
    decided = again(ended(*stages), graph)
    assert sorted(begun(decided)) == [("a", 0), ("b", 0)]
    assert decided.change.step.skips == ()


def test_retry_may_begin_a_map_that_was_skipped_because_of_the_failure() -> None:
    """So it is for a map, which was skipped as a whole."""
    graph = drawn("start: a b", "a: m*", "m+: j", "b: j", "j: end", joins={"j": Join(tolerate=1)})
    skipped = [past(one, SKIPPED) for one in ("m*", "m-", "m+")]
    decided = again(ended(past("a", FAILED), *skipped, past("b", FAILED)), graph)
    assert sorted(begun(decided)) == [("a", 0), ("b", 0)]
    assert decided.change.step.skips == ()


def test_retry_of_a_stage_without_an_edge_chooses_again() -> None:
    """A stage whose output is there and which had no edge to take begins again, to take the one that fits now."""
    graph = drawn("start: a", "a: b | end", "b: end")
    decided = again(ended(past("a", edge="")), graph)
    assert begun(decided) == [("a", 0)]
    assert [job.origin for job in decided.change.step.jobs] == [1]
