"""Branches, lines and joins of the typed pipeline: what they compile into."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from holdfast.authoring.branching import otherwise, when
from holdfast.authoring.context import Context
from holdfast.authoring.flow import line, workflow
from holdfast.authoring.seen import Seen
from holdfast.authoring.stage import stage
from holdfast.entities.definition import UNDO, UNDO_RETRY, Act, Join, Shape
from holdfast.entities.graph import END, START
from holdfast.entities.retry import Retry
from tests.kernel.written import (
    Decision,
    Report,
    decide,
    drop,
    label,
    measure,
    publish,
    report,
    reviewed,
    shorten,
    split,
    tick,
    ways,
)


def test_branch_leads_away_from_one_stage() -> None:
    """Each case is an edge with its condition and priority, and otherwise stands below all of them."""
    flow = reviewed().branch(
        when(lambda report: report.sure, publish, priority=10), when(lambda r: not r.sure, drop), otherwise(tick)
    )
    definition = flow.definition()
    assert ways(definition)[2:] == [
        ("report", ("publish",), 10, "report.sure"),
        ("report", ("drop",), 0, "not r.sure"),
        ("report", ("tick",), -1, "otherwise"),
        ("publish", (END,), 0, "otherwise"),
        ("drop", (END,), 0, "otherwise"),
        ("tick", (END,), 0, "otherwise"),
    ]
    assert definition.final == ("publish", "drop", "tick")
    assert definition.output.name == "str | int | float"
    assert definition.stages["tick"].shape is Shape.NOTHING
    assert not definition.stateful


def test_what_follows_a_branch_takes_whichever_came() -> None:
    """The stage behind a branch has every case for its source, and takes the output of the one that was taken."""

    @stage
    def shown(value: str | int) -> str:
        return str(value)

    flow = reviewed().branch(when(lambda r: r.sure, publish), otherwise(drop)).pipe(shown)
    spec = flow.definition().stages["shown"]
    assert (spec.shape, spec.sources) == (Shape.ONE, ("publish", "drop"))


def test_parity_branch_behind_a_group_is_decided_by_a_stage_in_between() -> None:
    """Conditions on a tuple are asked where the tuple is made: by a stage that hands it on."""

    @stage
    def both(pair: tuple[str, int]) -> str:
        return pair[0]

    flow = workflow("w", input=str).parallel(label, measure)
    definition = flow.branch(when(lambda pair: pair[1] > 3, both), otherwise(both.using(name="short"))).definition()
    spec = definition.stages["label~branch"]
    assert (spec.act, spec.shape, spec.sources, spec.body) == (Act.PASS, Shape.TUPLE, ("label", "measure"), None)
    assert (spec.input.name, spec.output.name) == ("tuple[str, int]", "tuple[str, int]")
    assert spec.retry == Retry()
    assert ways(definition)[2:5] == [
        ("measure", ("label~branch",), 0, "otherwise"),
        ("label~branch", ("both",), 0, "pair[1] > 3"),
        ("label~branch", ("short",), -1, "otherwise"),
    ]


def test_branch_can_begin_a_workflow() -> None:
    """A branch on the run's input is decided by a stage in between, which every run begins with."""
    definition = workflow("w", input=str).branch(when(lambda t: len(t) > 3, label), otherwise(measure)).definition()
    assert definition.entry == ("start~branch",)
    assert definition.stages["start~branch"].sources == ()
    assert definition.stages["label"].sources == ("start~branch",)


def test_branch_behind_a_branch_has_one_value() -> None:
    """A second branch is decided by a stage in between, for its value comes from one of several stages."""
    first = workflow("w", input=str).pipe(label).branch(when(lambda t: t == "A", shorten), otherwise(line(str)))
    second = first.branch(when(lambda t: t == "B", measure), otherwise(line(str)))
    spec = second.definition().stages["shorten~branch"]
    assert (spec.act, spec.shape, spec.sources) == (Act.PASS, Shape.ONE, ("shorten", "label"))


