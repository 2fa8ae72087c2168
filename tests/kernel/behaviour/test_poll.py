"""How suspended stages are polled until they are done, fail, or are given up."""

from __future__ import annotations

from datetime import timedelta

import pytest

from holdfast import BatchStage, Context, Pending, RunStatus, StageStatus, stage, workflow
from holdfast.commands.stage_poll_suspended import StagePollSuspended, StagePollSuspendedResult
from tests.kernel.behaviour.flows import Batch, Provider, batch, batching, diamond, step
from tests.kernel.watching import MakeHarness, WatchedHarness

NOTHING = StagePollSuspendedResult(checked=0, resumed=0, failed=0, resumed_run_ids=())


def poll(harness: WatchedHarness, *, max_checks: int = 50) -> StagePollSuspendedResult:
    """Poll what is due now."""
    return harness.dispatch(StagePollSuspended(worker="poller", max_checks=max_checks))


def suspended(harness: WatchedHarness, input: int = 1) -> str:
    """Start a run of the batching workflow and go on until its batch is SUSPENDED."""
    run_id = harness.start(batching(), input)
    harness.admit()
    harness.work_off()
    assert harness.statuses(run_id) == {"before": StageStatus.COMPLETED, "batch": StageStatus.SUSPENDED}
    return run_id


def batching_harness(make_harness: MakeHarness, *answers: object) -> tuple[WatchedHarness, Provider]:
    """Return a harness of the batching workflow whose provider gives these answers."""
    provider = Provider(*answers)
    return make_harness(batching(), services={Provider: provider}), provider


def test_parity_098_poll_that_is_done_completes_the_stage(make_harness: MakeHarness) -> None:
    """A due poll that gives the output completes the stage, and the result names the run once."""
    harness, provider = batching_harness(make_harness, 50)
    run_id = suspended(harness)
    harness.clock.advance("1m")

    assert poll(harness) == StagePollSuspendedResult(checked=1, resumed=1, failed=0, resumed_run_ids=(run_id,))
    done = harness.stage(run_id, "batch")
    assert done.status is StageStatus.COMPLETED
    assert done.output is not None
    assert done.output.text == "50"
    assert provider.polled == ["batch-1"]
    assert harness.kinds(run_id)[-2:] == ["stage.completed", "stage.ready"]


def test_parity_099_poll_without_an_output_completes_the_stage(make_harness: MakeHarness) -> None:
    """A batch stage that gives nothing is COMPLETED when its poll says None, and is due no more."""

    class Silent(BatchStage[int, str, None]):
        async def submit(self, number: int, ctx: Context, /) -> str:
            return f"job {number}"

        async def poll(self, reference: str, ctx: Context, /) -> Pending | None:
            return None

    flow = workflow("silent", input=int, version="1").pipe(Silent())
    harness = make_harness(flow)
    ended = harness.run(flow, 1)

    assert ended.status is RunStatus.COMPLETED
    (done,) = ended.stages
    assert (done.status, done.due_at) == (StageStatus.COMPLETED, None)
    assert done.output is not None
    assert done.output.text == "null"


def test_parity_100_poll_output_of_a_wrong_type_fails_the_stage(make_harness: MakeHarness) -> None:
    """An output that violates the declared type fails the stage; it is never stored raw and never polled again."""
    harness, provider = batching_harness(make_harness, "no number")
    run_id = suspended(harness)
    harness.clock.advance("1m")

    assert poll(harness).failed == 1
    failed = harness.stage(run_id, "batch")
    assert (failed.status, failed.output) == (StageStatus.FAILED, None)
    assert failed.failure is not None
    assert failed.failure.code == "INVALID_OUTPUT"
    assert harness.run_of(run_id).status is RunStatus.FAILED
    assert len(provider.polled) == 1


