"""Commands from outside in every wrong shape: a typed refusal, nothing written, and a kernel that works on."""

from __future__ import annotations

import asyncio
import itertools
import math
from collections.abc import Mapping
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from holdfast.driving import run_sync
from holdfast.entities.run import RunStatus
from holdfast.errors import HoldfastError, InvalidCommand, InvalidInput, Rejected, UnknownCommand
from holdfast.kernel import COMMANDS
from holdfast.ports.queries import RunFilter
from holdfast_hosts.wiring import Opened
from holdfast_testing.harness import Harness
from tests.hosts.scenes import LINE, create, ended, opened, working

#: A refusal never grows with what was sent.
SHORT: Final = 2_500


def deep(levels: int = 100_000) -> list[Any]:
    """Return lists in lists."""
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


#: A message of each command that can be read.
GOOD: Final[Mapping[str, Mapping[str, Any]]] = {
    "run.create": {
        "workflowId": "line",
        "input": 1,
        "version": "1",
        "config": {},
        "priority": 5,
        "idempotencyKey": None,
        "operationId": None,
        "tenant": "",
        "concurrencyKey": "k",
        "singleton": "s",
        "singletonPolicy": "skip",
        "annotations": {},
        "startAt": "2026-01-31T09:00:00+01:00",
        "initialState": {},
    },
    "run.cancel": {"runId": "r", "reason": "x", "operationId": None},
    "run.rerunFrom": {"runId": "r", "fromStageId": "s", "idempotencyKey": None, "operationId": None},
    "run.retry": {"runId": "r", "idempotencyKey": None, "operationId": None},
    "run.pause": {"runId": "r", "reason": "x", "operationId": None},
    "run.unpause": {"runId": "r", "operationId": None},
    "run.resume": {"runId": "r", "name": "w", "payload": 1, "actor": "a", "token": None, "operationId": None},
    "run.transition": {"runId": "r"},
    "run.claimPending": {"worker": "w", "maxClaims": 1},
    "job.execute": {"job": {"runId": "r", "stageId": "s"}, "worker": "w"},
    "job.heartbeat": {"beats": []},
    "lease.reapStale": {"limit": 1},
    "timer.fireDue": {"limit": 1},
    "outbox.flush": {"maxEvents": 1},
    "plugin.replayDLQ": {"limit": 1},
    "queue.configure": {
        "queue": "q",
        "concurrency": 1,
        "perKey": 1,
        "tokens": 1,
        "period": 60,
        "burst": 1,
        "paused": False,
    },
    "run.prune": {
        "olderThan": 86_400,
        "keepResults": 86_400,
        "keepOperations": 86_400,
        "limit": 1,
        "after": {"finishedAt": "2026-01-31T09:00:00+01:00", "runId": "r"},
        "trial": True,
    },
    "blob.collect": {"grace": 86_400, "limit": 1, "after": "a", "trial": True},
    "stage.pollSuspended": {"worker": "w", "maxChecks": 1, "queues": ["default"]},
}

#: What no field of any command takes.
RUBBISH: Final[Mapping[str, object]] = {
    "nan": math.nan,
    "infinity": math.inf,
    "fraction": 1.5,
    "digits": 10**5_000,
    "surrogate": "\ud800",
    "deep": deep(),
    "deep object": {"a": deep()},
    "object": object(),
    "bytes": b"x",
    "null in lists": [[None]],
}


#: Fields that are durations, for which a fraction is no rubbish.
SPANS: Final = frozenset({"olderThan", "keepResults", "keepOperations", "grace", "period"})


async def stored(there: Opened) -> list[str]:
    """Return the ids of all runs."""
    return [run.id for run in await there.persistence.list_runs(RunFilter(), limit=1_000)]


def test_every_command_has_a_good_message() -> None:
    """The attacks below cover every command and every field that comes from the wire."""
    assert set(GOOD) == set(COMMANDS)


