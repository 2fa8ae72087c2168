"""Functions and options that cannot be those of a stage, refused while they are decorated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

import pytest
from pydantic import BaseModel

from holdfast.authoring.context import Context
from holdfast.authoring.flow import workflow
from holdfast.authoring.stage import Stage, stage
from holdfast.entities.retry import Retry
from holdfast.errors import DefinitionError

if TYPE_CHECKING:
    from fractions import Fraction


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


def mistake(build: Callable[[], object]) -> DefinitionError:
    with pytest.raises(DefinitionError) as caught:
        build()
    assert __name__.rpartition(".")[2] in caught.value.where[0]
    return caught.value


def decorated(function: Any, **options: Any) -> DefinitionError:
    return mistake(lambda: stage(**options)(function))


def no_annotation(x) -> int:  # type: ignore[no-untyped-def]  # what this is about
    return 1


def no_return(x: int):  # type: ignore[no-untyped-def]  # what this is about
    return x


def bare_context(x: int, ctx) -> int:  # type: ignore[no-untyped-def]  # what this is about
    return x


def context_first(ctx: Context, x: int) -> int:
    return x


def context_by_name(x: int, *, ctx: Context) -> int:
    return x


def two_inputs(x: int, y: int) -> int:
    return x + y


def two_inputs_and_context(x: int, y: int, ctx: Context) -> int:
    return x + y


def by_name(x: int, *, y: int) -> int:
    return x + y


def collecting(*args: int) -> int:
    return len(args)


def yielding(x: int) -> Iterator[int]:
    yield x


async def yielding_later(x: int) -> AsyncIterator[int]:
    yield x


def unknown(x: Missing) -> int:  # type: ignore[name-defined]  # pyright: ignore[reportUndefinedVariable]  # noqa: F821  # what this is about
    return 1


def only_for_checkers(x: Fraction) -> int:
    return int(x)


def function_input(x: Callable[[], int]) -> int:
    return x()


def opaque_output(x: int) -> object | asyncio.Task[int]:
    return x


def opaque_config(x: int, ctx: Context[asyncio.Task[int]]) -> int:
    return x


class Broken(BaseModel):
    size: int = cast("Any", "large")


class HalfBroken(BaseModel):
    name: str
    size: int = cast("Any", "large")


def broken_config(x: int, ctx: Context[Broken]) -> int:
    return x


def half_broken_config(x: int, ctx: Context[HalfBroken]) -> int:
    return x


UNFIT: Final[list[tuple[Any, str, str]]] = [
    (no_annotation, "E2046", 'Stage "no_annotation" has no annotation for "x"'),
    (no_return, "E2046", 'Stage "no_return" does not say what it returns'),
    (bare_context, "E2046", "Annotate it as `ctx: Context`"),
    (context_first, "E2047", 'has the context "ctx" in the wrong place'),
    (context_by_name, "E2047", 'has the context "ctx" in the wrong place'),
    (two_inputs, "E2047", 'has a parameter "y" that nothing is passed for'),
    (two_inputs_and_context, "E2047", '"y" that nothing is passed for'),
    (by_name, "E2047", 'has a parameter "y" that nothing is passed for'),
    (collecting, "E2047", 'collects arguments in "args"'),
    (yielding, "E2047", "is a generator"),
    (yielding_later, "E2047", "is a generator"),
    (function_input, "E2042", 'The input of stage "function_input" is of type'),
    (opaque_output, "E2042", 'The output of stage "opaque_output" is of type'),
    (opaque_config, "E2042", 'The config of stage "opaque_config" is of type'),
    (broken_config, "E2051", "size: Input should be a valid integer"),
    (half_broken_config, "E2051", "size: Input should be a valid integer"),
]


@pytest.mark.parametrize(("function", "code", "words"), UNFIT, ids=lambda one: getattr(one, "__name__", None))
def test_unfit_functions_are_refused_when_decorated(function: Any, code: str, words: str) -> None:
    """A function that cannot be a stage is refused where it stands, with its line, its text and the way out."""
    error = decorated(function)
    assert error.code == code
    assert words in str(error)
    assert f"def {function.__name__}(" in error.where[0]
    assert error.fix


UNRESOLVED: Final[list[tuple[Any, str]]] = [(unknown, "Missing"), (only_for_checkers, "Fraction")]


@pytest.mark.parametrize(("function", "name"), UNRESOLVED)
def test_names_that_never_exist_are_refused_when_the_workflow_is_built(function: Any, name: str) -> None:
    """An annotation that names what is never defined, or for type checkers only, is refused at the latest moment."""
    flow = workflow("w", input=int).pipe(cast("Stage[int, int]", stage(function)))
    error = mistake(flow.definition)
    assert error.code == "E2046"
    assert f'"{name}", which is not defined' in str(error)
    assert "TYPE_CHECKING" in error.fix


@pytest.mark.parametrize(
    "name", ["", "a b", "a/b", "é", ".a", "-a", "a\0", "a\n", "x" * 101, 5, "<lambda>"], ids=lambda one: repr(one)[:9]
)
def test_bad_names_are_refused(name: Any) -> None:
    """An id has 1 to 100 letters, digits, hyphens, underscores and dots, and is refused by the line it stands in."""
    for options in ({"name": name}, {"queue": name}):
        assert decorated(bool_of, **options).code == "E2048"
    assert mistake(lambda: count.using(name=name)).code == "E2048"


def bool_of(x: int) -> bool:
    return bool(x)


@pytest.mark.parametrize("name", ["a", "_a", "0", "a.b-c_D9", "x" * 100])
def test_good_names_are_accepted(name: str) -> None:
    """Whatever keeps to the rule can be an id."""
    assert stage(name=name)(bool_of).id == name


@pytest.mark.parametrize(
    "timeout", ["30", "x", "", 30, 0.5, "-1s", "0s", timedelta(0), timedelta(-1), "9" * 30 + "d"], ids=repr
)
def test_bad_durations_are_refused(timeout: Any) -> None:
    """A timeout is a duration with its unit, longer than nothing."""
    assert decorated(bool_of, timeout=timeout).code == "E2049"
    assert mistake(lambda: count.using(timeout=timeout)).code == "E2049"


def test_bad_options_are_refused() -> None:
    """Options of the wrong kind are refused with the way to write them."""
    assert "Retry(5)" in str(decorated(bool_of, retry=3))
    assert "needs=[first, second]" in str(decorated(bool_of, needs="split"))
    assert decorated(bool_of, needs=[bool_of]).code == "E2052"
    assert "Retry(5)" in str(mistake(lambda: count.using(retry=cast("Any", 3))))


@pytest.mark.parametrize("value", [Doc, split, 5], ids=["class", "stage", "number"])
def test_only_functions_are_stages(value: Any) -> None:
    """A class, a stage or anything else that is no function cannot be decorated."""
    assert mistake(lambda: stage(value)).code == "E2047"
