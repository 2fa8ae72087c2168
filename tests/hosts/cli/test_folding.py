"""From a compiled workflow back to what its author wrote."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from holdfast.entities.definition import UNDO, Act, Join, WaitSpec
from holdfast.entities.graph import END, START, EdgeOn
from holdfast_hosts.cli.drawing.folding import picture_of
from holdfast_hosts.cli.drawing.picture import Kind
from tests.hosts.cli.pictured import ANY, body, chain, defined, edge, mapped, named, ways

WAIT = {"act": Act.WAIT, "wait": WaitSpec(name="approval", payload=ANY, timeout=timedelta(days=7))}


def test_a_line_of_stages_leads_from_start_to_end() -> None:
    """Stages in a row are nodes in a row, and nothing is said on arrows without a choice."""
    picture = picture_of(defined(["split", "count"], *chain("split", "count")))
    assert ways(picture) == [("start", "", "split"), ("split", "", "count"), ("count", "", "end")]
    assert [node.kind for node in picture.nodes] == [Kind.START, Kind.STAGE, Kind.STAGE, Kind.END]
    assert picture.title == "drawn 1.0.0"


def test_a_choice_says_when_each_way_is_taken() -> None:
    """Conditions stand on arrows in their source text, with a priority that is not 0; the rest is otherwise."""
    definition = defined(
        ["score", "pay", "ask", "drop"],
        edge(START, "score"),
        edge("score", "pay", when="s.sure", priority=10),
        edge("score", "ask", when="s.value > 1"),
        edge("score", "drop", priority=-1),
        *(edge(one, END) for one in ("pay", "ask", "drop")),
    )
    assert ways(picture_of(definition))[1:4] == [
        ("score", "s.sure · priority 10", "pay"),
        ("score", "s.value > 1", "ask"),
        ("score", "otherwise", "drop"),
    ]


def test_a_fork_bears_its_condition_once() -> None:
    """A conditional edge to several stages is one labelled arrow that parts; without a condition it parts at once."""
    plain = defined("abc", edge(START, "a"), edge("a", "b", "c"), edge("b", END), edge("c", END))
    assert ways(picture_of(plain))[1:3] == [("a", "", "b"), ("a", "", "c")]
    chosen = defined(
        "abcd",
        edge(START, "a"),
        edge("a", "b", "c", when="x"),
        edge("a", "d"),
        *(edge(one, END) for one in "bcd"),
    )
    assert ways(picture_of(chosen))[1:5] == [
        ("a", "x", "meet"),
        ("meet", "", "b"),
        ("meet", "", "c"),
        ("a", "otherwise", "d"),
    ]


def test_a_map_of_one_stage_is_one_node() -> None:
    """Splitting and collecting vanish; limit and tolerance are told."""
    stages = {"list": {}, **mapped("label", limit=8, tolerate=0.05), "store": {}}
    picture = picture_of(defined(stages, *chain("list", "label~split", "label", "label~join", "store")))
    assert ways(picture)[1:3] == [("list", "", "label"), ("label", "", "store")]
    node = named(picture)["label"]
    assert node.kind is Kind.MAP
    assert node.notes == ("× each item, limit 8", "5 % may fail")
    assert node.stages == ("label~split", "label", "label~join")
    assert node.inside is None


def test_a_map_of_several_stages_shows_them_inside() -> None:
    """A mapped line is a picture within a node; where its ends meet goes without saying."""
    stages = {"list": {}, **mapped("page", "ocr", "text", "page~end", tolerate=2)}
    definition = defined(
        stages,
        *chain("list", "page~split")[:2],
        edge("page~split", "page"),
        edge("page", "ocr", when="p.image"),
        edge("page", "text"),
        edge("ocr", "page~end"),
        edge("text", "page~end"),
        edge("page~end", "page~join"),
        edge("page~join", END),
    )
    picture = picture_of(definition)
    assert ways(picture) == [("start", "", "list"), ("list", "", "for each item"), ("for each item", "", "end")]
    node = named(picture)["for each item"]
    assert node.notes == ("limit 8", "2 may fail")
    assert node.inside is not None
    assert ways(node.inside) == [("page", "p.image", "ocr"), ("page", "otherwise", "text")]


def test_a_wait_tells_its_limit_and_its_timeout_path() -> None:
    """A wait is a node of its own kind; where both its paths meet, no node is left."""
    definition = defined(
        {"approval": WAIT, "escalate": {}, "approval~or": {"act": Act.PASS}, "decide": {}},
        edge(START, "approval"),
        edge("approval", "approval~or"),
        edge("approval", "escalate", on=EdgeOn.TIMEOUT),
        edge("escalate", "approval~or"),
        edge("approval~or", "decide"),
        edge("decide", END),
    )
    picture = picture_of(definition)
    assert named(picture)["approval"].kind is Kind.WAIT
    assert named(picture)["approval"].notes == ("waits at most 7 d",)
    assert ways(picture)[1:4] == [
        ("approval", "", "decide"),
        ("approval", "timeout", "escalate"),
        ("escalate", "", "decide"),
    ]


def test_a_choice_behind_several_stages_is_a_node() -> None:
    """A place where ways meet and part by choice remains; one that a single way leads to vanishes."""
    both = [edge("b~branch", "d", when="x"), edge("b~branch", "e"), edge("d", END), edge("e", END)]
    stages = {"a": {}, "b": {}, "b~branch": {"act": Act.PASS}, "d": {}, "e": {}}
    meeting = defined(stages, edge(START, "a", "b"), edge("a", "b~branch"), edge("b", "b~branch"), *both)
    assert named(picture_of(meeting))["choice"].kind is Kind.CHOICE
    assert ways(picture_of(meeting))[2:5] == [("a", "", "choice"), ("b", "", "choice"), ("choice", "x", "d")]
    single = defined(stages, edge(START, "a"), edge("a", "b"), edge("b", "b~branch"), *both)
    assert ways(picture_of(single))[2:4] == [("b", "x", "d"), ("b", "otherwise", "e")]


def test_a_join_with_a_rule_tells_it() -> None:
    """How many ways a stage needs and how many may fail stands on the stage, also when it joins before it."""
    definition = defined(
        {"a": {}, "b": {}, "c": {}, "c~join": {"act": Act.PASS, "join": Join(need=2, tolerate=1)}, "d": {}},
        edge(START, "a", "b", "c"),
        *(edge(one, "c~join") for one in "abc"),
        edge("c~join", "d"),
        edge("d", END),
    )
    assert named(picture_of(definition))["d"].notes == ("begins after 2 of 3", "1 of 3 may fail")
    last = defined(
        {"a": {}, "b": {}, "b~join": {"act": Act.PASS, "join": Join(need=1)}},
        edge(START, "a", "b"),
        edge("a", "b~join"),
        edge("b", "b~join"),
        edge("b~join", END),
    )
    assert named(picture_of(last))["meet"].notes == ("begins after 1 of 2",)


def test_a_loop_leads_back() -> None:
    """Only the arrow that begins the next turn leads back."""
    definition = defined(
        ["think", "act"],
        edge(START, "think"),
        edge("think", "act", when="r.tool"),
        edge("think", END),
        edge("act", "think"),
    )
    assert [arrow.back for arrow in picture_of(definition).arrows] == [False, False, False, True]


def test_compensation_is_a_note() -> None:
    """The stage that undoes is left out, and each stage says what undoes it."""

    def refund(receipt: str) -> None: ...

    stages: dict[str, dict[str, Any]] = {"pay": {"compensate": body(refund)}, UNDO: {"act": Act.UNDO}}
    picture = picture_of(defined(stages, *chain("pay"), compensates=True))
    assert [node.name for node in picture.nodes] == ["start", "pay", "end"]
    assert named(picture)["pay"].notes == ("undone by refund",)


def test_several_ways_between_two_stages_are_one_arrow() -> None:
    """Conditions that lead to the same stage stand on one arrow."""
    definition = defined(
        ["a", "b", "c"],
        edge(START, "a"),
        edge("a", "b", when="x"),
        edge("a", "b", when="y"),
        edge("a", "c"),
        edge("b", END),
        edge("c", END),
    )
    assert ways(picture_of(definition))[1] == ("a", "x | y", "b")
