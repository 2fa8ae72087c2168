"""Maps and waits of the typed pipeline: what they compile into."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from holdfast.authoring.branching import otherwise, when
from holdfast.authoring.flow import Flow, line, workflow
from holdfast.authoring.stage import stage
from holdfast.entities.definition import Act, Shape
from holdfast.entities.graph import END, EdgeOn
from tests.kernel.written import (
    Decision,
    decide,
    escalate,
    label,
    measure,
    report,
    reviewed,
    shorten,
    split,
    tick,
)


def test_map_stands_between_a_split_and_a_collection() -> None:
    """A map is a stage that splits, the stage that is mapped, and one that collects."""
    definition = workflow("w", input=str).pipe(split).map(label, limit=3).pipe(report).definition()
    assert list(definition.stages) == ["split", "label~split", "label", "label~join", "report"]
    assert [edge.targets for edge in definition.edges] == [
        ("split",),
        ("label~split",),
        ("label",),
        ("label~join",),
        ("report",),
        (END,),
    ]
    first, body, last = (definition.stages[one] for one in ("label~split", "label", "label~join"))
    assert first.mapped is not None
    assert (first.act, first.shape, first.sources, first.input.name) == (Act.SPLIT, Shape.ONE, ("split",), "list[str]")
    assert (first.mapped.collect, first.mapped.body, first.mapped.limit, first.mapped.tolerate) == (
        "label~join",
        ("label",),
        3,
        0,
    )
    assert (body.act, body.shape, body.within, body.sources) == (Act.BODY, Shape.ITEM, "label~split", ())
    assert (last.act, last.sources, last.output.name, last.within) == (Act.COLLECT, ("label",), "list[str]", None)
    assert (first.queue, last.queue) == ("default", "gpu")


def test_map_of_a_line_collects_what_its_end_gives() -> None:
    """All stages of a mapped line stand within the map, and an end in several places is made one."""
    body = line(str).pipe(label).branch(when(lambda t: t == "A", shorten), otherwise(line(str)))
    definition = workflow("w", input=list[str]).map(body, tolerate=0.5).definition()
    split_spec = definition.stages["label~split"]
    assert split_spec.mapped is not None
    assert split_spec.mapped.body == ("label", "shorten", "shorten~end")
    assert split_spec.mapped.tolerate == 0.5
    assert all(definition.stages[one].within == "label~split" for one in split_spec.mapped.body)
    assert definition.stages["shorten~end"].sources == ("shorten", "label")
    assert definition.stages["label~join"].sources == ("shorten~end",)
    assert definition.graph.arity["label~join"] == 1
    assert definition.output.name == "list[str | None]"
    assert definition.stages["label~split"].sources == ()


def test_map_begins_at_one_stage_though_its_line_forks() -> None:
    """A mapped line that begins with a fork begins at a stage which hands the item on."""
    definition = workflow("w", input=list[str]).map(line(str).parallel(label, measure)).definition()
    mapped = definition.stages["label~split"].mapped
    assert mapped is not None
    assert mapped.body == ("label~split~item", "label", "measure", "label~end")
    assert definition.stages["label~split~item"].shape is Shape.ITEM
    assert definition.output.name == "list[tuple[str, int]]"


@pytest.mark.parametrize("kind", [list[str], tuple[str, ...], set[str], Any, tuple[str, str]], ids=str)
def test_whatever_is_an_array_can_be_mapped(kind: Any) -> None:
    """Lists, tuples and sets can be mapped, and what is not known."""
    begun: Flow[Any, Any] = workflow("w", input=kind)
    assert begun.map(label).definition().output.name == "list[str]"


def test_wait_pairs_what_it_is_given_with_the_payload() -> None:
    """A wait is a stage of its own name; what follows takes the pair."""
    flow = reviewed().wait_for("approval", Decision, timeout="7d", reason="Is it right?").pipe(decide)
    definition = flow.definition()
    spec = definition.stages["approval"]
    assert spec.wait is not None
    assert (spec.act, spec.shape, spec.sources, spec.body) == (Act.WAIT, Shape.ONE, ("report",), None)
    assert (spec.wait.name, spec.wait.timeout, spec.wait.reason) == ("approval", timedelta(days=7), "Is it right?")
    assert spec.wait.payload.name == "Decision"
    assert (spec.input.name, spec.output.name) == ("Report", "tuple[Report, Decision]")
    assert set(definition.waiting) == {"approval"}
    assert definition.stages["decide"].sources == ("approval",)


def test_timeout_of_a_wait_has_a_way_of_its_own() -> None:
    """What stands in for the payload is paired with what the wait was given, and both ways lead on."""
    flow = reviewed().wait_for("approval", Decision, timeout="7d", on_timeout=escalate).pipe(decide)
    definition = flow.definition()
    edges = [(edge.source, edge.targets, edge.on) for edge in definition.edges[3:]]
    assert edges == [
        ("approval", ("escalate",), EdgeOn.TIMEOUT),
        ("approval", ("decide",), EdgeOn.OUTPUT),
        ("escalate", ("approval~or",), EdgeOn.OUTPUT),
        ("approval~or", ("decide",), EdgeOn.OUTPUT),
        ("decide", (END,), EdgeOn.OUTPUT),
    ]
    pair = definition.stages["approval~or"]
    assert (pair.act, pair.shape, pair.sources) == (Act.PASS, Shape.TUPLE, ("approval", "escalate"))
    assert pair.output.name == "tuple[Report, Decision]"
    assert definition.stages["escalate"].sources == ("approval",)


def test_timeout_of_a_wait_may_lead_to_a_line_that_hands_on() -> None:
    """An empty line lets what the wait was given take the payload's place, too."""
    flow = workflow("w", input=str).pipe(label).wait_for("word", int, timeout="1h", on_timeout=line(str))
    definition = flow.definition()
    assert definition.stages["word~or"].sources == ("word", "word~pass")
    assert definition.output.name == "tuple[str, int] | tuple[str, str]"


def test_in_between_stages_wait_in_the_queue_of_the_stage_before() -> None:
    """What the compiler puts in between has the queue of its neighbour, so that a worker can go on."""
    definition = workflow("w", input=str).pipe(label).wait_for("go", int).definition()
    assert definition.stages["go"].queue == "gpu"
    begun = workflow("w", input=str).branch(when(lambda t: t == "A", label), otherwise(line(str))).definition()
    assert begun.stages["start~branch"].queue == "gpu"
    assert workflow("w", input=str).wait_for("go", int).definition().stages["go"].queue == "default"


def test_need_of_a_mapped_stage_is_met_behind_the_map() -> None:
    """A stage behind a map may need the stage that was mapped; one within it may need one from outside."""

    @stage(needs=[label])
    def counted(lengths: list[int]) -> int:
        return 1

    @stage(needs=[split])
    def within(word: str) -> int:
        return 1

    body = line(str).pipe(within).pipe(tick)
    definition = workflow("w", input=str).pipe(split).map(body).definition()
    assert definition.stages["within"].needs == ("split",)
    behind = workflow("w", input=list[str]).map(label).map(measure).pipe(counted).definition()
    assert behind.stages["counted"].needs == ("label",)
