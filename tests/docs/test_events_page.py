"""The page on events against the events that runs really have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from functools import reduce
from typing import Any, Final

import pytest

from holdfast import (
    BatchStage,
    Context,
    EventType,
    Pending,
    Retry,
    RunCancel,
    RunRerunFrom,
    otherwise,
    run_sync,
    stage,
    when,
    workflow,
)
from holdfast.commands.lease_reap_stale import LeaseReapStale
from holdfast.commands.run_claim_pending import RunClaimPending
from holdfast.entities.stage import Lease, StageKey
from holdfast.events import Event, fold
from holdfast.ports.queries import RunFilter
from holdfast.ports.work import LeaseRequest
from holdfast_testing import Harness
from holdfast_testing.clock import START
from tests.docs.samples import ROOT

PAGE: Final = ROOT / "docs" / "reference" / "events.md"
ROW: Final = re.compile(r"^\| `((?:run|stage)\.\w+)` \| (.+?) \| .+ \| (.+?) \|$", re.MULTILINE)


@stage(retry=Retry(2))
def work(text: str, ctx: Context) -> str:
    ctx.progress(1, 2, "half-way")
    if ctx.attempt == 1 and ctx.generation == 1:
        raise ConnectionError(text)
    return text


@stage(retry=Retry(1))
def break_down(text: str) -> str:
    raise ValueError(text)


class Batch(BatchStage[str, str, str]):
    def __init__(self) -> None:
        self.polls = 0

    def submit(self, text: str, ctx: Context) -> str:
        return text

    def poll(self, reference: str, ctx: Context) -> str | Pending:
        self.polls += 1
        if self.polls == 1:
            raise ConnectionError(reference)
        return reference


@stage
def shout(text: str) -> str:
    return text.upper()


@stage(waits={"answer": str})
async def ask(text: str, ctx: Context) -> str:
    return await ctx.wait_for("answer", str, timeout="1h", reason="is it right?")


@stage(key=lambda text: text)
async def doze(text: str, ctx: Context) -> str:
    await ctx.sleep("nap", "1m")
    return text


SHOUTING: Final = workflow("shouting", input=str).pipe(shout)


@stage
async def delegate(text: str, ctx: Context) -> str:
    return await ctx.call("shouting", SHOUTING, text)


def forget(text: str) -> None:
    """Undo nothing."""


@stage(compensate=forget)
def remember(text: str) -> str:
    return text


@stage
def letters(text: str) -> list[str]:
    return list(text)


def told() -> Mapping[str, tuple[str, str]]:
    """Return the status and the data that the page tells of each type of event."""
    return {name: (status, data) for name, status, data in ROW.findall(PAGE.read_text(encoding="utf-8"))}


def ordinary() -> Harness:
    """Return a day on which runs complete, fail, take too long, are cancelled and done again."""
    harness = Harness()
    both = workflow("both", input=str).parallel(work, work.using(name="again"))
    run_id = harness.run(both, "x").run.id
    harness.dispatch(RunRerunFrom(run_id=run_id, from_stage_id="work"))
    harness.run(workflow("bad", input=str).pipe(break_down), "x")
    harness.run(workflow("late", input=str, timeout="100ms").pipe(work), "x")
    for reason in (None, "no longer wanted"):
        harness.dispatch(RunCancel(run_id=harness.start(both, "x"), reason=reason))
    harness.run(workflow("batch", input=str).pipe(Batch()), "x")
    return harness


def deadly() -> Harness:
    """Return a day on which a job is handed back, and workers die while they execute and while they poll."""
    harness = Harness()
    flow = workflow("batch", input=str).pipe(Batch())
    harness.start(flow, "x")
    harness.dispatch(RunClaimPending(worker="w"))
    run_sync(harness.transport.release(lease(harness)))
    for wait in ("1s", "5m"):
        harness.clock.advance(wait)
        lease(harness)
        harness.clock.advance("31s")
        harness.dispatch(LeaseReapStale())
        run_sync(harness.step())
    return harness


def lease(harness: Harness) -> Lease:
    """Return a lease on the only job that is due."""
    ttl, known = harness.kernel.ports.settings.lease_ttl, harness.registry.known()
    request = LeaseRequest(worker="w", limit=1, ttl=ttl, known=known, queues=frozenset({"default"}))
    (only,) = run_sync(harness.transport.dequeue(request))
    return only


def branching() -> Harness:
    """Return a day on which runs choose, map, wait, start others, are held back, retried and undone."""
    harness = Harness(SHOUTING)
    now = timedelta()
    choice = workflow("choice", input=str).pipe(shout).branch(when(lambda text: text == "X", work), otherwise(doze))
    harness.run(choice, "x")
    harness.run(workflow("map", input=str).pipe(letters).map(shout), "abc")
    harness.run(workflow("parent", input=str).pipe(delegate), "x", start_at=harness.clock.now() + timedelta(hours=1))
    keyed = workflow("keyed", input=str).pipe(doze)
    for _ in range(2):
        harness.start(keyed, "x")
    harness.drain()
    asking = workflow("asking", input=str).pipe(ask)
    early, asked, late = harness.start(asking, "x"), harness.start(asking, "x"), harness.start(asking, "x")
    harness.resume(early, "answer", "yes", actor="ada")
    harness.resume(harness.start(asking, "x"), "answer", "yes")
    harness.drain(until=now)
    harness.resume(asked, "answer", "yes", actor="ada")
    for reason in (None, "lunch"):
        harness.pause(late, reason=reason)
        harness.unpause(late)
    harness.drain()
    harness.retry(harness.run(workflow("bad", input=str).pipe(break_down), "x").run.id)
    harness.run(workflow("undoing", input=str, compensate=True).pipe(remember).pipe(break_down), "x")
    cancelled = harness.start(workflow("regret", input=str, compensate=True).pipe(remember).pipe(ask), "x")
    harness.drain(until=now)
    harness.cancel(cancelled, reason="no longer wanted")
    harness.drain()
    return harness


def events() -> Iterator[Event]:
    """Yield every event of all days."""
    for harness in (ordinary(), deadly(), branching()):
        for run in run_sync(harness.persistence.list_runs(RunFilter(), limit=100)):
            yield from run_sync(harness.persistence.list_events(run.id, limit=1000))


def test_every_type_is_told() -> None:
    """The page has each type of event once, in the order of their declaration."""
    assert list(told()) == [kind.value for kind in EventType]


#: Events that leave an instance or a run in different statuses.
BEFORE: Final = {
    True: (EventType.RUN_CREATED, EventType.RUN_PAUSED),
    False: (EventType.STAGE_WAITING, EventType.STAGE_STARTED),
}


@pytest.mark.parametrize("type", EventType)
def test_the_status_after_an_event_is_told(type: EventType) -> None:
    """The page says what the run or the stage instance is after the event."""
    key = StageKey(run_id="r", stage_id="s") if type.value.startswith("stage.") else None
    before = {kind: after(kind, type, key=key) for kind in BEFORE[key is None]}
    after_all = set(before.values())
    if len(after_all) == 1:
        expected = f"`{after_all.pop().value}`"
    else:
        moved = {kind for kind, status in before.items() if status is not after(kind, key=key)}
        expected = "`READY` if it waited" if moved == {EventType.STAGE_WAITING} else "as it was" if not moved else "?"
    assert told()[type.value][0] == expected


def after(*types: EventType, key: StageKey | None) -> Any:
    """Return the status that events of these types lead to."""
    facts = [
        Event(run_id="r", number=number, type=kind, at=START, key=key, data={})
        for number, kind in enumerate(types, start=1)
    ]
    folded = fold(facts)
    return folded.status if key is None else folded.stages[key]


def test_the_data_of_events_is_told() -> None:
    """Every field that events of a type carry is on the page, those that some lack are marked, and none is made up."""
    seen: dict[str, list[set[str]]] = {}
    for event in events():
        seen.setdefault(event.type.value, []).append(set(event.data))
    assert set(seen) == set(told())
    for name, (_, data) in told().items():
        fields = re.findall(r"`(\w+)(\??)`", data)
        assert {field for field, _ in fields} == set[str]().union(*seen[name]), name
        assert {field for field, mark in fields if not mark} == reduce(set[str].intersection, seen[name]), name
