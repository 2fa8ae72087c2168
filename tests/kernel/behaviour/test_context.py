"""What a stage sees through its context, and what it leaves there for others."""

from __future__ import annotations

from typing import assert_type

import pytest

from holdfast import Context, RunStatus, Settings, stage, workflow
from holdfast.driving import run_sync
from holdfast.errors import ArtifactNotFound, BlobMissing
from tests.kernel.behaviour.flows import ONCE, Tuning, line, step
from tests.kernel.watching import MANY, MakeHarness

NESTED = {"pages": [{"number": 1, "words": ["a", "ü", "\u0000"]}], "done": True, "none": None}


@stage
async def save_nested(number: int, ctx: Context) -> int:
    """Save nested data for a later stage."""
    await ctx.save("nested", NESTED)
    return number


def test_parity_023_stage_sees_the_defaults_of_its_config(make_harness: MakeHarness) -> None:
    """A stage of a run that was created without config sees the defaults."""

    @stage
    async def read(_: int, ctx: Context[Tuning]) -> str:
        return f"{ctx.config.model} {ctx.config.limit}"

    flow = workflow("reading", input=int, version="1").pipe(read)
    harness = make_harness(flow)

    assert harness.run(flow, 1).output == "m1 3"
    assert harness.run(flow, 1, config={"read": {"limit": 9}}).output == "m1 9"


def test_parity_015_018_stage_stands_for_its_id_and_its_type(make_harness: MakeHarness) -> None:
    """A stage is its own constant: asked for by it, an output is found under its id and has its type."""

    @stage(name="split-doc")
    async def split(number: int) -> list[str]:
        return ["word"] * number

    @stage(needs=[split])
    async def count(_: list[str], ctx: Context) -> int:
        words = ctx.output(split)
        assert_type(words, list[str])
        return len(words)

    flow = workflow("constants", input=int, version="1").pipe(split).pipe(count)

    assert split.id == "split-doc"
    assert make_harness(flow).run(flow, 3).output == 3


def test_parity_025_optional_output_is_none_when_absent(make_harness: MakeHarness) -> None:
    """Asking for an optional output gives None when there is none to see, and the output when there is."""

    @stage(needs=["s1"])
    async def look(_: int, ctx: Context) -> list[int | None]:
        return [ctx.optional("s1"), ctx.optional("s2"), ctx.optional("absent")]

    flow = line(3).pipe(look)

    assert make_harness(flow).run(flow, 0).output == [1, None, None]


def test_parity_026_artifact_is_the_same_data_in_a_later_stage(make_harness: MakeHarness) -> None:
    """What a stage saved is loaded by a later one as the same nested data."""

    @stage
    async def load(_: int, ctx: Context) -> bool:
        loaded: object = await ctx.load("nested")
        return loaded == NESTED

    flow = workflow("saving", input=int, version="1").pipe(save_nested).pipe(step("between")).pipe(load)

    assert make_harness(flow).run(flow, 1).output is True


def test_parity_027_loading_what_nobody_saved_fails_the_stage(make_harness: MakeHarness) -> None:
    """Loading an artifact that does not exist fails the stage with an error that says so."""

    @stage(retry=ONCE)
    async def load(_: int, ctx: Context) -> None:
        await ctx.load("report")

    flow = workflow("loading", input=int, version="1").pipe(load)
    ended = make_harness(flow).run(flow, 1)

    assert ended.status is RunStatus.FAILED
    assert ended.failure is not None
    assert ended.failure.stage_id == "load"
    assert ended.failure.error == "ArtifactNotFound"
    assert '"report" was not found' in ended.failure.message


def test_parity_028_artifact_exists_from_its_save_on(make_harness: MakeHarness) -> None:
    """An artifact is not there before it is saved and there afterwards."""
    found: list[bool] = []

    @stage
    async def save_late(_: int, ctx: Context) -> None:
        for _ in range(2):
            try:
                await ctx.load("nested")
            except ArtifactNotFound:
                found.append(False)
            else:
                found.append(True)
            await ctx.save("nested", NESTED)

    flow = workflow("existing", input=int, version="1").pipe(save_late)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    assert run_sync(harness.persistence.list_artifacts(run_id)) == []
    harness.drain()

    assert found == [False, True]
    assert [artifact.name for artifact in run_sync(harness.persistence.list_artifacts(run_id))] == ["nested"]


def test_parity_028_blob_is_gone_after_its_deletion(make_harness: MakeHarness) -> None:
    """A blob that was deleted is missing, and deleting one that does not exist disturbs nobody."""
    flow = workflow("deleting", input=int, version="1").pipe(save_nested)
    harness = make_harness(flow)
    ended = harness.run(flow, 1)
    (artifact,) = run_sync(harness.persistence.list_artifacts(ended.run.id))
    assert run_sync(harness.blob_store.get(artifact.blob))

    run_sync(harness.blob_store.delete(artifact.blob))
    run_sync(harness.blob_store.delete(artifact.blob))

    with pytest.raises(BlobMissing):
        run_sync(harness.blob_store.get(artifact.blob))


def test_parity_029_keys_of_blobs_are_distinct_and_name_run_and_stage(make_harness: MakeHarness) -> None:
    """Every blob of a stage has a key of its own that holds the run's id and the stage's id."""

    @stage
    async def save_two(_: int, ctx: Context) -> str:
        first = await ctx.save("first", "one")
        second = await ctx.save("second", "two")
        assert first.blob != second.blob
        return "output" * 100

    flow = workflow("keys", input=int, version="1").pipe(save_two)
    harness = make_harness(flow, settings=Settings(blob_threshold=100))
    ended = harness.run(flow, 1)

    keys = run_sync(harness.blob_store.list("", limit=MANY))
    assert len(keys) == 3
    assert all(f"{ended.run.id}/save_two/" in key for key in keys)
    output = harness.stage(ended.run.id, "save_two").output
    assert output is not None
    assert output.blob in keys