def test_case_can_hand_on_what_arrives() -> None:
    """A case that leads to an empty line is an edge to whatever follows the branch."""
    flow = workflow("w", input=str).pipe(label).branch(when(lambda t: len(t) > 3, shorten), otherwise(line(str)))
    assert ways(flow.pipe(measure).definition())[1:4] == [
        ("label", ("shorten",), 0, "len(t) > 3"),
        ("label", ("measure",), -1, "otherwise"),
        ("shorten", ("measure",), 0, "otherwise"),
    ]
    assert flow.definition().final == ("label", "shorten")


def test_case_of_a_line_of_parallel_stages() -> None:
    """A case may fork, and its outputs are one tuple where the branch ends."""
    forked = line(str).parallel(measure, shorten)
    flow = workflow("w", input=str).pipe(label).branch(when(lambda t: len(t) > 3, forked), otherwise(tick))
    definition = flow.definition()
    assert ways(definition)[1] == ("label", ("measure", "shorten"), 0, "len(t) > 3")
    assert definition.final == ("measure~join", "tick")
    assert definition.output.name == "tuple[int, str] | float"


def test_condition_that_takes_the_run_makes_it_stateful() -> None:
    """A condition with a second parameter is marked, and its workflow has a state."""

    def known(value: Report, run: Seen) -> bool:
        return value.sure and bool(run.state)

    definition = reviewed().branch(when(known, publish), otherwise(drop)).definition()
    condition = definition.edges[2].condition
    assert condition is not None
    assert (condition.takes_run, condition.label) == (True, "known")
    assert "test_authoring_pipeline.py:" in condition.source
    assert definition.stateful


def test_lines_stand_where_stages_do() -> None:
    """A line is put in place of its stages, whatever stands there."""
    words = line(str).pipe(label).pipe(shorten)
    piped = workflow("w", input=str).pipe(words).definition()
    assert list(piped.stages) == ["label", "shorten"]
    beside = workflow("w", input=str).parallel(words, measure, line(str)).definition()
    assert beside.edges[0].targets == ("label", "measure", "start~end")
    assert beside.final == ("shorten", "measure", "start~end")
    assert beside.output.name == "tuple[str, int, str]"
    nested = workflow("w", input=str).pipe(line(str).pipe(words).pipe(measure)).definition()
    assert list(nested.stages) == ["label", "shorten", "measure"]


def test_member_of_a_group_that_ends_in_several_places_gives_one_value() -> None:
    """A line with a branch is one member of the tuple, whichever case it took."""
    chosen = line(str).pipe(label).branch(when(lambda t: t == "A", shorten), otherwise(line(str)))
    definition = workflow("w", input=str).parallel(chosen, measure).definition()
    assert definition.final == ("shorten~end", "measure")
    assert definition.stages["shorten~end"].sources == ("shorten", "label")
    assert definition.output.name == "tuple[str, int]"


def test_same_line_can_stand_in_two_workflows() -> None:
    """A line is a part of every workflow that it is put into."""
    words = line(str).pipe(label)
    first, second = workflow("a", input=str).pipe(words), workflow("b", input=str).pipe(measure)
    assert list(first.definition().stages) == ["label"]
    assert list(second.definition().stages) == ["measure"]
    assert list(first.pipe(line(str).pipe(shorten)).definition().stages) == ["label", "shorten"]
    assert repr(words) == "<line: str → label>"


def test_join_that_need_not_hear_of_all_stands_behind_the_group() -> None:
    """The rule of a group is that of the stage behind it, whose input may lack members."""

    @stage
    def any_of(both: tuple[str | None, int | None]) -> int:
        return 1

    definition = workflow("w", input=str).parallel(label, measure, need=1, tolerate=1).pipe(any_of).definition()
    spec = definition.stages["any_of"]
    assert (spec.join, spec.shape, spec.sources) == (Join(need=1, tolerate=1), Shape.TUPLE, ("label", "measure"))
    assert definition.absorbs("label")


