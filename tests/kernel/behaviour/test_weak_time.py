"""Instants, wake-ups and blips: nothing depends on a host's time zone, and nobody has to wait for a tick."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, timedelta

import pytest

from holdfast import Pending, RunStatus, StageStatus, run_sync, workflow
from holdfast.commands.lease_reap_stale import LeaseReapStale, LeaseReapStaleResult
from holdfast_testing.clock import START
from holdfast_testing.schedulers import FakeScheduler
from holdfast_testing.sinks import CollectingSink
from tests.kernel.behaviour.flows import Provider, batch, batching, flaky, line
from tests.kernel.watching import LEASE_TTL, MANY, MakeHarness, WatchedHarness

ZONES = ("America/New_York", "Europe/Berlin", "Asia/Kolkata")


@pytest.fixture(params=ZONES)
def zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Let the process live in a time zone far from UTC."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield request.param
    monkeypatch.undo()
    time.tzset()


def hints_of(harness: WatchedHarness) -> list[timedelta]:
    """Return a list that fills with the delays of the hints that reach this process."""
    hints: list[timedelta] = []
    harness.transport.subscribe(hints.append)
    return hints


def test_weak_19_blip_of_a_provider_does_not_fail_the_run(make_harness: MakeHarness) -> None:
    """A poll that fails once for the network is tried again, and the run completes with the batch's result."""
    harness = make_harness(batching(), services={Provider: Provider(Pending(), TimeoutError("blip"), 20)})
    ended = harness.run(batching(), 1)

    assert (ended.status, ended.output) == (RunStatus.COMPLETED, 21)
    assert ended.story.count("stage.poll_failed batch") == 1
    assert harness.calls.count("batch") == 1


def test_weak_21_instants_are_aware_from_every_source(make_harness: MakeHarness) -> None:
    """Instants of events, runs, stages, logs and annotations are aware, in UTC, and what the store's clock said."""
    sink = CollectingSink()
    harness = make_harness(line(1), event_sink=sink)
    run_id = harness.start(line(1), 1, annotations={"origin": "test"})
    harness.clock.advance("1h")
    harness.drain()
    ended = harness.look(line(1), run_id)
    (note,) = run_sync(harness.persistence.list_annotations(run_id, limit=MANY))
    (done,) = ended.stages

    created, later = START, START + timedelta(hours=1)
    assert [event.at for event in ended.events] == [created, *[later] * 4]
    assert sink.events == list(ended.events)
    assert (note.at, ended.run.created_at, ended.run.started_at) == (created, created, later)
    assert (done.started_at, done.finished_at, ended.run.finished_at) == (later, later, later)
    for instant in (*(event.at for event in ended.events), note.at, ended.run.created_at):
        assert instant.utcoffset() == timedelta()
        assert instant.tzinfo is UTC


def test_weak_22_zone_of_the_process_changes_no_lease(make_harness: MakeHarness, zone: str) -> None:
    """In any time zone a fresh lease stands until its end, and a retry waits for its backoff."""
    flow = workflow("flaky", input=int, version="1").pipe(flaky("a", failures=1))
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    (lease,) = harness.lease()
    harness.clock.advance(LEASE_TTL - timedelta(milliseconds=1))
    assert harness.dispatch(LeaseReapStale()) == LeaseReapStaleResult(released=0, failed=0)
    harness.execute(lease)

    assert harness.lease() == []
    harness.clock.advance("9s")
    assert harness.lease() == []
    harness.clock.advance("1s")
    assert harness.lease()[0].attempt == 2
    events = harness.events(run_id)
    assert (events[0].at, events[-1].at) == (START, harness.clock.now())
    assert zone in ZONES


def test_weak_22_change_of_the_clock_into_summer_time_changes_nothing(make_harness: MakeHarness, zone: str) -> None:
    """A poll that is due across the night in which clocks change is due after exactly its interval."""
    harness = make_harness(batching(), services={Provider: Provider(Pending("6h"), 5)})
    harness.clock.set(START.replace(month=3, day=29, hour=22))
    harness.start(batching(), 1)
    harness.admit()
    harness.work_off()
    harness.clock.advance("1m")
    harness.work_off()

    assert run_sync(harness.persistence.next_due()) == timedelta(hours=6)
    harness.clock.advance(timedelta(hours=6) - timedelta(milliseconds=1))
    assert harness.lease() == []
    harness.clock.advance("1ms")
    assert len(harness.lease()) == 1
    assert zone in ZONES


def test_weak_30_creation_wakes_hosts_at_once(make_harness: MakeHarness) -> None:
    """A created run tells the scheduler that something is due now; nobody has to wait for a tick."""
    harness = make_harness(line(1))
    harness.start(line(1), 1)

    assert harness.scheduler.delays == harness.scheduler.told == [timedelta()]


def test_weak_30_steps_of_one_worker_are_nobody_elses_business(make_harness: MakeHarness) -> None:
    """Of a job that is ready other hosts hear by its queue, and of a step that the worker itself goes on with never."""
    harness = make_harness(line(3), event_sink=CollectingSink())
    harness.start(line(3), 1)
    harness.scheduler.clear()
    harness.admit()
    harness.execute(*harness.lease())

    assert harness.scheduler.delays
    assert harness.scheduler.told == []


def test_weak_30_whatever_becomes_due_is_told_to_hosts(make_harness: MakeHarness) -> None:
    """Jobs that become ready, retries, polls and deadlines are told to scheduler and transport with their delays."""
    flow = workflow("told", input=int, version="1", timeout="2h").pipe(flaky("a", failures=1)).pipe(batch())
    harness = make_harness(flow, services={Provider: Provider(Pending("7m"))})
    hints = hints_of(harness)
    harness.start(flow, 1)
    scheduler: FakeScheduler = harness.scheduler
    told: list[set[timedelta]] = []

    def heard() -> None:
        told.append(set(scheduler.delays))
        scheduler.clear()

    heard()
    harness.admit()
    heard()
    for wait in ("0s", "10s", "0s", "1m"):
        harness.clock.advance(wait)
        harness.execute(*harness.lease())
        heard()

    now = timedelta()
    assert told == [
        {now},
        {now, timedelta(hours=2)},
        {timedelta(seconds=10)},
        {now},
        {timedelta(minutes=1)},
        {timedelta(minutes=7)},
    ]
    assert hints == [now, now]


def test_weak_30_job_that_is_handed_back_wakes_another_host(make_harness: MakeHarness) -> None:
    """A job that a worker hands back, or that is taken from a dead one, is told to the hosts at once."""
    flow = line(1)
    harness = make_harness(flow)
    run_id = harness.start(flow, 1)
    harness.admit()
    (lease,) = harness.lease()
    hints = hints_of(harness)

    assert run_sync(harness.transport.release(lease)) is True
    assert hints == [timedelta()]
    assert harness.stage(run_id, "s1").status is StageStatus.READY
    assert run_sync(harness.persistence.next_due()) == timedelta()