def test_parity_101_pending_poll_moves_the_next_one(make_harness: MakeHarness) -> None:
    """A poll that is pending leaves the stage SUSPENDED and due after what it asked for, or after its own interval."""
    harness, _ = batching_harness(make_harness, Pending("10m"), Pending())
    run_id = suspended(harness)
    for wait, asked in ((timedelta(minutes=1), timedelta(minutes=10)), (timedelta(minutes=10), timedelta(minutes=1))):
        harness.clock.advance(wait)
        assert poll(harness) == StagePollSuspendedResult(checked=1, resumed=0, failed=0, resumed_run_ids=())
        instance = harness.stage(run_id, "batch")
        assert instance.status is StageStatus.SUSPENDED
        assert instance.due_at == harness.clock.now() + asked


def test_parity_102_nothing_due_gives_zeros(make_harness: MakeHarness) -> None:
    """Polling while nothing is suspended, or nothing is due yet, checks nothing."""
    harness, provider = batching_harness(make_harness)
    assert poll(harness) == NOTHING
    suspended(harness)
    assert poll(harness) == NOTHING
    harness.clock.advance(timedelta(seconds=59))
    assert poll(harness) == NOTHING
    assert provider.polled == []


def test_parity_103_error_of_a_poll_is_retried_before_the_run_fails(make_harness: MakeHarness) -> None:
    """Polls that fail are retried by the stage's policy; when it is used up stage and run fail with the error."""
    harness, provider = batching_harness(make_harness, *[ConnectionError(f"blip {n}") for n in (1, 2, 3)])
    run_id = suspended(harness)
    harness.drain()

    assert len(provider.polled) == 3
    failed = harness.stage(run_id, "batch")
    assert failed.failure is not None
    assert (failed.status, failed.failure.message) == (StageStatus.FAILED, "blip 3")
    assert harness.run_of(run_id).failure == failed.failure
    assert harness.kinds(run_id)[-4:] == ["stage.poll_failed", "stage.poll_failed", "stage.failed", "run.failed"]


def test_poll_that_went_well_gives_all_attempts_back(make_harness: MakeHarness) -> None:
    """Failed polls are counted from the last one that went well, so that a long batch survives many blips."""
    blip = ConnectionError("blip")
    harness, provider = batching_harness(make_harness, *([blip, blip, Pending()] * 4), 9)
    run_id = suspended(harness)
    harness.drain()

    assert harness.look(batching(), run_id).output == 10
    assert len(provider.polled) == 13


def test_stage_that_is_pending_for_too_long_is_given_up(make_harness: MakeHarness) -> None:
    """A batch that is still pending at its give-up instant fails its run, after one last poll at that instant."""
    harness, provider = batching_harness(make_harness, *[Pending("7h")] * 9)
    run_id = suspended(harness)
    began = harness.clock.now()
    harness.drain()

    failure = harness.run_of(run_id).failure
    assert failure is not None
    assert failure.code == "GAVE_UP"
    assert harness.clock.now() - began == timedelta(hours=24)
    assert len(provider.polled) == 5


def test_batch_that_is_done_at_the_last_poll_is_kept(make_harness: MakeHarness) -> None:
    """A batch that turns out to be done at its give-up instant completes its stage."""
    harness, _ = batching_harness(make_harness, Pending("30h"), 7)
    run_id = suspended(harness)
    harness.drain()

    assert harness.look(batching(), run_id).output == 8


def test_parity_105_metrics_of_a_poll_are_stored(make_harness: MakeHarness) -> None:
    """Metrics that the last poll set are kept with the stage."""

    class Counted(Batch):
        async def poll(self, reference: str, ctx: Context, /) -> int | Pending:
            ctx.metric("tokens", 1234)
            return await super().poll(reference, ctx)

    flow = workflow("counted", input=int, version="1").pipe(Counted())
    harness = make_harness(flow, services={Provider: Provider(Pending(), 5)})
    ended = harness.run(flow, 1)

    assert ended.output == 5
    assert ended.stages[0].metrics == {"tokens": 1234.0}


