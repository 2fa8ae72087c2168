"""How events leave the engine: in order per run, at least once, and never past one that was not taken."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from holdfast import Event, RunCancel, Settings
from holdfast.commands.outbox_flush import OutboxFlush, OutboxFlushResult
from holdfast.commands.plugin_replay_dlq import PluginReplayDlq
from holdfast_testing.faults import Fault, FaultPlan, ProcessDied
from holdfast_testing.sinks import CollectingSink
from tests.kernel.behaviour.flows import line
from tests.kernel.watching import MakeHarness, WatchedHarness

FLOW = line(1)
TTL = timedelta(seconds=60)


class Picky(CollectingSink):
    """A sink that refuses batches of one run for as long as the test says."""

    refused: str | None = None

    async def deliver(self, events: Sequence[Event]) -> None:
        """Refuse or collect."""
        if events[0].run_id == self.refused:
            raise ConnectionError("not this one")
        await super().deliver(events)


def flush(harness: WatchedHarness, *, max_events: int = 100) -> OutboxFlushResult:
    """Deliver what is due."""
    return harness.dispatch(OutboxFlush(max_events=max_events))


def finished(harness: WatchedHarness) -> str:
    """Return the id of a run that completed with nothing of it delivered yet: six events."""
    run_id = harness.start(FLOW, 1)
    harness.admit()
    harness.work_off()
    assert len(harness.events(run_id)) == 6
    return run_id


def numbers(sink: CollectingSink, run_id: str) -> list[int]:
    """Return the numbers of the run's events in order of delivery."""
    return [event.number for event in sink.of_run(run_id)]


def test_parity_132_nothing_reaches_the_sink_before_a_flush(make_harness: MakeHarness) -> None:
    """Commands only store events; a flush delivers them, each once, as they stand in the timeline."""
    sink = CollectingSink()
    harness = make_harness(FLOW, event_sink=sink)
    run_id = finished(harness)
    assert sink.events == []

    assert flush(harness) == OutboxFlushResult(published=6, failed=0, parked=0)
    assert sink.events == harness.events(run_id)
    assert flush(harness) == OutboxFlushResult(published=0, failed=0, parked=0)


def test_parity_133_flush_is_bounded(make_harness: MakeHarness) -> None:
    """A flush delivers at most as many events as it may, and finds none after the last."""
    sink = CollectingSink()
    harness = make_harness(FLOW, event_sink=sink)
    run_id = finished(harness)

    assert [flush(harness, max_events=1).published for _ in range(7)] == [1, 1, 1, 1, 1, 1, 0]
    assert numbers(sink, run_id) == [1, 2, 3, 4, 5, 6]


def test_parity_134_every_run_has_an_order_of_its_own(make_harness: MakeHarness) -> None:
    """The events of several runs are numbered from 1 each, and each run's arrive in order however they are flushed."""
    sink = CollectingSink()
    harness = make_harness(FLOW, event_sink=sink)
    run_ids = [harness.start(FLOW, number) for number in range(3)]
    flush(harness, max_events=2)
    harness.admit()
    flush(harness, max_events=4)
    harness.work_off()
    while flush(harness, max_events=5).published:
        continue

    for run_id in run_ids:
        assert numbers(sink, run_id) == [1, 2, 3, 4, 5, 6]


def test_parity_135_event_that_was_refused_comes_again(make_harness: MakeHarness) -> None:
    """A batch that the sink refused once is delivered by a later flush, and only successes count as published."""
    sink = CollectingSink()
    harness = make_harness(FLOW, event_sink=sink)
    run_id = finished(harness)
    sink.fail(1)

    assert flush(harness) == OutboxFlushResult(published=0, failed=1, parked=0)
    assert flush(harness) == OutboxFlushResult(published=0, failed=0, parked=0)
    harness.clock.advance("1s")
    assert flush(harness).published == 6
    assert numbers(sink, run_id) == [1, 2, 3, 4, 5, 6]


def test_parity_136_failing_run_waits_and_disturbs_no_other(make_harness: MakeHarness) -> None:
    """While one run's events are refused its later ones wait, other runs' pass, and afterwards all come in order."""
    sink = Picky()
    harness = make_harness(FLOW, event_sink=sink)
    sink.refused = failing = harness.start(FLOW, 1)
    other = harness.start(FLOW, 1)
    flush(harness)
    harness.admit()
    harness.work_off()
    flush(harness)
    assert numbers(sink, other) == [1, 2, 3, 4, 5, 6]
    assert numbers(sink, failing) == []

    sink.refused = None
    harness.clock.advance("1m")
    flush(harness)
    assert numbers(sink, failing) == [1, 2, 3, 4, 5, 6]


