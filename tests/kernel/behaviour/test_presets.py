"""Ready-made config fragments, and what a stage tells of itself in figures."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import attrs
import pytest
from pydantic import BaseModel

from holdfast import Context, stage, workflow
from holdfast.authoring.config import default_config
from holdfast.authoring.presets import AIConfig, ConcurrencyConfig, DebugConfig, FullConfig, StandardConfig
from holdfast.errors import InvalidConfig
from tests.kernel.watching import MakeHarness

STANDARD = {
    "model": "gemini-2.5-flash",
    "temperature": 0.7,
    "max_tokens": None,
    "concurrency": 5,
    "delay_ms": 0,
    "max_retries": 3,
    "feature_flags": {},
}


class Chained(AIConfig, ConcurrencyConfig, DebugConfig):
    """Fragments chained by hand, with a field of its own."""

    pages: int = 10


@stage
async def standard(number: int, ctx: Context[StandardConfig]) -> int:
    """Answer with what the config says."""
    return number * ctx.config.concurrency


@stage
async def full(number: int, ctx: Context[FullConfig]) -> int:
    """Answer unless it is a dry run."""
    return 0 if ctx.config.dry_run else number


@stage
async def chained(number: int, ctx: Context[Chained]) -> int:
    """Answer with a field of its own."""
    return number + ctx.config.pages


flow = workflow("presets", input=int).pipe(standard).pipe(full).pipe(chained)


def test_parity_046_presets_have_their_defaults_and_chain() -> None:
    """Each preset brings its defaults, and presets add up by inheritance."""
    defaults = default_config(flow.definition())
    assert defaults["standard"] == STANDARD
    assert defaults["full"] == {**STANDARD, "verbose": False, "dry_run": False}
    assert defaults["chained"]["pages"] == 10
    assert issubclass(Chained, BaseModel)


@pytest.mark.parametrize(
    ("field", "value"),
    [("temperature", 2.1), ("temperature", -0.1), ("max_tokens", 0), ("concurrency", 0), ("delay_ms", -1)],
)
def test_parity_046_presets_keep_their_bounds(make_harness: MakeHarness, field: str, value: Any) -> None:
    """A value outside a preset's bounds is refused when the run is created, with the path to the field."""
    harness = make_harness(flow)
    with pytest.raises(InvalidConfig, match=rf"standard\.{field}"):
        harness.start(flow, 1, config={"standard": {field: value}})
    assert harness.run(flow, 1, config={"standard": {"concurrency": 2}}).output == 12


@stage
async def costly(number: int, ctx: Context[None]) -> int:
    """Tell what it was expected to cost and what it did cost."""
    if number > 0:
        ctx.metric("estimated_cost", number * 0.5)
    ctx.metric("rows", number)
    return number


def test_parity_013_014_figures_of_a_stage_are_kept_with_it(make_harness: MakeHarness) -> None:
    """Figures that a stage sets, an estimate of its cost too, stand in its metrics; what is not set is absent."""
    one = workflow("costly", input=int).pipe(costly)
    harness = make_harness(one)
    (told,) = harness.run(one, 4).stages
    (untold,) = harness.run(one, 0).stages
    assert told.metrics == {"estimated_cost": 2.0, "rows": 4.0}
    assert untold.metrics == {"rows": 0.0}


def test_parity_018_ids_of_stages_are_found_by_their_stages() -> None:
    """A stage knows its id, the definition lists all of them by it, and neither can be changed."""
    definition = flow.definition()
    assert [standard.id, full.id, chained.id] == list(definition.stages)
    with pytest.raises((AttributeError, attrs.exceptions.FrozenInstanceError)):
        definition.stages = MappingProxyType({})  # type: ignore[misc]  # pyright: ignore[reportAttributeAccessIssue]  # refused
    with pytest.raises(TypeError):
        definition.stages["other"] = definition.stages["full"]  # type: ignore[index]  # pyright: ignore[reportIndexIssue]  # refused
