"""Keys, waits and compensations of stages, and the labels of conditions."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest

from holdfast.authoring.batch import BatchStage, Pending
from holdfast.authoring.classes import flow
from holdfast.authoring.condition import condition_of, label_of
from holdfast.authoring.context import Context
from holdfast.authoring.flow import workflow
from holdfast.authoring.nodes import edge, entry, node
from holdfast.authoring.registry import Registry
from holdfast.authoring.source import Source
from holdfast.authoring.stage import stage
from holdfast.entities.definition import Calling
from holdfast.entities.graph import END
from holdfast.errors import DefinitionError

HERE = Source(__file__, 1)

Condition = Callable[[Any], object]


def mistake(build: Callable[[], object]) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        build()
    return caught.value


def book(text: str) -> int:
    return 1


async def later(text: str) -> str:
    return text


def nothing() -> str:
    return "x"


def two(first: str, second: str) -> str:
    return "x"


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("id", id="text"),
        pytest.param(5, id="number"),
        pytest.param(str, id="class"),
        pytest.param(later, id="async"),
        pytest.param(nothing, id="nothing"),
        pytest.param(two, id="two"),
    ],
)
def test_bad_keys_are_refused(key: Any) -> None:
    """A key is a plain function of the input."""
    error = mistake(lambda: stage(key=key)(book))
    assert error.code == "E2047"
    assert 'key of stage "book"' in str(error)
    assert "key=lambda order: order.id" in error.fix
    assert mistake(lambda: stage(book).using(key=key)).code == "E2047"


@pytest.mark.parametrize("name", ["", "a b", "2nd", "über", 5, "x" * 101, "a-b"], ids=lambda one: repr(one)[:8])
def test_names_of_waits_that_are_no_words_are_refused(name: Any) -> None:
    """What a stage waits for is called by a word, for it is written in code and in addresses."""
    error = mistake(lambda: stage(waits={name: int})(book))
    assert error.code == "E2047"
    assert 'name of a wait of stage "book"' in str(error)


def test_waits_that_are_no_mapping_are_refused() -> None:
    """The payloads of waits are given by name."""
    error = mistake(lambda: stage(waits=cast("Any", ["approval"]))(book))
    assert error.code == "E2047"
    assert 'waits={"approval": Decision}' in error.fix


def test_payload_of_a_wait_has_to_be_storable() -> None:
    """A payload that cannot be read from JSON is refused when the stage is put into a workflow."""
    asking = stage(waits={"go": Callable})(book)
    error = mistake(lambda: workflow("w", input=str).pipe(asking))
    assert error.code == "E2042"
    assert 'as "go"' in str(error)


def test_compensation_is_called_as_it_wants() -> None:
    """A compensation takes the output, the context, both or nothing; sync or async."""

    def with_both(number: int, ctx: Context) -> None: ...
    async def with_output(number: int) -> None: ...
    def with_context(ctx: Context) -> None: ...
    def with_nothing() -> None: ...
    def unannotated(number): ...  # type: ignore[no-untyped-def]  # as some people write

    def read(function: Callable[..., Any]) -> tuple[bool, bool, Calling]:
        flow = workflow("w", input=str, compensate=True).pipe(stage(compensate=function)(book))
        body = flow.definition().stages["book"].compensate
        assert body is not None
        return body.takes_input, body.takes_context, body.calling

    assert read(with_both) == (True, True, Calling.SYNC)
    assert read(with_output) == (True, False, Calling.ASYNC)
    assert read(with_context) == (False, True, Calling.SYNC)
    assert read(with_nothing) == (False, False, Calling.SYNC)
    assert read(cast("Any", unannotated)) == (True, False, Calling.SYNC)


def test_compensation_of_another_type_is_refused() -> None:
    """A compensation takes the output of the stage that it undoes."""

    def undo(text: list[str]) -> None: ...

    error = mistake(lambda: workflow("w", input=str, compensate=True).pipe(stage(compensate=undo)(book)))
    assert error.code == "E2041"
    assert "returns int, but its compensation takes list[str]" in str(error)


@pytest.mark.parametrize("value", [5, "undo", int, stage(book)], ids=["number", "text", "class", "stage"])
def test_compensation_that_is_no_function_is_refused(value: Any) -> None:
    """What undoes a stage is a plain function."""
    error = mistake(lambda: workflow("w", input=str, compensate=True).pipe(stage(compensate=value)(book)))
    assert error.code == "E2047"
    assert 'compensate of stage "book"' in str(error)


def test_batch_stage_can_be_undone() -> None:
    """A batch stage names its compensation in the class, which takes the output of the poll."""

    class Batch(BatchStage[int, str, int]):
        @staticmethod
        def compensate(output: int) -> None: ...

        async def submit(self, number: int, ctx: Context) -> str:
            return str(number)

        async def poll(self, reference: str, ctx: Context) -> int | Pending:
            return Pending()

    flow = workflow("w", input=int, compensate=True).pipe(Batch().using(queue="slow"))
    spec = flow.definition().stages["Batch"]
    assert spec.compensate is not None
    assert (spec.compensate.takes_input, spec.queue) == (True, "slow")


def labels() -> Iterator[tuple[Condition, str]]:
    """Give conditions as people write them, each with how it reads."""
    yield lambda r: r.sure, "r.sure"
    yield lambda r: (r.a or r.b) and not r.c, "(r.a or r.b) and not r.c"
    yield (lambda r: r.score > 0.8), "r.score > 0.8"
    yield lambda r: r.state["x"] if r else "ü" in r.z, 'r.state["x"] if r else "ü" in r.z'
    yield lambda r: True, "True"
    yield lambda r: any(one > 0 for one in r), "any(one > 0 for one in r)"
    yield lambda r: r == "é", 'r == "é"'
    yield (
        lambda r: r.first
        and r.second,
        "r.first and r.second",
    )  # fmt: skip
    yield is_long, "is_long"


def is_long(text: str) -> bool:
    return len(text) > 3


@pytest.mark.parametrize(("function", "label"), list(labels()))
def test_label_of_a_condition_is_its_source(function: Callable[..., Any], label: str) -> None:
    """A lambda reads as it is written, on one line; any other function by its name."""
    assert label_of(function) == label


def test_labels_of_two_lambdas_on_one_line_are_told_apart() -> None:
    """Positions, not lines, say what a lambda is."""
    pair: tuple[Condition, Condition] = (lambda r: r.one, lambda r: r.two)
    assert [label_of(one) for one in pair] == ["r.one", "r.two"]


def test_label_without_source_is_the_name() -> None:
    """Where the source cannot be read, the function's name has to do."""
    made = eval("lambda r: r.sure")
    assert label_of(made) == "<lambda>"

    class Judge:
        def __call__(self, value: object) -> bool:
            return True

    assert condition_of(Judge(), call=HERE).label == "Judge"