def test_parity_137_stream_that_fails_too_often_is_parked(make_harness: MakeHarness) -> None:
    """After the allowed number of failures a stream is parked and not tried any more, whatever else happens in it."""
    sink = CollectingSink()
    harness = make_harness(FLOW, event_sink=sink, settings=Settings(delivery_attempts=3))
    run_id = harness.start(FLOW, 1)
    sink.fail()
    results: list[OutboxFlushResult] = []
    for _ in range(5):
        results.append(flush(harness))
        harness.clock.advance("1h")
    harness.dispatch(RunCancel(run_id=run_id))
    results.append(flush(harness))

    assert [(one.failed, one.parked) for one in results] == [(1, 0), (1, 0), (1, 1), (0, 0), (0, 0), (0, 0)]
    assert sink.failed == 3


def test_weak_20_overlapping_flushes_deliver_once(make_harness: MakeHarness) -> None:
    """A flush that begins while another one delivers finds the stream taken, so no event is delivered twice."""
    overlapped: list[OutboxFlushResult] = []

    class Slow(CollectingSink):
        async def deliver(self, events: Sequence[Event]) -> None:
            overlapped.append(flush(harness))
            await super().deliver(events)

    sink = Slow()
    harness = make_harness(FLOW, event_sink=sink)
    run_id = finished(harness)

    assert flush(harness).published == 6
    assert [one.published for one in overlapped] == [0]
    assert numbers(sink, run_id) == [1, 2, 3, 4, 5, 6]


def test_weak_20_outage_of_a_sink_parks_nothing_early(make_harness: MakeHarness) -> None:
    """A sink that is away for half an hour while hosts flush each second gets everything in order when it is back."""
    sink = CollectingSink()
    harness = make_harness(FLOW, event_sink=sink)
    run_id = finished(harness)
    sink.fail()
    parked = 0
    for _ in range(1800):
        parked += flush(harness).parked
        harness.clock.advance("1s")
    sink.heal()
    harness.clock.advance("5m")

    assert parked == 0
    assert flush(harness).published == 6
    assert numbers(sink, run_id) == [1, 2, 3, 4, 5, 6]
    assert sink.failed < 25


def test_weak_20_replayed_stream_keeps_its_order(make_harness: MakeHarness) -> None:
    """What is parked is delivered in order after a replay, its newer events behind it."""
    sink = CollectingSink()
    harness = make_harness(FLOW, event_sink=sink, settings=Settings(delivery_attempts=1))
    run_id = harness.start(FLOW, 1)
    sink.fail(1)
    assert flush(harness).parked == 1
    harness.admit()
    harness.work_off()
    assert flush(harness).published == 0

    assert harness.dispatch(PluginReplayDlq()).replayed == 1
    assert flush(harness).published == 6
    assert numbers(sink, run_id) == [1, 2, 3, 4, 5, 6]
    assert harness.dispatch(PluginReplayDlq()).replayed == 0


def test_weak_20_failing_sink_repeats_nothing_at_the_others(make_harness: MakeHarness) -> None:
    """Each sink reads at its own pace: one that fails neither delays another nor makes it see events twice."""
    good, bad = CollectingSink("good"), CollectingSink("bad")
    harness = make_harness(FLOW, event_sink=[bad, good])
    run_id = finished(harness)
    bad.fail(2)
    for _ in range(4):
        flush(harness)
        harness.clock.advance("10s")

    assert numbers(good, run_id) == numbers(bad, run_id) == [1, 2, 3, 4, 5, 6]


def test_weak_20_host_that_dies_after_a_delivery_repeats_it_in_order(make_harness: MakeHarness) -> None:
    """When a host dies between a delivery and its record, another delivers that again, from a number already seen."""
    sink = CollectingSink()
    harness = make_harness(FLOW, event_sink=sink)
    run_id = finished(harness)
    plan = FaultPlan({3: Fault.DIE_BEFORE})
    dying = make_harness(FLOW, event_sink=sink, plan=plan)
    try:
        flush(dying, max_events=4)
    except ProcessDied:
        assert plan.trace[-1].method == "settle_streams"
    assert flush(harness).published == 0
    harness.clock.advance(TTL)

    assert flush(harness).published == 6
    assert numbers(sink, run_id) == [1, 2, 3, 4, 1, 2, 3, 4, 5, 6]