@pytest.mark.parametrize("command", GOOD)
def test_no_field_takes_rubbish(store: str, command: str) -> None:
    """Rubbish in any field is refused in few words, writes nothing, and leaves the kernel working."""

    async def scenario() -> None:
        async with opened(store) as there:
            for field in GOOD[command]:
                for name, rubbish in RUBBISH.items():
                    if name == "fraction" and field in SPANS:
                        continue
                    with pytest.raises(Rejected) as caught:
                        await there.kernel.dispatch_json({"type": command, **GOOD[command], field: rubbish})
                    assert len(str(caught.value)) < SHORT, (field, name)
            assert await stored(there) == []
            run_id = await create(there, LINE)
            async with working(there):
                assert await ended(there, run_id) == [RunStatus.COMPLETED]

    asyncio.run(scenario())


@pytest.mark.parametrize("command", GOOD)
def test_unknown_and_missing_fields_are_named(command: str) -> None:
    """A field that is not the command's is refused, and so is the lack of one that it must have."""
    kernel = Harness(LINE).kernel
    with pytest.raises(InvalidCommand, match="there is no field evil"):
        run_sync(kernel.dispatch_json({"type": command, **GOOD[command], "evil": 1}))
    for field in ("workflowId", "runId", "worker", "job", "beats", "fromStageId"):
        # A token stands for the run, so its id may be left out there.
        if field in GOOD[command] and command != "run.resume":
            left = {name: value for name, value in GOOD[command].items() if name != field}
            with pytest.raises(InvalidCommand, match=f"{field}: is missing"):
                run_sync(kernel.dispatch_json({"type": command, **left}))


#: What is no command at all.
NO_OBJECTS: Final[Mapping[str, Any]] = {
    "null": None,
    "true": True,
    "number": 5,
    "text": "run.create",
    "bytes": b"{}",
    "list": [{"type": "run.cancel"}],
    "object": object(),
    "deep": deep(),
}


@pytest.mark.parametrize("kind", NO_OBJECTS)
def test_only_objects_are_messages(kind: str) -> None:
    """A message that is no object is refused."""
    with pytest.raises(InvalidCommand, match="should be an object"):
        run_sync(Harness(LINE).kernel.dispatch_json(NO_OBJECTS[kind]))


#: What is no command's type.
NO_TYPES: Final[Mapping[str, Any]] = {
    "null": None,
    "number": 5,
    "digits": 10**5_000,
    "deep": deep(),
    "object": {},
    "empty": "",
    "case": "run.Create",
    "long": "x" * 10**6,
    "surrogate": "\ud800",
}


@pytest.mark.parametrize("kind", NO_TYPES)
def test_unknown_types_are_refused_in_few_words(kind: str) -> None:
    """A type that is no command's is refused, whatever it is and however long."""
    with pytest.raises(UnknownCommand) as caught:
        run_sync(Harness(LINE).kernel.dispatch_json({"type": NO_TYPES[kind]}))
    assert len(str(caught.value)) < 1_000


