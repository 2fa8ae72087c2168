"""Fifty megabytes where a few bytes were meant, and words that must never leave a payload."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

import pytest
from pydantic import BaseModel
from structlog.testing import capture_logs

from holdfast import Context, Flow, RunCreate, stage, workflow
from holdfast.entities.run import MAX_TEXT, Run, RunStatus
from holdfast.errors import HoldfastError, InvalidConfig, InvalidInput, PayloadTooLarge
from holdfast_hosts.wiring import Opened
from tests.hosts.scenes import LINE, ONCE, create, ended, flaky_store, opened, working

HUGE: Final = "x" * 50_000_000
#: Stands for data of a patient.
CANARY: Final = "Erika-Mustermann-1964"


class Config(BaseModel):
    """A config that could be of any size."""

    words: str = ""


class Patient(BaseModel):
    """Somebody of whom nothing may be told."""

    name: str
    age: int


async def echo(words: str, ctx: Context[Config]) -> str:
    """Return the words."""
    return words


async def leave_traces(words: str, ctx: Context) -> int:
    """Leave a huge trace of every kind that is cut."""
    ctx.log(HUGE)
    ctx.log("with data", data=HUGE)
    ctx.progress(1, 2, HUGE)
    ctx.progress(2, 2, data=HUGE)
    return 1


async def annotate(words: str, ctx: Context) -> int:
    """Annotate with something huge."""
    ctx.annotate("note", HUGE)
    return 1


async def give(words: str) -> str:
    """Return something huge."""
    return HUGE


async def save(words: str, ctx: Context) -> int:
    """Save something huge as an artifact and load it again."""
    await ctx.save("scan", HUGE.encode())
    return len(await ctx.load("scan"))


async def measure(words: str, ctx: Context) -> int:
    """Keep a metric that is no number."""
    ctx.metric("score", float("nan"))
    return 1


async def fall(patient: Patient) -> int:
    """Fail with data in a local variable."""
    name = patient.name
    raise ValueError(f"cannot treat a name of {len(name)} letters")


async def admit(patient: Patient) -> int:
    """Admit somebody."""
    return patient.age


def line(body: Callable[..., Any], kind: type[Any] = str) -> Flow[Any, Any]:
    """Return a workflow of one stage."""
    made: Flow[Any, Any] = workflow(body.__name__, input=kind, version="1").pipe(stage(retry=ONCE)(body))
    return made


async def run_of(there: Opened, run_id: str) -> Run:
    """Return the run."""
    run = await there.persistence.find_run(run_id)
    assert run is not None
    return run


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"input": HUGE}, PayloadTooLarge),
        ({"input": "a", "config": {"echo": {"words": HUGE}}}, InvalidConfig),
        ({"input": "a", "annotations": {"note": HUGE}}, InvalidInput),
        ({"input": "a", "idempotency_key": HUGE}, InvalidInput),
        ({"input": "a", "tenant": HUGE}, InvalidInput),
        ({"input": "a", "version": HUGE}, InvalidInput),
    ],
    ids=["input", "config", "annotation", "key", "tenant", "version"],
)
def test_huge_requests_are_refused_in_few_words(
    store: str, fields: Mapping[str, Any], error: type[HoldfastError]
) -> None:
    """Fifty megabytes in any field of a new run are refused, with an error that does not repeat them."""

    async def scenario() -> None:
        async with opened(store, flows=[line(echo)]) as there:
            with pytest.raises(error) as caught:
                await there.kernel.dispatch(RunCreate(workflow_id="echo", **fields))
            assert len(str(caught.value)) < 2_000

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (leave_traces, RunStatus.COMPLETED),
        (save, RunStatus.COMPLETED),
        (annotate, RunStatus.FAILED),
        (give, RunStatus.FAILED),
        (measure, RunStatus.FAILED),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_huge_values_of_a_stage_never_reach_a_row(store: str, body: Callable[..., Any], status: RunStatus) -> None:
    """Traces are cut and the stage goes on; what cannot be cut fails the stage; artifacts go to the blob store."""

    async def scenario() -> None:
        attack = line(body)
        async with opened(store, flows=[attack, LINE]) as there, working(there) as worker:
            run_id = await create(there, attack, "a")
            assert await ended(there, run_id) == [status]
            run = await run_of(there, run_id)
            assert len(str(run.failure)) < 3 * MAX_TEXT
            events = await there.persistence.list_events(run_id, limit=100)
            logs = await there.persistence.list_logs(run_id, limit=100)
            assert all(len(json.dumps(dict(event.data))) < 3 * MAX_TEXT for event in events)
            assert all(len(one.message) + len(json.dumps(dict(one.data))) < 3 * MAX_TEXT for one in logs)
            assert await ended(there, await create(there, LINE)) == [RunStatus.COMPLETED]
            assert worker.stats().errors == 0

    asyncio.run(scenario())


@pytest.mark.parametrize("data", [{"name": CANARY, "age": CANARY}, {"name": CANARY}, [CANARY], CANARY], ids=str)
def test_refusals_do_not_repeat_the_input(store: str, data: object) -> None:
    """An input that does not fit is refused by place and kind of fault, never with its data."""

    async def scenario() -> None:
        async with opened(store, flows=[line(admit, Patient)]) as there:
            with pytest.raises(InvalidInput) as caught:
                await there.kernel.dispatch(RunCreate(workflow_id="admit", input=data))
            assert CANARY not in str(caught.value)
            assert CANARY not in repr(caught.value.__cause__)
            assert CANARY not in repr(caught.value.__context__)

    asyncio.run(scenario())


def test_traces_hold_no_local_variables(store: str) -> None:
    """The stored traceback of a failed stage shows its lines and none of the values they worked on."""

    async def scenario() -> None:
        attack = line(fall, Patient)
        async with opened(store, flows=[attack]) as there, working(there):
            run_id = await create(there, attack, {"name": CANARY, "age": 5})
            assert await ended(there, run_id) == [RunStatus.FAILED]
            failure = (await run_of(there, run_id)).failure
            assert failure is not None
            assert failure.trace is not None
            assert "in fall" in failure.trace
            assert CANARY not in failure.trace + failure.message

    asyncio.run(scenario())


def test_logs_of_defects_hold_no_local_variables() -> None:
    """What the worker logs of an error that nobody foresaw is text without values, whatever formats the log."""
    outage, store = flaky_store()
    original = outage.__getattr__

    async def broken(*_: Any, **__: Any) -> Any:
        canary = CANARY
        raise ZeroDivisionError(f"a defect beside {len(canary)} letters")

    async def scenario() -> None:
        attack = line(admit, Patient)
        async with opened(store, flows=[attack]) as there:
            run_id = await create(there, attack, {"name": CANARY, "age": 5})
            vars(outage)["commit"] = _breaking_once(broken, original("commit"))
            with capture_logs() as logged:
                async with working(there):
                    assert await ended(there, run_id)
            (line_of,) = [one for one in logged if one["log_level"] == "error"]
            assert "ZeroDivisionError" in line_of["trace"]
            assert "exc_info" not in line_of
            assert CANARY not in str(logged)

    asyncio.run(scenario())


def _breaking_once(broken: Callable[..., Any], sound: Callable[..., Any]) -> Callable[..., Any]:
    """Return a commit that admits a run, fails to settle its first attempt, and works again."""
    calls = iter([sound, broken])

    async def commit(*args: Any) -> Any:
        return await next(calls, sound)(*args)

    return commit
