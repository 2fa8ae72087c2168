"""Versions: runs stay on the one that they were started with, and a worker leaves alone what it does not know."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from holdfast import (
    Context,
    DefinitionError,
    Flow,
    Graph,
    Registry,
    Retry,
    RunResume,
    RunStatus,
    StageStatus,
    run_sync,
    stage,
    workflow,
)
from holdfast.authoring.registry import version_order
from holdfast.commands.run_claim_pending import RunClaimPending
from holdfast.errors import UnknownWorkflow
from holdfast.events import EventType
from tests.kernel.behaviour.flows import ONCE, step
from tests.kernel.watching import MakeHarness, WatchedHarness


def said(version: str, *, waits: bool = False) -> Flow[int, Any]:
    """Return a version of a workflow that says which one it is."""

    @stage(name="say", retry=ONCE)
    async def say(number: int, ctx: Context) -> str:
        return f"{version} {ctx.workflow_version}"

    flow: Flow[int, int] = workflow("saying", input=int, version=version).pipe(step("first"))
    if waits:
        return flow.wait_for("go", bool).pipe(stage(name="say", retry=ONCE)(_pair))
    return flow.pipe(say)


async def _pair(given: tuple[int, bool], ctx: Context) -> str:
    return f"{ctx.workflow_version} {given[1]}"


def test_several_versions_run_side_by_side(make_harness: MakeHarness) -> None:
    """Runs of every registered version go on at the same time, each with its own code; the latest is the default."""
    flows = {version: said(version) for version in ("1.9.0", "1.10.0", "2.0.0-rc.1")}
    harness = make_harness(*flows.values())
    runs = {version: harness.start(flow, 1) for version, flow in flows.items()}
    harness.drain()
    for version, run_id in runs.items():
        assert harness.look(flows[version], run_id).output == f"{version} {version}"
    assert sorted(flows, key=version_order) == ["1.9.0", "1.10.0", "2.0.0-rc.1"]
    assert harness.registry.get("saying").version == "2.0.0-rc.1"


def test_run_stays_on_its_version_when_a_new_one_comes(make_harness: MakeHarness) -> None:
    """A run that waits while a new version is deployed goes on with the old one; new runs take the new one."""
    old, new = said("1", waits=True), said("2")
    before = make_harness(old)
    run_id = before.start(old, 1)
    before.drain(until=timedelta())
    assert before.run_of(run_id).status is RunStatus.WAITING

    after = make_harness(old, new)
    after.dispatch(RunResume(run_id=run_id, name="go", payload=True))
    fresh = after.start(new, 1)
    after.drain()
    assert after.look(old, run_id).output == "1 True"
    assert after.look(new, fresh).output == "2 2"


def test_worker_that_lacks_a_version_leaves_its_runs_alone(make_harness: MakeHarness) -> None:
    """A worker with another version neither admits, leases nor fails a run that it does not know, for any time."""
    old, new = said("1"), said("2")
    knows, lacks = make_harness(old), make_harness(new)
    pending = knows.start(old, 1)
    lacks.drain()
    assert lacks.run_of(pending).status is RunStatus.PENDING
    knows.admit()
    assert lacks.lease() == []
    knows.execute(*knows.lease())
    lacks.clock.advance("1d")
    lacks.drain()
    assert lacks.run_of(pending).status is RunStatus.RUNNING
    assert lacks.statuses(pending)["say"] is StageStatus.READY
    knows.drain()
    assert knows.look(old, pending).output == "1 1"


def test_worker_that_lacks_a_version_takes_back_its_leases_but_tells_nothing(make_harness: MakeHarness) -> None:
    """Every host reaps what a dead worker held, also of unknown workflows; READY jobs wait for one that knows."""
    old, new = said("1"), said("2")
    knows, lacks = make_harness(old), make_harness(new)
    run_id = knows.start(old, 1)
    knows.admit()
    assert len(knows.lease()) == 1
    retried = workflow("retried", input=int, version="1").pipe(step("s1", retry=Retry(2)))
    knows.know(retried)
    other = knows.start(retried, 1)
    knows.admit()
    assert len(knows.lease()) == 1
    lacks.clock.advance("31s")
    lacks.drain()
    assert lacks.run_of(run_id).status is RunStatus.FAILED
    assert lacks.statuses(other)["s1"] is StageStatus.READY
    knows.drain()
    assert knows.look(retried, other).output == 2


def test_message_for_an_unknown_version_gives_the_job_back(make_harness: MakeHarness) -> None:
    """A broker that hands a job to a worker without its version is told so, and the job's attempt is not used up."""
    old, new = said("1"), said("2")
    knows, lacks = make_harness(old), make_harness(new)
    run_id = knows.start(old, 1)
    knows.admit()
    key = knows.stage(run_id, "first").key
    with pytest.raises(UnknownWorkflow, match='"saying" version 1'):
        lacks.deliver(key)
    again = knows.stage(run_id, "first")
    assert (again.status, again.attempt) == (StageStatus.READY, 0)
    assert EventType.STAGE_RELEASED in [event.type for event in knows.events(run_id)]
    knows.drain()
    assert knows.look(old, run_id).output == "1 1"


