"""Stages that tests of the builders put together, and how they look at what came of it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from pydantic import BaseModel

from holdfast.authoring.context import Context
from holdfast.authoring.flow import Flow, workflow
from holdfast.authoring.stage import stage
from holdfast.entities.definition import Definition
from holdfast.errors import DefinitionError


class Report(BaseModel):
    sure: bool


class Decision(BaseModel):
    approved: bool


@stage
def split(text: str) -> list[str]:
    return text.split()


@stage(queue="gpu")
def label(word: str) -> str:
    return word.upper()


@stage
def shorten(word: str) -> str:
    return word[:3]


@stage
def measure(word: str) -> int:
    return len(word)


@stage
def report(labels: list[str]) -> Report:
    return Report(sure=len(labels) > 1)


@stage
def publish(report: Report) -> str:
    return "published"


@stage
def drop(report: Report) -> int:
    return 0


@stage
def decide(both: tuple[Report, Decision]) -> str:
    return "approved" if both[1].approved else "dropped"


@stage
def escalate(report: Report) -> Decision:
    return Decision(approved=False)


@stage
def tick(ctx: Context) -> float:
    return 0.5


def ways(definition: Definition) -> list[tuple[str, tuple[str, ...], int, str]]:
    """Return the edges as (source, targets, priority, why)."""
    return [
        (edge.source, edge.targets, edge.priority, edge.condition.label if edge.condition else edge.on.said)
        for edge in definition.edges
    ]


def reviewed() -> Flow[str, Report]:
    return workflow("review", input=str).pipe(split).pipe(report)


@stage
def double(number: int) -> int:
    return 2 * number


@stage
def joined(found: list[str]) -> str:
    return "".join(found)


def is_long(text: str) -> bool:
    return len(text) > 3


def mistake(build: Callable[[], object], *, code: str, says: str, fix: str) -> DefinitionError:
    """Return the error that building raises: it says what is wrong, where in the test, and the way out."""
    with pytest.raises(DefinitionError) as caught:
        build()
    error = caught.value
    assert error.code == code
    assert says in str(error)
    assert fix in error.fix
    assert "tests/kernel/test_authoring_" in error.where[0]
    return error
