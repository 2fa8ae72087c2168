"""The harness and the fixtures that users test their workflows with."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from holdfast import BatchStage, Context, Pending, Retry, RunStatus, stage, workflow
from holdfast.authoring.results import Ok
from holdfast.commands.run_resume import Resumed
from holdfast.entities.wait import WaitStatus
from holdfast.errors import RunNotFound
from holdfast_testing import CollectingSink, Harness


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


class Links(list[str]):
    """Where a stage leaves tokens."""


@stage(waits={"answer": str})
async def ask(text: str, ctx: Context[None]) -> str:
    """Wait for an answer, and send a link for it."""
    ctx.services[Links].append(await ctx.token("answer"))
    return await ctx.wait_for("answer", str, timeout="1h")


@stage
async def delegate(text: str, ctx: Context[None]) -> str:
    """Have another run do it."""
    return await ctx.call("part", greet, text)


@stage(retry=Retry(1))
async def fail_once(text: str, ctx: Context[None]) -> str:
    """Fail in the first generation."""
    if ctx.generation == 1:
        raise ValueError(text)
    return text


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


def test_drain_stops_at_its_limit(harness: Harness) -> None:
    """Time goes no further than it may, and the run stays where it is."""
    run_id = harness.start(nightly, "hi")
    harness.drain(until=timedelta())
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


def test_wait_is_answered_by_name_or_by_token() -> None:
    """A drain that may not advance the clock leaves the wait open, and its answer lets the run go on."""
    links = Links()
    harness = Harness(services={Links: links})
    asking = workflow("asking", input=str).pipe(ask)
    for by_token in (False, True):
        run_id = harness.start(asking, "?")
        harness.drain(until=timedelta())
        assert [(wait.name, wait.status) for wait in harness.waits(run_id)] == [("answer", WaitStatus.OPEN)]
        assert harness.look(asking, run_id).status is RunStatus.WAITING
        told = harness.resume_token(links[-1], "yes") if by_token else harness.resume(run_id, "answer", "yes")
        assert told.outcome is Resumed.ANSWERED
        harness.drain()
        assert harness.look(asking, run_id).output == "yes"


def test_limit_of_a_wait_is_jumped_over() -> None:
    """A drain without a limit lets a wait expire that nobody has answered."""
    harness = Harness(services={Links: Links()})
    began = harness.clock.now()
    ended = harness.run(workflow("asking", input=str).pipe(ask), "?")
    assert ended.failure is not None
    assert ended.failure.code == "WAIT_TIMEOUT"
    assert harness.clock.now() - began == timedelta(hours=1)


def test_children_of_a_run_are_found(harness: Harness) -> None:
    """The runs that a run has started are known by its id, and their outputs are theirs."""
    harness.know(greet)
    ended = harness.run(workflow("whole", input=str).pipe(delegate), "hello")
    (child,) = harness.children(ended.run.id)
    assert ended.output == harness.look(greet, child).output == "HELLO"


def test_runs_are_held_back_let_go_on_and_cancelled(harness: Harness) -> None:
    """A paused run does nothing in a drain, goes on after it, and may be cancelled."""
    run_id = harness.start(greet, "hello")
    harness.drain(until=timedelta())
    assert harness.pause(run_id, reason="lunch").paused
    harness.drain()
    assert harness.look(greet, run_id).status is RunStatus.PAUSED
    assert harness.unpause(run_id).unpaused
    assert harness.cancel(run_id).cancelled
    assert harness.look(greet, run_id).status is RunStatus.CANCELLED


def test_runs_are_retried_and_done_again(harness: Harness) -> None:
    """A failed run goes on from where it failed, and a completed one is done again from a stage."""
    failing = workflow("failing", input=str).pipe(fail_once)
    run_id = harness.run(failing, "x").run.id
    assert harness.retry(run_id).retried == ("fail_once",)
    harness.drain()
    assert harness.look(failing, run_id).output == "x"
    assert harness.rerun(run_id, "fail_once").generation == 3


def test_state_of_a_run_is_seen(harness: Harness) -> None:
    """What stages have patched stands beside the output."""

    @stage
    async def count(text: str) -> Ok[str]:
        """Note how long it is."""
        return Ok(text, patch={"length": len(text)})

    ended = harness.run(workflow("counting", input=str, state=True).pipe(count), "abc")
    assert ended.state == {"length": 3}
