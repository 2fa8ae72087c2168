"""What executing one job does, tells and leaves behind."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast import Context, RunStatus, Settings, StageStatus, run_sync, stage, workflow
from holdfast.entities.stage import StageKey
from holdfast.errors import UnknownStage, UnknownWorkflow
from holdfast.executing import InlineExecutor
from holdfast.ports.executor import BodyCall
from holdfast.verdicts import JobOutcome
from holdfast_testing.clock import FakeClock
from tests.kernel.behaviour.flows import ONCE, Provider, batching, flaky, line, step
from tests.kernel.watching import MANY, MakeHarness


def test_parity_084_executing_completes_the_stage_with_its_output(make_harness: MakeHarness) -> None:
    """An executed stage is COMPLETED, its output is returned and stored, and the timeline tells of start and end."""
    flow = line(2)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    (lease,) = harness.lease()
    executed = harness.execute(lease)

    assert executed.outcome is JobOutcome.COMPLETED
    assert executed.output is not None
    assert executed.output.text == "2"
    done = harness.stage(run_id, "s1")
    assert (done.status, done.output, done.attempt) == (StageStatus.COMPLETED, executed.output, 1)
    about = [(event.type.value, event.key) for event in harness.events(run_id)[2:]]
    following = StageKey(run_id=run_id, stage_id="s2")
    assert about == [
        ("stage.ready", lease.key),
        ("stage.started", lease.key),
        ("stage.completed", lease.key),
        ("stage.ready", following),
    ]


def test_parity_014_metrics_of_a_stage_are_kept_with_it(make_harness: MakeHarness) -> None:
    """Numbers that a stage sets are kept with its instance, whether it completed or failed; the last value counts."""

    @stage(retry=ONCE)
    async def measure(words: int, ctx: Context) -> int:
        ctx.metric("tokens", 1)
        ctx.metric("tokens", words)
        if words < 0:
            raise ValueError(words)
        return words

    flow = workflow("measuring", input=int, version="1").pipe(measure)
    harness = make_harness(flow)

    assert harness.run(flow, 12).stages[0].metrics == {"tokens": 12.0}
    assert harness.run(flow, -1).stages[0].metrics == {"tokens": -1.0}


def test_parity_084_large_output_is_stored_as_a_blob(make_harness: MakeHarness) -> None:
    """An output above the threshold leaves the row for a blob, and the next stage gets it all the same."""

    @stage
    async def write(words: int) -> list[str]:
        return ["wörd"] * words

    @stage
    async def count(words: list[str]) -> int:
        return len(words)

    flow = workflow("large", input=int, version="1").pipe(write).pipe(count)
    harness = make_harness(flow, settings=Settings(blob_threshold=1000))
    ended = harness.run(flow, 500)
    small = harness.run(flow, 5)

    assert (ended.output, small.output) == (500, 5)
    stored = harness.stage(ended.run.id, "write").output
    assert stored is not None
    assert stored.text is None
    assert stored.blob is not None
    assert len(run_sync(harness.blob_store.get(stored.blob))) == stored.size
    assert run_sync(harness.blob_store.list("", limit=MANY)) == [stored.blob]


def test_parity_086_submitted_batch_suspends_its_stage(make_harness: MakeHarness) -> None:
    """A batch stage that submitted is SUSPENDED with its reference, and says when it is polled."""
    flow = batching()
    harness = make_harness(flow, services={Provider: Provider()})
    run_id = harness.start(flow, 1)
    harness.admit()
    _, executed = harness.work_off()

    assert executed.outcome is JobOutcome.SUSPENDED
    assert executed.delay is not None
    suspended = harness.stage(run_id, "batch")
    assert suspended.status is StageStatus.SUSPENDED
    assert suspended.due_at == harness.clock.now() + executed.delay
    assert harness.events(run_id)[-1].data == {"attempt": 1, "pollInSeconds": 60.0, "giveUpInSeconds": 86400.0}
    harness.clock.advance("1m")
    (lease,) = harness.lease()
    assert lease.state is not None
    assert lease.state.text == '"batch-1"'


def test_parity_087_job_of_an_unknown_workflow_is_refused_and_handed_back(make_harness: MakeHarness) -> None:
    """A job whose workflow or stage is not registered here is refused; it keeps its attempts and goes to others."""
    flow = line(1)
    harness = make_harness(flow)
    stranger = make_harness(line(1, id="other"))
    renamed = make_harness(workflow("line", input=int, version="1").pipe(step("renamed")))
    run_id = harness.start(flow, 1)
    harness.admit()
    key = StageKey(run_id=run_id, stage_id="s1")

    with pytest.raises(UnknownWorkflow, match="line"):
        stranger.deliver(key)
    harness.clock.advance("30s")
    with pytest.raises(UnknownStage, match="s1"):
        renamed.deliver(key)
    harness.clock.advance("30s")

    (lease,) = harness.lease()
    assert (lease.key, lease.attempt) == (key, 1)
    assert harness.execute(lease).outcome is JobOutcome.COMPLETED


def test_parity_089_progress_is_told_in_order_with_its_details(make_harness: MakeHarness) -> None:
    """Progress becomes events in the order of the calls, with details, told at the latest with the completion."""

    @stage
    async def count(upto: int, ctx: Context) -> int:
        for number in range(1, upto + 1):
            ctx.progress(number, upto, f"item {number}", last=number == upto)
        return upto

    flow = workflow("counting", input=int, version="1").pipe(count)
    harness = make_harness(flow)
    ended = harness.run(flow, 3)

    told = [event for event in ended.events if event.type.value == "stage.progress"]
    assert [event.data for event in told] == [
        {"attempt": 1, "done": n, "total": 3, "message": f"item {n}", "last": n == 3} for n in (1, 2, 3)
    ]
    assert ended.story[-3:] == ("stage.progress count", "stage.completed count", "run.completed")


def test_parity_092_completed_stage_is_not_executed_again(make_harness: MakeHarness) -> None:
    """A job that is delivered again after its stage completed gives the stored output without calling the stage."""
    flow = line(2)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    key = StageKey(run_id=run_id, stage_id="s1")
    first = harness.deliver(key)
    written = len(harness.store.committed)
    second = harness.deliver(key, worker="w2")

    assert (second.outcome, second.output, second.repeated) == (JobOutcome.COMPLETED, first.output, True)
    assert first.repeated is False
    assert harness.calls.names == ["s1"]
    assert len(harness.store.committed) == written


def test_parity_093_custom_executor_runs_the_body(make_harness: MakeHarness, clock: FakeClock) -> None:
    """An executor of one's own gets the body with its context, and what the body gives and notes is stored."""
    seen: list[tuple[str, str, str]] = []

    class Tripling(InlineExecutor):
        async def run(self, call: BodyCall) -> Any:
            context = call.arguments[-1]
            seen.append((context.workflow_id, context.stage_id, context.run_id))
            context.annotate("executor", "tripling")
            return 3 * await super().run(call)

    flow = line(1)
    harness = make_harness(flow, executor=Tripling(clock))
    ended = harness.run(flow, 1)

    assert ended.output == 6
    assert seen == [("line", "s1", ended.run.id)]
    (note,) = run_sync(harness.persistence.list_annotations(ended.run.id, limit=MANY))
    assert (note.name, note.value) == ("executor", "tripling")