@pytest.mark.parametrize(
    ("command", "field", "value"),
    [
        ("run.create", "workflowId", "x" * 10**6),
        ("run.create", "workflowId", "a\x00"),
        ("run.create", "version", "x" * 10**6),
        ("run.create", "priority", 2**63),
        ("run.create", "priority", -(2**63) - 1),
        ("run.create", "priority", 1_000_001),
        ("run.create", "tenant", "a\x00"),
        ("run.create", "idempotencyKey", ""),
        ("run.create", "idempotencyKey", "a\x00"),
        ("run.create", "annotations", {"a\x00": 1}),
        ("run.create", "annotations", {"a": "x" * 2_000_000}),
        ("run.cancel", "runId", "a\x00"),
        ("run.cancel", "reason", "a\x00"),
        ("run.rerunFrom", "runId", "x" * 10**6),
        ("run.transition", "runId", ""),
        ("run.claimPending", "maxClaims", -1),
        ("run.claimPending", "maxClaims", 2**63),
        ("run.claimPending", "worker", ""),
        ("job.execute", "job", {"runId": "r", "stageId": "s", "generation": 2**63}),
        ("job.execute", "job", {"runId": "r", "stageId": "s", "item": -1}),
        ("lease.reapStale", "limit", -1),
        ("lease.reapStale", "limit", 2**63),
        ("timer.fireDue", "limit", -1),
        ("outbox.flush", "maxEvents", -1),
        ("plugin.replayDLQ", "limit", 2**63),
        ("stage.pollSuspended", "maxChecks", -1),
        ("run.create", "singleton", ""),
        ("run.create", "concurrencyKey", "a\x00"),
        ("queue.configure", "queue", ""),
        ("queue.configure", "concurrency", 0),
        ("queue.configure", "perKey", 2**31),
        ("queue.configure", "tokens", -1),
        ("queue.configure", "period", 0),
        ("queue.configure", "period", 10**9),
        ("queue.configure", "burst", 0),
        ("run.prune", "limit", 0),
        ("run.prune", "limit", 10_001),
        ("run.prune", "olderThan", -1),
        ("run.prune", "keepOperations", 10**10),
        ("run.prune", "after", {"finishedAt": "2026-01-31T09:00:00Z", "runId": "a\x00"}),
        ("blob.collect", "limit", 0),
        ("blob.collect", "grace", -1),
        ("blob.collect", "after", "../a"),
    ],
    ids=map(str, itertools.count()),
)
def test_values_out_of_bounds_are_invalid_input(store: str, command: str, field: str, value: object) -> None:
    """Numbers that no store can hold and names with NUL are refused alike by every store, before it is asked."""

    async def scenario() -> None:
        async with opened(store) as there:
            with pytest.raises(InvalidInput) as caught:
                await there.kernel.dispatch_json({"type": command, **GOOD[command], field: value})
            assert len(str(caught.value)) < SHORT
            assert await stored(there) == []

    asyncio.run(scenario())


JSON: Final = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=20)
    | st.sampled_from(["line", "default", "1", "RUNNING", "2026-01-01T00:00:00Z"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["runId", "stageId", "lease", "key", "epoch", "events", "run", "input", "text", "grant"])
            | st.text(max_size=8),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@st.composite
def messages(draw: st.DrawFn) -> Any:
    """Draw anything at all, or a command of which some fields are anything."""
    if draw(st.integers(0, 9)) == 0:
        return draw(JSON)
    command = draw(st.sampled_from(sorted(GOOD)))
    message = {"type": command, **GOOD[command]}
    for field in draw(st.lists(st.sampled_from(sorted(GOOD[command])), max_size=3, unique=True)):
        message[field] = draw(JSON)
    return message


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(messages())
def test_only_our_own_errors_come_out(message: Any) -> None:
    """Whatever is sent, either it succeeds or one of our own errors comes out and no run was written."""
    harness = Harness(LINE)
    try:
        answer = run_sync(harness.kernel.dispatch_json(message))
    except HoldfastError:
        assert run_sync(harness.persistence.list_runs(RunFilter(), limit=10)) == []
    else:
        assert isinstance(answer, dict)
    assert harness.run(LINE, 1).output == 4


@pytest.mark.parametrize(
    ("command", "field", "value"),
    [
        ("job.execute", "lease", None),
        ("job.execute", "given", {}),
        ("job.execute", "keep", None),
        ("run.claimPending", "keepQueues", []),
    ],
)
def test_what_belongs_to_the_process_cannot_come_from_outside(command: str, field: str, value: object) -> None:
    """A lease, known outputs and the like are no fields of the wire: they would choose what a body is called with."""
    with pytest.raises(InvalidCommand, match=field):
        run_sync(Harness(LINE).kernel.dispatch_json({"type": command, **GOOD[command], field: value}))


def test_events_cannot_be_forged_by_a_heartbeat() -> None:
    """A heartbeat from outside extends leases and tells nothing."""
    beat = {"lease": {"key": {"runId": "r", "stageId": "s"}, "epoch": 1}, "events": []}
    with pytest.raises(InvalidCommand, match="events"):
        run_sync(Harness(LINE).kernel.dispatch_json({"type": "job.heartbeat", "beats": [beat]}))
