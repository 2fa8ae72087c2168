"""Waits: a run gets what it waits for once, whoever is faster, and holds no worker meanwhile."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel

from holdfast import Context, NeverRetry, Retry, RunCancel, RunStatus, StageStatus, run_sync, stage, workflow
from holdfast.codec import digest
from holdfast.commands.run_resume import Resumed, RunResume, RunResumeResult
from holdfast.commands.timer_fire_due import TimerFireDue
from holdfast.entities.wait import Wait, WaitStatus
from holdfast.errors import (
    IllegalTransition,
    InvalidInput,
    RunNotFound,
    UnknownToken,
    UnknownWait,
    WaitOver,
    WaitTimedOut,
)
from holdfast.events import EventType
from holdfast_testing.clock import FakeClock
from tests.kernel.watching import MakeHarness, WatchedHarness


class Decision(BaseModel):
    """What an approver says."""

    approved: bool
    note: str = ""


class Log:
    """What the stages of a test did."""

    def __init__(self) -> None:
        self.said: list[str] = []


@stage(waits={"approval": Decision})
async def ask(text: str, ctx: Context) -> str:
    """Wait for a decision."""
    log = ctx.services[Log]
    await ctx.once("mail", log.said.append, f"mail {ctx.attempt}")
    decision = await ctx.wait_for("approval", Decision, timeout="2d", reason="an approver")
    log.said.append(f"decided {decision.approved}")
    return f"{text} {decision.approved}"


@stage
async def report(text: str) -> str:
    """End."""
    return f"<{text}>"


ASK = workflow("ask", input=str, version="1").pipe(ask).pipe(report)
PLAIN = workflow("plain", input=str, version="1").pipe(report)


def resume(harness: WatchedHarness, run_id: str, name: str, payload: object, **more: Any) -> RunResumeResult:
    """Send a payload."""
    return harness.dispatch(RunResume(run_id=run_id, name=name, payload=payload, **more))


def waits_of(harness: WatchedHarness, run_id: str) -> list[Wait]:
    """Return all waits of the run."""
    return list(run_sync(harness.persistence.list_run_waits(run_id, limit=100)))


@pytest.fixture
def log() -> Log:
    """Return what the stages note themselves in."""
    return Log()


@pytest.fixture
def harness(make_harness: MakeHarness, log: Log) -> WatchedHarness:
    """Return a harness with the workflows of this module."""
    return make_harness(ASK, PLAIN, services={Log: log})


def test_run_waits_without_a_worker_and_goes_on_when_resumed(harness: WatchedHarness, log: Log) -> None:
    """A parked stage holds no lease, its run is WAITING, and the payload brings both on; steps are not done twice."""
    run_id = harness.start(ASK, "doc")
    harness.drain(until=timedelta(hours=1))
    waiting = harness.look(ASK, run_id)
    assert waiting.status is RunStatus.WAITING
    assert [one.status for one in waiting.stages] == [StageStatus.WAITING]
    (wait,) = waits_of(harness, run_id)
    assert (wait.name, wait.status, wait.reason) == ("approval", WaitStatus.OPEN, "an approver")

    answer = resume(harness, run_id, "approval", {"approved": True}, actor="ann")
    harness.drain()

    assert answer.outcome is Resumed.ANSWERED
    ended = harness.look(ASK, run_id)
    assert ended.output == "<doc True>"
    assert log.said == ["mail 1", "decided True"]
    (told,) = [event for event in ended.events if event.type is EventType.STAGE_RESUMED]
    assert told.data == {"name": "approval", "by": "ann"}


def test_weak_83_payload_that_does_not_fit_is_refused_and_the_wait_stays_open(harness: WatchedHarness) -> None:
    """A payload is checked before it is accepted; a wrong one changes nothing, scalars are payloads like others."""
    run_id = harness.start(ASK, "doc")
    harness.drain(until=timedelta())
    wrongs: list[object] = [True, {"approved": "perhaps"}, None, []]
    for wrong in wrongs:
        with pytest.raises(InvalidInput, match="approval"):
            resume(harness, run_id, "approval", wrong)
    assert [wait.status for wait in waits_of(harness, run_id)] == [WaitStatus.OPEN]

    @stage(waits={"flag": bool})
    async def scalar(text: str, ctx: Context) -> bool:
        return await ctx.wait_for("flag", bool)

    flow = workflow("scalar", input=str, version="1").pipe(scalar)
    harness.know(flow)
    other = harness.start(flow, "x")
    harness.drain(until=timedelta())
    resume(harness, other, "flag", False)
    harness.drain(until=timedelta())
    assert harness.look(flow, other).output is False


def test_weak_83_second_answer_is_told_of_the_first(harness: WatchedHarness) -> None:
    """A duplicate changes nothing and returns who had been faster, before and after the stage went on."""
    run_id = harness.start(ASK, "doc")
    harness.drain(until=timedelta())
    first = resume(harness, run_id, "approval", {"approved": True}, actor="ann")
    again = resume(harness, run_id, "approval", {"approved": False}, actor="bob")
    harness.drain()
    late = resume(harness, run_id, "approval", {"approved": False}, actor="eve")

    assert first.outcome is Resumed.ANSWERED
    assert (again.outcome, again.actor, again.digest) == (Resumed.ANSWERED_BEFORE, "ann", first.digest)
    assert (late.outcome, late.actor) == (Resumed.ANSWERED_BEFORE, "ann")
    assert harness.look(ASK, run_id).output == "<doc True>"


def test_weak_83_payload_that_comes_early_is_kept_and_taken_once(harness: WatchedHarness) -> None:
    """A payload that arrives before its wait, even before its run began, is there when the wait opens."""
    run_id = harness.start(ASK, "doc")
    early = resume(harness, run_id, "approval", {"approved": True}, actor="ann")
    twice = resume(harness, run_id, "approval", {"approved": False})
    harness.drain(until=timedelta())

    assert early.outcome is Resumed.KEPT
    assert (twice.outcome, twice.actor) == (Resumed.ANSWERED_BEFORE, "ann")
    ended = harness.look(ASK, run_id)
    assert ended.output == "<doc True>"
    told = [event.data for event in ended.events if event.type is EventType.STAGE_RESUMED]
    assert told == [{"name": "approval", "early": True}]


def test_weak_83_misdirected_payloads_are_refused(harness: WatchedHarness) -> None:
    """A payload for a wait that the workflow does not have, or a run that is not there or over, is an error."""
    run_id = harness.start(ASK, "doc")
    with pytest.raises(UnknownWait, match="approval"):
        resume(harness, run_id, "aproval", {"approved": True})
    with pytest.raises(RunNotFound):
        resume(harness, "nowhere", "approval", {"approved": True})
    with pytest.raises(InvalidInput, match="token, or run_id and name"):
        harness.dispatch(RunResume(run_id=run_id, payload={"approved": True}))
    harness.dispatch(RunCancel(run_id=run_id))
    with pytest.raises(IllegalTransition, match="CANCELLED"):
        resume(harness, run_id, "approval", {"approved": True})


def test_weak_85_wait_ends_at_its_limit_and_refuses_what_comes_later(harness: WatchedHarness) -> None:
    """Nobody answers: at the limit, never before, the stage is told so, and a later answer is refused."""
    run_id = harness.start(ASK, "doc")
    harness.drain(until=timedelta())
    harness.clock.advance(timedelta(days=2, microseconds=-1))
    harness.drain(until=timedelta())
    assert harness.look(ASK, run_id).status is RunStatus.WAITING

    harness.drain(until=timedelta(seconds=1))

    ended = harness.look(ASK, run_id)
    assert ended.status is RunStatus.FAILED
    assert ended.failure is not None
    assert ended.failure.code == "WAIT_TIMEOUT"
    assert ended.attempts("ask") == 2
    with pytest.raises(WaitOver):
        resume(harness, run_id, "approval", {"approved": True})


def test_stage_may_go_another_way_at_the_limit(make_harness: MakeHarness) -> None:
    """A stage that catches the limit goes on; a retry behind it meets the same answer."""
    seen: list[int] = []

    @stage(waits={"approval": Decision}, retry=Retry(3, base="1s"))
    async def patient(text: str, ctx: Context) -> str:
        try:
            await ctx.wait_for("approval", Decision, timeout="1h")
        except WaitTimedOut:
            seen.append(ctx.attempt)
            if len(seen) == 1:
                raise ConnectionError("blip") from None
            return "escalated"
        return "approved"

    flow = workflow("patient", input=str, version="1").pipe(patient)
    assert make_harness(flow).run(flow, "x").output == "escalated"
    assert seen == [1, 2]


def test_several_waits_open_at_once_never_mix(make_harness: MakeHarness) -> None:
    """Waits of one stage that are asked for side by side are all open, and each gets its own payload in any order."""

    @stage(waits={"approver": Decision})
    async def both(text: str, ctx: Context) -> list[str]:
        decisions = await asyncio.gather(
            *(ctx.wait_for("approver", Decision, item=who, timeout="1d") for who in ("ann", "bob"))
        )
        return [decision.note for decision in decisions]

    flow = workflow("both", input=str, version="1").pipe(both)
    harness = make_harness(flow, ledger=None)

    async def play() -> object:
        run_id = await harness.astart(flow, "x")
        await harness.adrain(until=timedelta())
        waits = await harness.persistence.list_run_waits(run_id, limit=9)
        assert [wait.name for wait in waits if wait.status is WaitStatus.OPEN] == ["approver[ann]", "approver[bob]"]
        for who in ("bob", "ann"):
            payload = {"approved": True, "note": who}
            await harness.kernel.dispatch(RunResume(run_id=run_id, name=f"approver[{who}]", payload=payload))
            await harness.adrain(until=timedelta())
        return (await harness.alook(flow, run_id)).output

    assert asyncio.run(play()) == ["ann", "bob"]


def test_step_beside_a_wait_is_not_lost_and_none_begins_after_it(make_harness: MakeHarness) -> None:
    """A step that another task has under way when the stage parks is journalled; the next one waits for the payload."""
    calls: list[str] = []
    begun, parked = asyncio.Event(), asyncio.Event()

    async def slowly(name: str) -> str:
        calls.append(name)
        begun.set()
        await parked.wait()
        return name

    @stage(waits={"flag": bool})
    async def busy(text: str, ctx: Context) -> list[Any]:
        async def steps() -> list[str]:
            return [await ctx.once(name, slowly, name) for name in ("a", "b")]

        async def flag() -> bool:
            await begun.wait()
            try:
                return await ctx.wait_for("flag", bool)
            finally:
                parked.set()

        return list(await asyncio.gather(steps(), flag()))

    flow = workflow("busy", input=str, version="1").pipe(busy)
    harness = make_harness(flow, ledger=None)

    async def play() -> object:
        run_id = await harness.astart(flow, "x")
        await harness.adrain(until=timedelta())
        assert calls == ["a"]
        await harness.kernel.dispatch(RunResume(run_id=run_id, name="flag", payload=True))
        await harness.adrain(until=timedelta())
        return (await harness.alook(flow, run_id)).output

    assert asyncio.run(play()) == [["a", "b"], True]
    assert calls == ["a", "b"]


def test_token_is_the_right_to_answer_once(make_harness: MakeHarness) -> None:
    """A token is stored as its hash, answers its wait, is told of the first answer afterwards, and ends in time."""
    tokens: list[str] = []

    @stage
    async def mail(text: str, ctx: Context) -> str:
        tokens.append(await ctx.token("flag", lifetime="1h"))
        return text

    @stage(waits={"flag": bool})
    async def wait(text: str, ctx: Context) -> bool:
        return await ctx.wait_for("flag", bool)

    flow = workflow("mailed", input=str, version="1").pipe(mail).pipe(wait)
    harness = make_harness(flow)
    first, second = harness.start(flow, "x"), harness.start(flow, "y")
    harness.drain(until=timedelta())
    assert len(tokens) == 2
    assert all(len(token) >= 43 for token in tokens)
    assert run_sync(harness.persistence.find_token(tokens[0])) is None
    assert run_sync(harness.persistence.find_token(digest(tokens[0]))) is not None

    answered = harness.dispatch(RunResume(token=tokens[0], payload=True))
    assert (answered.run_id, answered.outcome) == (first, Resumed.ANSWERED)
    assert harness.dispatch(RunResume(token=tokens[0], payload=False)).outcome is Resumed.ANSWERED_BEFORE
    with pytest.raises(UnknownToken):
        harness.dispatch(RunResume(token=tokens[0] + "x", payload=True))
    with pytest.raises(InvalidInput, match="leave out"):
        harness.dispatch(RunResume(token=tokens[1], run_id=second, payload=True))
    harness.clock.advance("1h")
    with pytest.raises(UnknownToken):
        harness.dispatch(RunResume(token=tokens[1], payload=True))
    assert harness.look(flow, second).status is RunStatus.WAITING


def test_sleep_is_durable_and_never_early(make_harness: MakeHarness, clock: FakeClock) -> None:
    """A sleep holds no worker, ends at its instant, and is over for good: a retry behind it does not sleep again."""
    woken: list[float] = []

    @stage(retry=Retry(3, base="5s", jitter=0))
    async def nap(text: str, ctx: Context) -> str:
        await ctx.sleep("nap", "2h")
        woken.append(clock.monotonic())
        if ctx.attempt == 1:
            raise ConnectionError("blip")
        return text

    flow = workflow("nap", input=str, version="1").pipe(nap)
    harness = make_harness(flow)
    run_id = harness.start(flow, "x")
    harness.drain(until=timedelta())
    harness.clock.advance(timedelta(hours=2, microseconds=-1))
    harness.drain(until=timedelta())
    assert harness.look(flow, run_id).status is RunStatus.WAITING
    assert woken == []
    harness.drain()
    assert harness.look(flow, run_id).status is RunStatus.COMPLETED
    assert woken == [7200.0, 7205.0]


def test_timer_of_an_answered_wait_is_gone(harness: WatchedHarness) -> None:
    """An answer takes the limit's timer with it: nothing is due any more."""
    run_id = harness.start(ASK, "doc")
    harness.drain(until=timedelta())
    resume(harness, run_id, "approval", {"approved": True})
    harness.drain(until=timedelta())
    harness.clock.advance("10d")

    assert harness.dispatch(TimerFireDue()).fired == 0
    assert run_sync(harness.persistence.next_due()) is None


