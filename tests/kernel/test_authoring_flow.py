"""Pipelines: what they compile into, and every mistake in them, found while they are built."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest
from pydantic import BaseModel

from holdfast.authoring.batch import BatchStage, Pending
from holdfast.authoring.context import Context
from holdfast.authoring.flow import Flow, workflow
from holdfast.authoring.stage import Stage, stage
from holdfast.entities.graph import END, START
from holdfast.errors import DefinitionError


class Doc(BaseModel):
    url: str


class Label(BaseModel):
    topic: str


@stage
async def split(doc: Doc) -> list[str]:
    return [doc.url]


@stage
def label(text: str) -> Label:
    return Label(topic=text)


@stage
def count(parts: list[str]) -> int:
    return len(parts)


@stage
def longest(parts: list[str]) -> str:
    return max(parts, key=len)


@stage(needs=[split])
def report(both: tuple[int, str], ctx: Context) -> Label:
    return Label(topic=both[1])


def review() -> Flow[Doc, Label]:
    return workflow("review", input=Doc, version="2.1.0").pipe(split).parallel(count, longest).pipe(report)


def mistake(build: Callable[[], object]) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        build()
    assert "test_authoring_flow.py:" in caught.value.where[0]
    return caught.value


def test_parity_003_pipe_and_parallel_make_groups() -> None:
    """A stage, two in parallel and one behind them are three groups, and all are found by their ids."""
    definition = review().definition()
    assert definition.groups == (("split",), ("count", "longest"), ("report",))
    assert list(definition.stages) == ["split", "count", "longest", "report"]
    assert [spec.index for spec in definition.stages.values()] == [0, 1, 2, 3]
    assert definition.entry == ("split",)
    assert definition.final == ("report",)
    assert [(edge.source, edge.targets) for edge in definition.edges] == [
        (START, ("split",)),
        ("split", ("count", "longest")),
        ("count", ("report",)),
        ("longest", ("report",)),
        ("report", (END,)),
    ]


def test_parity_004_each_parallel_call_is_its_own_group() -> None:
    """Two parallel calls make two groups; the second gets the tuple of the first."""

    @stage
    def left(both: tuple[int, str]) -> int:
        return both[0]

    @stage
    def right(both: tuple[int, str]) -> str:
        return both[1]

    definition = workflow("w", input=list[str]).parallel(count, longest).parallel(left, right).definition()
    assert definition.groups == (("count", "longest"), ("left", "right"))
    assert definition.stages["right"].sources == ("count", "longest")
    assert definition.output.name == "tuple[int, str]"


@pytest.mark.parametrize("need", ["missing", "report", "count"])
def test_parity_005_unknown_and_forward_needs_are_refused_when_piped(need: str) -> None:
    """A need that no earlier stage meets is refused at .pipe, naming the missing id and those that are there."""

    @stage(needs=[need])
    def early(parts: list[str]) -> int:
        return 1

    error = mistake(lambda: workflow("review", input=Doc).pipe(split).pipe(early))
    assert error.code == "E2044"
    assert f'Stage "early" needs "{need}"' in str(error)
    assert "Before this one stand: split." in error.fix
    assert ".pipe(early)" in error.where[0]
    assert "def early" in error.where[1]


def test_parity_006_parallel_stage_may_need_an_earlier_one() -> None:
    """A parallel stage may need a stage of an earlier group; a missing one is refused."""

    @stage(needs=["split"])
    def reading(parts: list[str]) -> int:
        return 1

    @stage(needs=["nope"])
    def failing(parts: list[str]) -> int:
        return 1

    begun = workflow("w", input=Doc).pipe(split)
    definition = begun.pipe(longest).parallel(label, stage(name="again", needs=[split])(label_again)).definition()
    assert definition.stages["again"].needs == ("split",)
    assert begun.parallel(count, reading).definition().stages["reading"].needs == ()
    assert mistake(lambda: begun.parallel(count, failing)).code == "E2044"


def label_again(text: str) -> Label:
    return Label(topic=text)


def test_weak_spot_41_sibling_needs_are_refused() -> None:
    """A stage cannot need one that runs beside it."""

    @stage(needs=[count])
    def beside(parts: list[str]) -> int:
        return 1

    error = mistake(lambda: workflow("w", input=list[str]).parallel(count, beside))
    assert "stands beside it" in str(error)


def test_parity_008_options_are_keywords() -> None:
    """A workflow has an id and an input, and by keyword its version, description and timeout."""
    definition = workflow("w", input=str, version="3", description="For tests.", timeout="7d").pipe(label).definition()
    assert (definition.id, definition.version, definition.description) == ("w", "3", "For tests.")
    assert definition.timeout == timedelta(days=7)
    assert (definition.name, definition.input.name) == ("w@3", "str")
    plain = workflow("w", input=str).pipe(label).definition()
    assert (plain.version, plain.description, plain.timeout) == ("1.0.0", "", None)


def test_parity_009_unknown_stages_are_absent() -> None:
    """Asking for an unknown stage gives None."""
    stages = review().definition().stages
    assert stages.get("nope") is None
    assert "nope" not in stages


def test_parity_010_previous_stage_is_known() -> None:
    """The stage before another in definition order is known; the first has none."""
    definition = review().definition()
    assert definition.previous("split") is None
    assert [definition.previous(one) for one in ("count", "longest", "report")] == ["split", "count", "longest"]


def test_parity_031_input_is_the_output_before() -> None:
    """A stage takes the output of the group before it; the first takes the run's input."""
    stages = review().definition().stages
    assert stages["split"].sources == ()
    assert stages["count"].sources == ("split",)


