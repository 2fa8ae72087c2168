"""The harness and the fixtures that users test their workflows with."""

from __future__ import annotations

import asyncio

import pytest

from holdfast import BatchStage, Context, Pending, Retry, RunStatus, stage, workflow
from holdfast.errors import RunNotFound
from holdfast_testing import CollectingSink, FakeClock, Harness


@stage(retry=Retry(3, base="10s", jitter=0))
async def shout(text: str, ctx: Context[None]) -> str:
    """Fail twice, then shout."""
    if ctx.attempt < 3:
        raise ConnectionError("line is busy")
    return text.upper()


class Batch(BatchStage[str, str, int]):
    """Is done at the third poll."""

    poll_every = "1h"
    give_up_after = "24h"

    async def submit(self, input: str, ctx: Context[None]) -> str:
        """Hand the text in."""
        return f"batch:{input}"

    async def poll(self, ref: str, ctx: Context[None]) -> int | Pending:
        """Ask how it stands."""
        ctx.metric("length", len(ref))
        return len(ref) if ctx.services[Polls].next() >= 3 else Pending()


class Polls:
    """Counts polls."""

    def __init__(self) -> None:
        self.count = 0

    def next(self) -> int:
        """Count one more."""
        self.count += 1
        return self.count


greet = workflow("greet", input=str).pipe(shout)
nightly = workflow("nightly", input=str).pipe(shout).pipe(Batch())


def test_harness_runs_a_workflow_to_its_end(harness: Harness) -> None:
    """A run is executed with its retries, and the clock jumps over the backoff."""
    began = harness.clock.now()
    ended = harness.run(greet, "hello")
    assert ended.status is RunStatus.COMPLETED
    assert ended.output == "HELLO"
    assert ended.attempts("shout") == 3
    assert (harness.clock.now() - began).total_seconds() == 30


def test_timers_jump_for_polls() -> None:
    """Hours of polling pass at once, and services reach the stages."""
    ended = Harness(services={Polls: Polls()}).run(nightly, "hi")
    assert ended.output == len("batch:HI")
    assert [stage.metrics for stage in ended.stages if stage.key.stage_id == "Batch"] == [{"length": 8.0}]


def test_sink_sees_every_event_in_order(harness: Harness, collecting_sink: CollectingSink) -> None:
    """What the run's timeline holds reaches the sink, in order."""
    ended = harness.run(greet, "hello")
    assert [event.number for event in collecting_sink.of_run(ended.run.id)] == list(range(1, len(ended.events) + 1))


def test_drain_stops_at_its_limit(harness: Harness, fake_clock: FakeClock) -> None:
    """Time goes no further than it may, and the run stays where it is."""
    run_id = harness.start(nightly, "hi")
    harness.drain(until=fake_clock.now() - fake_clock.now())
    assert harness.look(nightly, run_id).status is RunStatus.RUNNING


def test_unknown_run_cannot_be_looked_at(harness: Harness) -> None:
    """A run that does not exist is an error that names it."""
    harness.know(greet)
    with pytest.raises(RunNotFound, match="nowhere"):
        harness.look(greet, "nowhere")


def test_stage_that_needs_a_loop_runs_under_one(harness: Harness) -> None:
    """A stage may await anything when the harness is driven by an event loop."""

    @stage
    async def patient(text: str) -> str:
        """Let the loop go round."""
        await asyncio.sleep(0)
        return text

    waiting = workflow("waiting", input=str).pipe(patient)
    assert asyncio.run(harness.arun(waiting, "x")).output == "x"