def test_long_labels_are_cut() -> None:
    """A label stays short enough to be drawn."""

    def read(value: Callable[[Any], object]) -> str:
        return label_of(value)

    label = read(
        lambda value: (
            value.first_field_of_a_long_name > value.second_field_of_a_long_name
            and value.third_field_of_a_long_name > value.fourth_field_of_a_long_name
            and value.fifth_field_of_a_long_name > value.sixth_field_of_a_long_name
        )
    )
    assert len(label) == 200
    assert label.endswith("…")


def test_every_way_of_writing_takes_a_weight() -> None:
    """A weight may be given wherever a stage is written, and replaced by `using`."""

    @stage(weight=3)
    async def heavy(number: int) -> int:
        return number

    class Batch(BatchStage[int, int, int]):
        weight = 4

        async def submit(self, number: int, ctx: Context) -> int:
            return number

        async def poll(self, reference: int, ctx: Context) -> int:
            return reference

    @workflow("alone", weight=5)
    async def alone(number: int) -> int:
        return number

    @flow("nodes", "1")
    class Nodes:
        @entry
        @edge(END)
        @node(weight=6)
        async def begin(self, ctx: Context) -> int:
            return 1

    line = workflow("line", input=int).pipe(heavy).pipe(heavy.using(name="light", weight=0)).pipe(Batch())
    line = line.pipe(Batch().using(name="other", weight=7))
    weights = {spec.id: spec.weight for spec in line.definition().stages.values() if "~" not in spec.id}
    assert weights == {"heavy": 3, "light": 0, "Batch": 4, "other": 7}
    assert alone.definition().stages["alone"].weight == 5
    assert Registry([Nodes]).get("nodes", "1").stages["begin"].weight == 6


@pytest.mark.parametrize("weight", [-1, 1.5, "2", True, None])
def test_a_weight_is_a_whole_number(weight: Any) -> None:
    """A weight that is none is refused with the line that gives it."""
    with pytest.raises(DefinitionError, match='weight of stage "heavy"'):

        @stage(weight=weight)
        async def heavy(number: int) -> int:
            return number