def test_parity_032_input_behind_a_group_is_a_tuple_in_order() -> None:
    """Behind a parallel group stands a tuple of its outputs in definition order."""
    spec = review().definition().stages["report"]
    assert spec.sources == ("count", "longest")
    assert spec.needs == ("split",)
    assert spec.input.decode('[3,"abc"]', what="x") == (3, "abc")


def test_parity_037_run_output_is_that_of_the_last_group() -> None:
    """The run's output is that of the last stage, or a tuple of those of the last group."""
    assert review().definition().output.name == "Label"
    assert workflow("w", input=list[str]).parallel(count, longest).definition().output.name == "tuple[int, str]"


def test_need_that_is_the_input_already_is_not_loaded_twice() -> None:
    """A stage that needs the one before it gets its output once."""

    @stage(needs=[split])
    def after(parts: list[str]) -> int:
        return 1

    spec = workflow("w", input=Doc).pipe(split).pipe(after).definition().stages["after"]
    assert (spec.sources, spec.needs) == (("split",), ())


def test_flows_are_immutable_and_compile_once() -> None:
    """Each step gives a new flow and leaves the old one as it was; a flow compiles into one definition."""
    begun = workflow("w", input=Doc).pipe(split)
    counted, longer = begun.pipe(count), begun.pipe(longest)
    assert list(counted.definition().stages) == ["split", "count"]
    assert list(longer.definition().stages) == ["split", "longest"]
    assert counted.definition() is counted.definition()
    assert repr(review()) == "<workflow review@2.1.0: Doc → split → (count | longest) → report>"


def test_workflow_can_take_no_input() -> None:
    """A workflow whose input is None takes null."""

    @stage
    def tick() -> int:
        return 1

    definition = workflow("nightly", input=None).pipe(tick).definition()
    assert definition.input.encode(None, what="x") == "null"


def test_one_stage_in_parallel_is_as_piped() -> None:
    """A group of one stage gives that stage's output, not a tuple."""
    definition = workflow("w", input=list[str]).parallel(longest).pipe(label).definition()
    assert definition.groups == (("longest",), ("label",))


def test_output_that_does_not_fit_is_refused_with_both_types() -> None:
    """A stage that cannot take what comes is refused where it is piped, with both types and where they are declared."""
    error = mistake(
        lambda: (
            workflow("review", input=Doc)
            .pipe(split)
            .pipe(cast("Any", label))
        )
    )  # fmt: skip
    assert error.code == "E2041"
    assert str(error).startswith('E2041  Stage "label" cannot follow "split"\n')
    assert error.where[0].endswith('  .pipe(cast("Any", label))')
    assert error.where[1].endswith('  "split" returns list[str]')
    assert error.where[2].endswith('  "label" takes str')