def test_undeclared_wait_is_an_error_that_says_what_to_write(make_harness: MakeHarness) -> None:
    """A wait without a declared type cannot check its payload, so the stage is told to declare it."""

    @stage(retry=Retry(1))
    async def bare(text: str, ctx: Context) -> bool:
        return await ctx.wait_for("flag", bool)

    flow = workflow("bare", input=str, version="1").pipe(bare)
    failure = make_harness(flow).run(flow, "x").failure
    assert failure is not None
    assert 'waits={"flag": …}' in failure.message


def test_body_that_swallows_its_parking_fails(make_harness: MakeHarness) -> None:
    """A body that catches everything and goes on is told that it must let the parking pass."""

    @stage(waits={"flag": bool})
    async def greedy(text: str, ctx: Context) -> str:
        try:
            await ctx.wait_for("flag", bool)
        except BaseException:  # noqa: BLE001 - the mistake that is tested
            return "went on"
        raise NeverRetry

    flow = workflow("greedy", input=str, version="1").pipe(greedy)
    failure = make_harness(flow).run(flow, "x").failure
    assert failure is not None
    assert failure.code == "PARKING_SWALLOWED"


def test_resume_is_answered_once_under_its_operation_id(harness: WatchedHarness) -> None:
    """The same operation gives the stored answer, also after the wait is long over."""
    run_id = harness.start(ASK, "doc")
    harness.drain(until=timedelta())
    first = resume(harness, run_id, "approval", {"approved": True}, operation_id="op-1")
    harness.drain()
    assert resume(harness, run_id, "approval", {"approved": True}, operation_id="op-1") == first


def test_cancelled_run_closes_its_waits(harness: WatchedHarness) -> None:
    """A run that is cancelled while it waits leaves no open wait and no timer."""
    run_id = harness.start(ASK, "doc")
    harness.drain(until=timedelta())
    harness.dispatch(RunCancel(run_id=run_id))
    assert [wait.status for wait in waits_of(harness, run_id)] == [WaitStatus.CLOSED]
    assert run_sync(harness.persistence.next_due()) is None