def test_join_at_the_end_gives_the_tuple_itself() -> None:
    """A group with a rule that ends a workflow ends in a stage which makes the tuple, with None for who is absent."""
    definition = workflow("w", input=str).parallel(label, measure, tolerate=1).definition()
    assert definition.final == ("label~join",)
    assert definition.stages["label~join"].join == Join(tolerate=1)
    assert definition.output.name == "tuple[str | None, int | None]"
    single = workflow("w", input=str).parallel(label, tolerate=1).definition()
    assert single.output.name == "tuple[str | None]"
    assert single.stages["label~join"].shape is Shape.TUPLE


def test_options_of_a_stage_reach_the_definition() -> None:
    """A key, the payloads of waits and what undoes a stage stand in the definition, and using changes some of them."""

    def undo(booked: int, ctx: Context) -> None: ...

    @stage(key=lambda text: text, waits={"second": Decision}, compensate=undo)
    def book(text: str) -> int:
        return 1

    flow = workflow("w", input=str, compensate=True, state=True, step_limit=7).pipe(book)
    definition = flow.definition()
    spec = definition.stages["book"]
    assert spec.key is not None
    assert spec.key("abc") == "abc"
    assert {name: kind.name for name, kind in spec.waits.items()} == {"second": "Decision"}
    assert spec.compensate is not None
    assert (spec.compensate.takes_input, spec.compensate.takes_context) == (True, True)
    assert (definition.compensates, definition.stateful, definition.step_limit) == (True, True, 7)
    other = book.using(key=lambda text: "other", queue="slow")
    changed = workflow("w", input=str, compensate=True).pipe(other).definition().stages["book"]
    assert changed.key is not None
    assert (changed.key("abc"), changed.queue) == ("other", "slow")


def test_workflow_that_undoes_has_a_stage_for_it() -> None:
    """The stage that undoes has no edges, its own retry policy, and stands last."""

    def undo(number: int) -> None: ...

    @stage(compensate=undo)
    def book(text: str) -> int:
        return 1

    definition = workflow("w", input=str, compensate=True).pipe(book).definition()
    spec = definition.stages[UNDO]
    assert (spec.act, spec.shape, spec.body, spec.retry, spec.index) == (Act.UNDO, Shape.NOTHING, None, UNDO_RETRY, 1)
    assert definition.graph.outgoing[UNDO] == ()
    plain = workflow("w", input=str, compensate=True).pipe(label).definition()
    assert UNDO not in plain.stages
    assert not plain.compensates


def test_edges_have_ids_that_stay() -> None:
    """An edge is called after its ends, so that a changed condition does not change what it is called."""

    @stage
    def last(value: str) -> str:
        return value

    begun = workflow("w", input=str).pipe(label)
    flow = begun.branch(when(lambda t: t == "A", line(str)), when(lambda t: t == "B", line(str)), otherwise(line(str)))
    definition = flow.pipe(last).definition()
    assert [edge.id for edge in definition.edges] == [
        f"{START}>label",
        "label>last",
        "label>last#2",
        "label>last#3",
        f"last>{END}",
    ]
    forked = begun.parallel(measure, shorten).definition()
    assert forked.edges[1].id == "label>measure+1"


def test_named_pipelines_are_shown_step_by_step() -> None:
    """A flow shows its groups, cases, maps and waits."""
    flow = (
        workflow("w", input=str)
        .pipe(split)
        .map(line(str).pipe(label).pipe(shorten))
        .pipe(report)
        .branch(when(lambda r: r.sure, publish), otherwise(line(Report).wait_for("go", Decision).pipe(decide)))
    )
    assert repr(flow) == "<workflow w@1.0.0: str → split → [label → shorten] → report → (publish / go? → decide)>"


def test_config_is_that_of_written_stages() -> None:
    """Stages that were put in between have no config, and are not among those an override may name."""
    from holdfast.authoring.config import default_config

    definition = workflow("w", input=list[str]).map(label).definition()
    found: Mapping[str, Any] = default_config(definition)
    assert found == {"label": {}}
