"""Where the config of a stage comes from and what happens to one that does not fit."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, Field

from holdfast import Context, RunStatus, StageStatus, stage, workflow
from holdfast.authoring.config import default_config
from holdfast.commands.run_create import RunCreate
from holdfast.errors import InvalidConfig
from tests.kernel.behaviour.flows import step
from tests.kernel.watching import MakeHarness


class Backoff(BaseModel):
    """A config inside of another."""

    seconds: float = 1.5
    times: int = 2


class Crawl(BaseModel):
    """A config with plain, made and nested defaults."""

    depth: int = 3
    hosts: list[str] = Field(default_factory=lambda: ["a.example"])
    backoff: Backoff = Backoff()


class StrictCrawl(BaseModel):
    """The same config in a later release, which takes less."""

    depth: int = Field(default=1, le=2)


@stage
async def crawl(_: int, ctx: Context[Crawl]) -> Crawl:
    """Return the config."""
    return ctx.config


CRAWLING = workflow("crawling", input=int, version="1").pipe(step("plan")).pipe(crawl)


def test_parity_041_defaults_are_known_for_every_stage() -> None:
    """The defaults of every stage's config are given by stage id: plain, made and nested ones, none for no config."""
    assert default_config(CRAWLING.definition()) == {
        "plan": {},
        "crawl": {"depth": 3, "hosts": ["a.example"], "backoff": {"seconds": 1.5, "times": 2}},
    }


def test_config_slice_keeps_the_defaults_that_it_does_not_name(make_harness: MakeHarness) -> None:
    """A run's config overrides the fields it names, inside of nested configs too, and keeps every other default."""
    harness = make_harness(CRAWLING)
    ended = harness.run(CRAWLING, 1, config={"crawl": {"depth": 1, "backoff": {"times": 9}}})

    assert ended.output == Crawl(depth=1, hosts=["a.example"], backoff=Backoff(seconds=1.5, times=9))


def test_config_that_does_not_fit_is_refused_with_every_fault(make_harness: MakeHarness) -> None:
    """A run whose config does not fit is not created, and the error names every fault by its path."""
    harness = make_harness(CRAWLING)
    bad: dict[str, Any] = {"crawl": {"depth": "deep", "backoff": {"times": []}}, "plan": {"x": 1}, "nowhere": {}}

    with pytest.raises(InvalidConfig) as raised:
        harness.dispatch(RunCreate(workflow_id="crawling", input=1, config=bad))

    text = str(raised.value)
    assert all(name in text for name in ("crawl.depth", "crawl.backoff.times", "plan", "nowhere"))
    assert harness.admit().claimed == ()


def test_parity_048_slice_that_no_longer_fits_fails_its_stage(make_harness: MakeHarness) -> None:
    """A stored config that a newer type refuses fails the stage with the reason; the raw slice is never used."""
    called: list[object] = []

    @stage(name="crawl")
    async def strict_crawl(_: int, ctx: Context[StrictCrawl]) -> Crawl:
        called.append(ctx.config)
        return Crawl()

    later = workflow("crawling", input=int, version="1").pipe(step("plan")).pipe(strict_crawl)
    harness, newer = make_harness(CRAWLING), make_harness(later)
    run_id = harness.start(CRAWLING, 1)
    newer.drain()
    ended = newer.look(later, run_id)

    assert ended.status is RunStatus.FAILED
    assert ended.failure is not None
    assert ended.failure.code == "INVALID_CONFIG"
    assert "depth" in ended.failure.message
    assert newer.stage(run_id, "crawl").status is StageStatus.FAILED
    assert called == []
