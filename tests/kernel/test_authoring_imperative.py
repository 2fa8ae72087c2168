"""Workflows written as one async function, which is their only stage."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, cast

import pytest
from pydantic import BaseModel

from holdfast.authoring.context import Context
from holdfast.authoring.flow import workflow
from holdfast.authoring.imperative import Imperative
from holdfast.authoring.registry import Registry
from holdfast.authoring.results import Fail, Ok, Wait
from holdfast.authoring.stage import stage
from holdfast.entities.definition import Calling
from holdfast.entities.graph import END, START
from holdfast.entities.retry import Retry
from holdfast.errors import DefinitionError


class Order(BaseModel):
    amount: int


class Config(BaseModel):
    limit: int = 5


class Decision(BaseModel):
    approved: bool


@workflow(
    "checkout", version="2.0.0", timeout="1d", retry=Retry(5), waits={"approval": Decision}, queue="slow", state=True
)
async def buy(order: Order, ctx: Context[Config]) -> Ok[str] | Fail | Wait:
    return Ok(str(order.amount))


def test_function_is_the_only_stage() -> None:
    """The workflow has one stage called like the function, which takes the run's input and gives its output."""
    definition = buy.definition()
    assert (definition.id, definition.version, definition.timeout) == ("checkout", "2.0.0", timedelta(days=1))
    assert list(definition.stages) == ["buy"]
    assert [(one.source, one.targets) for one in definition.edges] == [(START, ("buy",)), ("buy", (END,))]
    assert (definition.input.name, definition.output.name) == ("Order", "str")
    assert definition.stateful
    assert Registry([buy]).get("checkout") is definition


def test_options_reach_the_stage() -> None:
    """Retry, waits and queue of the decorator are those of the stage, and the config is read from the context."""
    spec = buy.definition().stages["buy"]
    assert (spec.retry, spec.queue, spec.timeout) == (Retry(5), "slow", None)
    assert spec.waits["approval"].name == "Decision"
    assert spec.config is not None
    assert spec.config.name == "Config"
    body = spec.body
    assert body is not None
    assert (body.calling, body.takes_input, body.takes_context) == (Calling.ASYNC, True, True)
    assert body.source.partition(":")[0].endswith("test_authoring_imperative.py")


def test_function_without_input_is_the_workflow_of_none() -> None:
    """A function that takes its context only, or nothing, gives a workflow whose runs take no input."""

    @workflow("nightly")
    async def clean(ctx: Context) -> int:
        return 1

    @workflow("tick")
    async def tick() -> int | None:
        return None

    assert clean.definition().input.name == "None"
    assert (tick.definition().version, tick.definition().output.name) == ("1.0.0", "int | None")


def test_result_is_shared_by_a_key_of_the_input() -> None:
    """The key of the decorator is that of the stage, a function of the run's input."""

    @workflow("keyed", key=lambda order: str(order.amount))
    async def keyed(order: Order, ctx: Context) -> int:
        return order.amount

    key = keyed.definition().stages["keyed"].key
    assert key is not None
    assert key(Order(amount=3)) == "3"


def test_function_can_be_followed_by_stages() -> None:
    """The workflow of a function is a pipeline of one stage, and others can follow it."""

    @stage
    def shout(text: str) -> str:
        return text.upper()

    definition = buy.pipe(shout).definition()
    assert list(definition.stages) == ["buy", "shout"]
    assert list(buy.definition().stages) == ["buy"]


def test_types_of_the_function_around_are_seen() -> None:
    """Annotations may name types that only the function around the workflow knows."""

    class Local(BaseModel):
        x: int

    @workflow("local")
    async def local(given: Local, ctx: Context) -> Local:
        return given

    assert local.definition().input.name == "Local"


def mistake(build: Callable[[], object], code: str, *lines: str) -> None:
    """Check that *build* raises the error of that code, and that its text has each of the *lines*."""
    with pytest.raises(DefinitionError) as caught:
        build()
    assert caught.value.code == code
    assert "test_authoring_imperative.py" in caught.value.where[0]
    for line in lines:
        assert line in str(caught.value)


def test_what_cannot_be_the_function_is_refused() -> None:
    """Plain functions, classes, values and functions without annotations are refused where they are decorated."""
    begun = workflow("w")
    assert isinstance(begun, Imperative)

    def plain(order: Order, ctx: Context) -> int:
        return 1

    async def untyped(order, ctx: Context) -> int:  # type: ignore[no-untyped-def]  # what this is about
        return 1

    async def surplus(order: Order, ctx: Context, third: int) -> int:
        return 1

    mistake(lambda: begun(cast("Any", plain)), "E2047", "is not async", "@stage")
    mistake(lambda: begun(cast("Any", Order)), "E2047", "@flow")
    mistake(lambda: begun(cast("Any", "buy")), "E2047", "function of a workflow")
    mistake(lambda: begun(cast("Any", untyped)), "E2046", 'has no annotation for "order"')
    mistake(lambda: begun(cast("Any", surplus)), "E2047", '"third"')


def test_options_that_do_not_fit_are_refused() -> None:
    """Options are checked like those of a stage and of a workflow, at the decorator's line."""

    async def run(order: Order, ctx: Context) -> int:
        return 1

    mistake(lambda: workflow("not an id")(run), "E2048", "id of a workflow")
    mistake(lambda: workflow("w", retry=cast("Any", 3))(run), "E2047", "retry policy")
    mistake(lambda: workflow("w", waits={"no word": int})(run), "E2047", "name of a wait")