def test_parity_106_reference_is_the_same_in_every_poll(make_harness: MakeHarness) -> None:
    """However often a stage is polled, each poll gets the reference that was submitted, unchanged."""
    references: list[dict[str, object]] = []

    class Detailed(BatchStage[int, dict[str, object], int]):
        poll_every = "1h"

        async def submit(self, number: int, ctx: Context, /) -> dict[str, object]:
            return {"batchId": f"b{number}", "submittedAt": "2025-01-01", "labels": ["x", {"y": None}]}

        async def poll(self, reference: dict[str, object], ctx: Context, /) -> int | Pending:
            references.append(dict(reference))
            reference.clear()
            return Pending() if len(references) < 4 else 1

    flow = workflow("detailed", input=int, version="1").pipe(Detailed())
    make_harness(flow).run(flow, 7)

    assert references == [{"batchId": "b7", "submittedAt": "2025-01-01", "labels": ["x", {"y": None}]}] * 4


def test_parity_107_stages_around_a_suspended_one_keep_their_outputs(make_harness: MakeHarness) -> None:
    """Outputs of stages before a suspended one are there for those behind it, which go on once it is done."""

    @stage(needs=["before"])
    async def compare(number: int, ctx: Context) -> list[int]:
        return [ctx.require("before"), number]

    flow = workflow("around", input=int, version="1").pipe(step("before")).pipe(batch()).pipe(compare)
    harness = make_harness(flow, services={Provider: Provider(Pending(), Pending(), 70)})
    ended = harness.run(flow, 5)

    assert ended.output == [6, 70]
    assert harness.calls.names == ["before", "batch"]


def test_parity_109_group_waits_for_its_suspended_member(make_harness: MakeHarness) -> None:
    """While one member of a group is SUSPENDED what follows does not begin, however long ago the others completed."""
    flow = diamond(batch())
    harness = make_harness(flow, services={Provider: Provider(Pending("3h"), 10)})
    run_id = harness.start(flow, 1)
    harness.admit()
    harness.work_off()
    harness.clock.advance("2h")
    harness.work_off()

    assert harness.statuses(run_id) == {
        "first": StageStatus.COMPLETED,
        "batch": StageStatus.SUSPENDED,
        "right": StageStatus.COMPLETED,
    }
    harness.drain()
    assert harness.look(flow, run_id).output == 13


@pytest.mark.parametrize("answers", [[ValueError("bad batch")] * 3, [Pending("25h"), Pending()]])
def test_parity_110_stages_behind_a_failed_batch_never_begin(make_harness: MakeHarness, answers: list[object]) -> None:
    """When a batch fails, by errors or by being given up, no stage behind it begins."""
    harness, _ = batching_harness(make_harness, *answers)
    run_id = suspended(harness)
    harness.drain()

    assert harness.run_of(run_id).status is RunStatus.FAILED
    assert "after" not in harness.statuses(run_id)
    assert harness.calls.names == ["before", "batch"]


def test_polls_are_bounded_and_go_on_where_they_stopped(make_harness: MakeHarness) -> None:
    """One command polls at most as many stages as it may, the longest due first, and the next one goes on."""
    harness, provider = batching_harness(make_harness)
    run_ids: list[str] = []
    for number in range(3):
        run_ids.append(suspended(harness, number))
        harness.clock.advance("1s")
    harness.clock.advance("1m")

    assert poll(harness, max_checks=2).resumed_run_ids == tuple(run_ids[:2])
    assert poll(harness, max_checks=2).resumed_run_ids == (run_ids[2],)
    assert len(provider.polled) == 3


def test_poll_reads_no_outputs_that_it_does_not_declare(make_harness: MakeHarness) -> None:
    """A poll is called with its reference alone, so it does not read the outputs of the stage's sources."""
    harness, _ = batching_harness(make_harness, Pending())
    suspended(harness)
    harness.clock.advance("1m")
    harness.store.calls.clear()
    assert poll(harness).checked == 1
    assert "get_outputs" not in harness.store.calls