@pytest.mark.parametrize("command", ["run.resume", "run.retry", "run.rerunFrom"])
def test_command_that_needs_the_definition_says_that_it_is_missing(make_harness: MakeHarness, command: str) -> None:
    """What cannot be decided without the run's version is refused by a host that lacks it, and changes nothing."""
    old, new = said("1", waits=True), said("2")
    knows, lacks = make_harness(old), make_harness(new)
    run_id = knows.start(old, 1)
    knows.drain(until=timedelta())
    before = knows.run_of(run_id).version
    more: dict[str, dict[str, Any]] = {
        "run.resume": {"name": "go", "payload": True},
        "run.retry": {},
        "run.rerunFrom": {"fromStageId": "first"},
    }
    with pytest.raises(UnknownWorkflow):
        run_sync(lacks.kernel.dispatch_json({"type": command, "runId": run_id, **more[command]}))
    assert knows.run_of(run_id).version == before


def test_commands_that_need_no_definition_work_everywhere(make_harness: MakeHarness) -> None:
    """Any host can cancel, pause and let go on, fire timers and reap, whatever workflows it has."""
    old, new = said("1", waits=True), said("2")
    knows, lacks = make_harness(old), make_harness(new)
    run_id = knows.start(old, 1)
    knows.drain(until=timedelta())
    assert lacks.pause(run_id).paused
    assert lacks.unpause(run_id).unpaused
    assert lacks.cancel(run_id).cancelled
    assert knows.run_of(run_id).status is RunStatus.CANCELLED


def test_pending_runs_of_unknown_versions_do_not_block_others(make_harness: MakeHarness) -> None:
    """However many runs a worker does not know, it finds those that it knows behind them."""
    old, new = said("1"), said("2")
    knows, lacks = make_harness(old), make_harness(new)
    for _ in range(30):
        knows.start(old, 1, priority=9)
    mine = lacks.start(new, 1, priority=1)
    claimed = lacks.dispatch(RunClaimPending(worker="w1", max_claims=1))
    assert [lease.key.run_id for lease in claimed.leases] in ([], [mine])
    assert lacks.run_of(mine).status is RunStatus.RUNNING


def test_weak_91_version_that_is_registered_twice_is_refused() -> None:
    """Another workflow of the same id and version cannot take the place of the first; the same one may come again."""
    first, second = said("1"), said("1")
    registry = Registry([first, first])
    with pytest.raises(DefinitionError, match="version"):
        registry.add(second)
    assert registry.get("saying") is first.definition()


def test_weak_91_id_is_never_read_out_of_a_name_with_its_version(make_harness: MakeHarness) -> None:
    """Ids and versions are kept apart; an id that would be mistaken for both together is refused when it is written."""
    with pytest.raises(DefinitionError, match="cannot be the id"):
        workflow("odd@home", input=int)
    only = step("s1")
    flow = Graph("odd", int, version="1.0-beta_2").entry(only).end(only)
    harness: WatchedHarness = make_harness(flow)
    assert harness.registry.known() == {("odd", "1.0-beta_2")}
    assert harness.run(flow, 1).output == 2