def test_parity_097_only_the_stage_that_fails_tells_of_failure(make_harness: MakeHarness) -> None:
    """When the second of three stages fails, it alone tells so, and the third never begins."""
    failing = flaky("second", failures=9, retry=ONCE)
    flow = workflow("three", input=int, version="1").pipe(step("first")).pipe(failing).pipe(step("third"))
    harness = make_harness(flow)
    ended = harness.run(flow, 1)

    assert ended.status is RunStatus.FAILED
    assert [word for word in ended.story if "failed" in word] == ["stage.failed second", "run.failed"]
    assert not [word for word in ended.story if "third" in word]
    assert harness.calls.names == ["first", "second"]


def test_parity_112_repeated_delivery_gives_the_outcome_it_came_to(make_harness: MakeHarness) -> None:
    """A job that is delivered again gives the outcome the first delivery came to, whatever that was."""
    failing = workflow("failing", input=int, version="1").pipe(flaky("bad", failures=9, retry=ONCE))
    flow = batching()
    harness = make_harness(flow, failing, services={Provider: Provider()})
    batched, failed = harness.start(flow, 1), harness.start(failing, 1)
    harness.admit()
    first = {(one.outcome, one.failure) for one in harness.work_off()}
    suspended = harness.deliver(StageKey(run_id=batched, stage_id="batch"), worker="w2")
    ended = harness.deliver(StageKey(run_id=failed, stage_id="bad"), worker="w2")

    assert (suspended.outcome, suspended.repeated) == (JobOutcome.SUSPENDED, True)
    assert (ended.outcome, ended.repeated) == (JobOutcome.FAILED, True)
    assert {(suspended.outcome, suspended.failure), (ended.outcome, ended.failure)} <= first
    assert sorted(harness.calls.names) == ["bad", "batch", "before"]
    assert harness.deliver(StageKey(run_id="unknown", stage_id="s1")).outcome is JobOutcome.LOST
