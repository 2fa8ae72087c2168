"""Mistakes in maps and waits: found where they are written, with the way out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from holdfast.authoring.flow import line, workflow
from holdfast.authoring.stage import stage
from tests.kernel.written import double, label, measure, mistake, split


def begun() -> Any:
    return workflow("w", input=str)


@pytest.mark.parametrize("kind", [str, int, dict[str, int], None, list[str] | None], ids=str)
def test_map_over_something_that_is_no_list_is_refused(kind: Any) -> None:
    """Only arrays have items."""
    flow: Any = workflow("w", input=kind)
    mistake(lambda: flow.map(label), code="E2062", says="A map takes a list", fix="return a list")


def test_items_that_do_not_fit_are_refused() -> None:
    """The stage that is mapped has to take the items."""
    error = mistake(
        lambda: begun().pipe(split).map(double),
        code="E2041",
        says='Stage "double" cannot follow an item of the map',
        fix="Change one of the types",
    )
    assert error.where[1].endswith("an item of the map is str")


def test_empty_map_is_refused() -> None:
    """A map of a line without stages does nothing."""
    mistake(lambda: begun().pipe(split).map(line(str)), code="E2062", says="no stages", fix=".map(line(Item)")


def test_map_within_a_map_is_refused() -> None:
    """Maps cannot be nested; a child run for each item can."""
    inner = line(str).pipe(split.using(name="letters")).map(label)
    mistake(lambda: begun().pipe(split).map(inner), code="E2062", says="within a map", fix="ctx.call(")


@pytest.mark.parametrize("limit", [0, -1, "3", 2.5, None, True], ids=repr)
def test_bad_limits_of_maps_are_refused(limit: Any) -> None:
    """At least one item is under way at a time."""
    mistake(lambda: begun().pipe(split).map(label, limit=limit), code="E2047", says="limit of a map", fix="1 or more")


@pytest.mark.parametrize("tolerate", [-1, 1.5, 0.0, "3", True, float("nan")], ids=repr)
def test_bad_tolerances_of_maps_are_refused(tolerate: Any) -> None:
    """A map tolerates a number of failures, or a fraction of all items."""
    mistake(
        lambda: begun().pipe(split).map(label, tolerate=tolerate),
        code="E2047",
        says="tolerance of a map",
        fix="a fraction of them",
    )


def test_wait_name_used_twice_is_refused() -> None:
    """Payloads are addressed by name, so two waits cannot share one, wherever they stand."""

    @stage(waits={"go": int})
    def asking(text: str) -> str:
        return text

    @stage(waits={"go": str})
    def asking_too(text: str) -> str:
        return text

    for build in (
        lambda: begun().pipe(asking).pipe(asking_too),
        lambda: begun().pipe(asking).wait_for("go", int),
    ):
        error = mistake(build, code="E2063", says='Two waits of the workflow are called "go"', fix="something else")
        assert error.where


def test_wait_with_a_bad_name_or_limit_is_refused() -> None:
    """A wait has a name that can be a stage's id, and a limit that is a duration."""
    mistake(lambda: begun().wait_for("a b", int), code="E2048", says="name of a wait", fix="1 to 100")
    mistake(lambda: begun().wait_for("go", int, timeout=5), code="E2049", says='timeout of the wait "go"', fix="30s")


def test_payload_that_cannot_be_stored_is_refused() -> None:
    """The payload of a wait has to be of a type that can be read from JSON."""
    mistake(lambda: begun().wait_for("go", Callable), code="E2042", says='The payload of the wait "go"', fix="pydantic")


def test_way_for_a_timeout_without_a_limit_is_refused() -> None:
    """What follows a timeout can only be said of a wait that has a limit."""
    mistake(
        lambda: begun().wait_for("go", int, on_timeout=measure),
        code="E2067",
        says="no timeout=",
        fix='timeout="7d"',
    )


def test_stage_for_a_timeout_of_other_input_is_refused() -> None:
    """What stands in for the payload takes what the wait was given."""
    mistake(
        lambda: begun().wait_for("go", int, timeout="1h", on_timeout=double),
        code="E2041",
        says='"double" cannot follow "go" without an answer',
        fix="Change one of the types",
    )


def test_stage_behind_a_wait_has_to_take_the_pair() -> None:
    """What follows a wait takes what it was given and the payload."""
    error = mistake(
        lambda: begun().wait_for("go", int).pipe(label),
        code="E2041",
        says='"label" cannot follow "go"',
        fix="Change one of the types",
    )
    assert error.where[1].endswith('"go" gives tuple[str, int]')


def test_need_of_a_stage_inside_a_map_is_refused() -> None:
    """Of a mapped line only the last stage has one list of outputs to be seen from behind."""

    @stage(needs=[label])
    def wanting(found: list[int]) -> int:
        return 1

    body = line(str).pipe(label).pipe(measure)
    mistake(
        lambda: begun().pipe(split).map(body).pipe(wanting), code="E2044", says='needs "label"', fix="split, measure"
    )
