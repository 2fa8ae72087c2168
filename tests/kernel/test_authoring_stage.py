"""Functions as stages: what is read from their annotations."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from pydantic import BaseModel

from holdfast.authoring.context import Context
from holdfast.authoring.flow import workflow
from holdfast.authoring.stage import AsyncStage, Stage, SyncStage, stage
from holdfast.entities.definition import Body, Calling, StageSpec
from holdfast.entities.retry import Retry

if TYPE_CHECKING:
    pass


class Doc(BaseModel):
    url: str


class Config(BaseModel):
    size: int = 800


@stage(retry=Retry(5), timeout="30s", queue="slow")
async def split(doc: Doc, ctx: Context[Config]) -> list[str]:
    return [doc.url]


@stage
def count(parts: list[str]) -> int:
    """Count the parts."""
    return len(parts)


def body_of(spec: StageSpec) -> Body:
    """Return what is called when the stage executes."""
    assert spec.body is not None, "a stage that a person wrote has a body"
    return spec.body


def spec_of(one: Stage[Any, Any], *, input: Any = Doc) -> StageSpec:
    definition = workflow("w", input=input).pipe(one).definition()
    return definition.stages[one.id]


def test_annotations_say_what_a_stage_takes_and_gives() -> None:
    """Input, output and config are read from the annotations, and how to call the function from its form."""
    spec = spec_of(split)
    assert (spec.input.name, spec.output.name) == ("Doc", "list[str]")
    assert spec.config is not None
    assert spec.config.name == "Config"
    assert body_of(spec).calling is Calling.ASYNC
    assert (body_of(spec).takes_input, body_of(spec).takes_context) == (True, True)
    assert (spec.retry, spec.timeout, spec.queue) == (Retry(5), timedelta(seconds=30), "slow")
    assert body_of(spec).source.partition(":")[0].endswith("test_authoring_stage.py")


def test_options_have_defaults() -> None:
    """A bare stage has the name of its function, three attempts, no timeout, no needs and the default queue."""
    spec = spec_of(count, input=list[str])
    assert (spec.id, spec.retry, spec.timeout, spec.needs, spec.queue) == ("count", Retry(), None, (), "default")
    assert body_of(spec).calling is Calling.SYNC
    assert (body_of(spec).takes_input, body_of(spec).takes_context, spec.config) == (True, False, None)


def test_stage_stays_callable_as_its_function() -> None:
    """A stage is called like the function that it was made of, and keeps its name and docstring."""
    assert asyncio.run(split(Doc(url="a"), cast("Context[Config]", None))) == ["a"]
    assert count(["a", "b"]) == 2
    assert cast("Any", count)(parts=["a"]) == 1
    assert count.__doc__ == "Count the parts."
    assert isinstance(split, AsyncStage)
    assert isinstance(count, SyncStage)
    assert repr(count).startswith('<stage "count" from ')


def test_parity_011_stage_without_input_can_follow_any_other() -> None:
    """A stage that takes nothing, or its context only, stands behind any other and loads only what it asked for."""

    @stage
    async def tick() -> None: ...

    @stage(needs=[count])
    def total(ctx: Context[Config]) -> int:
        return ctx.output(count)

    definition = workflow("w", input=list[str]).pipe(count).pipe(tick).pipe(total).definition()
    alone, reading = definition.stages["tick"], definition.stages["total"]
    assert (body_of(alone).takes_input, body_of(alone).takes_context) == (False, False)
    assert (body_of(reading).takes_input, body_of(reading).takes_context) == (False, True)
    assert (alone.sources, alone.needs) == ((), ())
    assert (reading.sources, reading.needs) == ((), ("count",))
    assert alone.input.decode('{"any": 1}', what="x") == {"any": 1}


def test_parity_012_needs_are_exposed() -> None:
    """A stage tells which earlier stages it needs; one that needs none says so by an empty tuple."""

    @stage(needs=[split, "count"])
    def last(x: int) -> int:
        return x

    assert last.needs == ("split", "count")
    assert count.needs == ()


def test_one_function_can_stand_twice_under_two_names() -> None:
    """A stage used with other options is another stage, and the first one stays as it was."""

    @stage
    def double(x: int) -> int:
        return 2 * x

    again = double.using(name="double-again", retry=Retry(2), timeout="1m")
    definition = workflow("w", input=int).pipe(double).pipe(again).definition()
    assert list(definition.stages) == ["double", "double-again"]
    assert definition.stages["double-again"].retry == Retry(2)
    assert definition.stages["double-again"].timeout == timedelta(minutes=1)
    assert (definition.stages["double"].retry, definition.stages["double"].timeout) == (Retry(), None)
    assert again(4) == 8


def test_parameters_with_defaults_are_left_alone() -> None:
    """Parameters behind input and context that have defaults are for direct calls."""

    @stage
    def shift(x: int, ctx: Context, by: int = 1, *, sign: int = 1) -> int:
        return x + sign * by

    assert body_of(spec_of(shift, input=int)).takes_context


def test_forward_references_are_resolved_in_functions() -> None:
    """Classes of an enclosing function can be named in annotations, even when they are defined further down."""

    class Early(BaseModel):
        x: int

    @stage
    def first(early: Early) -> Late:
        return Late(y=early.x)

    class Late(BaseModel):
        y: int

    definition = workflow("w", input=Early).pipe(first).definition()
    assert definition.output.name == "Late"
    assert definition.output.decode('{"y": 1}', what="x") == Late(y=1)


def test_models_may_refer_to_models_further_down() -> None:
    """A model whose fields name a class that does not exist yet is looked at again when the workflow is built."""

    @stage
    def grow(tree: Tree) -> Tree:
        return tree

    flow = workflow("w", input=Tree).pipe(grow)

    class Leaf(BaseModel):
        size: int

    Tree.model_rebuild(_types_namespace={"Leaf": Leaf})
    assert flow.definition().input.decode('{"leaf": {"size": 1}}', what="x").leaf.size == 1


class Tree(BaseModel):
    leaf: Leaf  # type: ignore[name-defined]  # pyright: ignore[reportUndefinedVariable]  # noqa: F821  # what this is about


def test_function_that_returns_an_awaitable_is_async() -> None:
    """A plain function that returns an awaitable is awaited, and gives what is behind it."""

    @stage
    def later(x: int) -> Awaitable[str]:
        return asyncio.sleep(0, str(x))

    spec = spec_of(later, input=int)
    assert body_of(spec).calling is Calling.ASYNC
    assert spec.output.name == "str"


def test_wrapped_functions_keep_their_types() -> None:
    """A decorator between that uses functools.wraps changes nothing."""

    def logged(function: Callable[[int], str]) -> Callable[[int], str]:
        @functools.wraps(function)
        def wrapper(*args: Any, **kwargs: Any) -> str:
            return function(*args, **kwargs)

        return wrapper

    @stage
    @logged
    def text(x: int) -> str:
        return str(x)

    assert spec_of(text, input=int).output.name == "str"


def test_config_with_required_fields_is_fine() -> None:
    """A config need not have defaults, and its own rules may refuse what the defaults alone would give."""

    class Needed(BaseModel):
        model: str
        size: int = 3

    @stage
    def asking(x: int, ctx: Context[Needed]) -> int:
        return x

    assert spec_of(asking, input=int).config is not None


def test_context_without_config_has_none() -> None:
    """A bare context, and one of None or of anything, give a stage without config."""

    @stage
    def none(x: int, ctx: Context[None]) -> int:
        return x

    @stage
    def anything(x: int, ctx: Context[Any]) -> int:
        return x

    assert spec_of(none, input=int).config is None
    assert spec_of(anything, input=int).config is None