def test_input_that_does_not_fit_the_first_stage_is_refused() -> None:
    """The first stage has to take the run's input."""
    error = mistake(lambda: workflow("review", input=int).pipe(cast("Any", split)))
    assert 'Stage "split" cannot follow the input of workflow "review"' in str(error)


def test_group_that_does_not_fit_is_refused_with_all_its_types() -> None:
    """Behind a parallel group the tuple has to fit, and the error says so."""

    @stage
    def wrong(both: tuple[str, int]) -> int:
        return 1

    error = mistake(lambda: workflow("w", input=list[str]).parallel(count, longest).pipe(cast("Any", wrong)))
    assert '"wrong" cannot follow "count" and "longest"' in str(error)
    assert len(error.where) == 4
    assert "tuple, in order" in error.fix


def test_weak_spot_41_duplicate_ids_are_refused() -> None:
    """Two stages with one id are refused at the second one, which is told how to get another name."""

    @stage
    def same(x: int) -> int:
        return x

    begun = workflow("w", input=int).pipe(same)
    error = mistake(lambda: begun.pipe(same))
    assert error.code == "E2043"
    assert 'There are two stages "same"' in str(error)
    assert ".pipe(same)" in error.where[0]
    assert ".pipe(same)" in error.where[1]
    assert 'same.using(name="same-again")' in error.fix
    assert mistake(lambda: workflow("w", input=int).parallel(same, same)).code == "E2043"


def test_weak_spot_41_empty_groups_and_workflows_are_refused() -> None:
    """A group or workflow without stages is refused."""
    begun = workflow("empty", input=int)
    nothing: list[Stage[int, Any]] = []
    assert mistake(lambda: begun.parallel(*nothing)).code == "E2045"
    error = mistake(begun.definition)
    assert error.code == "E2045"
    assert 'Workflow "empty" has no stages' in str(error)


class Batch(BatchStage[int, str, int]):
    async def submit(self, number: int, ctx: Context) -> str:
        return str(number)

    async def poll(self, reference: str, ctx: Context) -> int | Pending:
        return Pending()


@pytest.mark.parametrize(
    ("value", "fix"),
    [
        pytest.param(len, "Decorate it with @stage.", id="function"),
        pytest.param(Batch, "Make one of it: Batch().", id="class"),
        pytest.param("split", "Pass functions decorated with @stage", id="text"),
        pytest.param(None, "Pass functions decorated with @stage", id="none"),
    ],
)
def test_only_stages_can_be_piped(value: Any, fix: str) -> None:
    """Something that is no stage is refused where it is piped, with the way to make it one."""
    begun = workflow("w", input=int)
    for build in (lambda: begun.pipe(value), lambda: begun.parallel(value, value)):
        error = mistake(build)
        assert error.code == "E2052"
        assert fix in error.fix


@pytest.mark.parametrize("text", ["", "a b", "a@b", "a\0b", "é", "x" * 101, None, 5], ids=lambda one: repr(one)[:9])
def test_bad_ids_and_versions_are_refused(text: Any) -> None:
    """Ids and versions have 1 to 100 letters, digits, hyphens, underscores and dots."""
    assert mistake(lambda: workflow(text, input=int)).code == "E2048"
    error = mistake(lambda: workflow("w", input=int, version=text))
    assert error.code == "E2048"
    assert "version=text" in error.where[0]


@pytest.mark.parametrize("timeout", ["soon", 5, "0s", timedelta(0), timedelta(days=-1)], ids=repr)
def test_bad_timeouts_are_refused(timeout: Any) -> None:
    """The limit of a run is a duration with its unit, longer than nothing."""
    assert mistake(lambda: workflow("w", input=int, timeout=timeout)).code == "E2049"


def test_bad_input_types_are_refused() -> None:
    """The input has to be of a type that can be stored."""
    error = mistake(lambda: workflow("w", input=cast("Any", Callable)))
    assert error.code == "E2042"
    assert 'The input of workflow "w" is of type' in str(error)


def test_thousand_stages_compile() -> None:
    """A workflow of a thousand stages is built without trouble."""

    @stage
    def step(x: int) -> int:
        return x

    flow = workflow("long", input=int)
    for number in range(1_000):
        flow = flow.pipe(step.using(name=f"step-{number}"))
    assert len(flow.definition().groups) == 1_000
