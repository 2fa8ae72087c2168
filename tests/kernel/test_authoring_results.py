"""What handlers may return: the results themselves, and the type of the output behind them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Optional, TypeAlias, TypeVar, Union, cast

import pytest
from typing_extensions import TypeAliasType

from holdfast.authoring.results import Fail, Ok, Wait, plain_output

T = TypeVar("T")
Result: TypeAlias = Ok[T] | Fail | Wait
Named = TypeAliasType("Named", Ok[int] | Fail)
Plain = TypeAliasType("Plain", int | None)


@pytest.mark.parametrize(
    ("annotation", "output"),
    [
        (Ok[int], int),
        (Ok[list[str]] | Fail, list[str]),
        (Ok[int] | Fail | Wait, int),
        (cast("Any", Result)[str], str),
        (Union[Ok[int], Wait], int),  # noqa: UP007  # people write this, too
        (Ok[int] | Ok[str] | Fail, int | str),
        (Ok[int | None] | Fail, int | None),
        (Optional[Ok[int]], int | None),  # noqa: UP045  # people write this, too
        (int | Fail, int),
        (int | str | Wait, int | str),
        (Named, int),
        (Annotated[Ok[int] | Wait, "note"], int),
        (Ok[Annotated[int, "note"]], Annotated[int, "note"]),
        (Ok, Any),
        (Fail, Any),
        (Fail | Wait, Any),
    ],
    ids=repr,
)
def test_results_are_taken_out_of_the_output(annotation: Any, output: Any) -> None:
    """Of what a handler is annotated to return, the output is what Ok holds; failures and waits are none."""
    assert plain_output(annotation) == output


@pytest.mark.parametrize(
    "annotation",
    [int, None, Any, int | None, list[str], Plain, Annotated[int, "note"], Callable[[], Awaitable[int]]],
    ids=repr,
)
def test_other_types_stay_as_they_are(annotation: Any) -> None:
    """A type without a result in it is the type of the output, names and notes included."""
    assert plain_output(annotation) is annotation


def test_limit_of_a_wait_is_a_duration_or_an_instant() -> None:
    """A wait takes its limit as text, as a timedelta or as an instant, and has none by itself."""
    instant = datetime(2031, 1, 1, tzinfo=UTC)
    assert Wait("approval", until="2h").until == timedelta(hours=2)
    assert Wait("approval", until=timedelta(minutes=1)).until == timedelta(minutes=1)
    assert Wait("approval", until=instant).until == instant
    assert Wait().until is None


def test_results_patch_nothing_by_themselves() -> None:
    """An Ok or a Wait changes the state by its patch only, and a failure is not retried unless it says so."""
    assert (Ok(1).patch, Wait().patch) == ({}, {})
    assert Fail("CARD_DECLINED").retryable is False
