"""`holdfast run`: creates a run, and with --wait executes it and waits for its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs

from holdfast.codec import from_json
from holdfast.commands.run_create import RunCreate
from holdfast.creating import SingletonPolicy
from holdfast.entities.definition import Definition
from holdfast.entities.run import RunStatus
from holdfast.errors import InvalidInput
from holdfast.ports.definitions import Definitions
from holdfast_hosts.cli.acts.run_rest import Attendant, Leaving, RunStays
from holdfast_hosts.cli.acts.run_view import RunWatch
from holdfast_hosts.cli.commands.run import RunOptions
from holdfast_hosts.cli.exits import Exit
from holdfast_hosts.cli.loading import load_workflow
from holdfast_hosts.cli.logs import log_to_stderr
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, note, show
from holdfast_hosts.cli.problem import Problem, Told
from holdfast_hosts.cli.reading import read_json
from holdfast_hosts.cli.shapes import run_shape
from holdfast_hosts.cli.spelling import clean
from holdfast_hosts.cli.telling import exit_of_run
from holdfast_hosts.cli.usage import given_span, misused
from holdfast_hosts.store_url import StoreKind, StoreUrl
from holdfast_hosts.waiting import RunEnded, RunGoesOn, run_and_wait
from holdfast_hosts.wiring import open_kernel

#: Every store keeps numbers of this size.
MAX_PRIORITY: Final = 1_000_000


async def run(target: str, order: RunOptions, *, common: Common) -> int:
    """Create the run, and wait for it if that was asked for.

    Raises:
        Rejected: If the run cannot be created.
        Told: If the module cannot be loaded, an option does not fit the others, or waiting ended before the run.
        UnusableStore: If the store cannot be used.
        StoreUnavailable: If it cannot be reached.
    """
    timeout = _timeout(order)
    url = StoreUrl.parse(common.store)
    if url.kind is StoreKind.MEMORY and not order.wait:
        raise misused("A run in memory ends with this process.", fix="Add --wait, or name a store that lasts.")
    registry, definition = load_workflow(target)
    create = _create(order, definition, utc=common.utc)
    if order.wait:
        waiting = Waiting(limit=timeout, target=target, leaving=_leaving(order, url))
        return await _execute(create, registry, url=url, waiting=waiting, common=common)
    async with open_kernel(url, registry=registry, concurrency=1) as opened:
        created = await opened.kernel.dispatch(create)
    if common.json:
        shape = {"runId": created.run_id, "workflowId": created.workflow_id, "skipped": created.skipped}
        answer(shape | {"workflowVersion": created.workflow_version, "status": created.status.value})
    else:
        show(created.run_id)
        if created.skipped:
            note(f"· not created: this run is live and has the singleton key {clean(order.singleton or '')}")
        else:
            note(f"· created; a worker executes it: {common.command('worker', target)}")
    return Exit.DONE


@attrs.frozen(kw_only=True)
class Waiting:
    """How a run is waited for."""

    limit: timedelta | None
    #: The module that was named, for commands that are told.
    target: str
    leaving: Leaving


async def _execute(create: RunCreate, registry: Definitions, *, url: StoreUrl, waiting: Waiting, common: Common) -> int:
    log_to_stderr(least="error")
    watch = RunWatch()
    async with open_kernel(url, registry=registry) as opened:
        attendant = Attendant(opened, target=waiting.target, leaving=waiting.leaving, common=common)
        try:
            with nullcontext() if common.json else watch.drawn():
                ended = await run_and_wait(
                    opened, create, on_change=watch.see, on_rest=attendant.attend, timeout=waiting.limit
                )
        except RunStays as error:
            what = f"Run {error.run.id} waits, and only somebody outside can bring it on."
            lost = ("It was kept in memory, and ends with this process.",) if url.kind is StoreKind.MEMORY else ()
            fix = ("Name a store that lasts: --store sqlite:///holdfast.db",) if lost else error.fix
            problem = Problem(code="E5002", what=what, why=error.why + lost, fix=fix, exit=Exit.WAITING)
            raise Told(problem) from None
        except RunGoesOn as error:
            why = f"--timeout {error.timeout.total_seconds():g} s ran out."
            raise _goes_on(error.run_id, why=why, code="E5001", exit=Exit.TIMEOUT, common=common) from None
        except asyncio.CancelledError:
            if watch.run_id is None:
                raise
            why = "Its lease was handed back; the next worker goes on with it."
            raise _goes_on(watch.run_id, why=why, code="E1001", exit=Exit.INTERRUPTED, common=common) from None
    return _tell(ended, common=common)


def _leaving(order: RunOptions, url: StoreUrl) -> Leaving:
    if order.until_waiting:
        return Leaving.ASKED
    return Leaving.STUCK if url.kind is StoreKind.MEMORY else Leaving.NEVER


def _tell(ended: RunEnded, *, common: Common) -> int:
    if common.json:
        output = None if ended.output is None else from_json(ended.output, what="output")
        answer({**run_shape(ended.run), "output": output})
        return exit_of_run(ended.status)
    from holdfast_hosts.cli.opening import store_now
    from holdfast_hosts.cli.rendering.run_page import failure_lines, headline

    note(headline(ended.run, ended.stages, now=store_now()))
    if ended.output is not None:
        show(ended.output)
    note(*failure_lines(ended.run))
    if ended.status is not RunStatus.COMPLETED:
        note(f"  → {common.command('runs', 'timeline', ended.run.idempotency_key or ended.run_id)}")
    return exit_of_run(ended.status)


def _goes_on(run_id: str, *, why: str, code: str, exit: Exit, common: Common) -> Told:
    what = f"Run {run_id} goes on; this command does not wait for it any longer."
    see = common.command("runs", "timeline", run_id, "--follow")
    return Told(Problem(code=code, what=what, why=(why,), fix=(see,), exit=exit))


def _create(order: RunOptions, definition: Definition, *, utc: bool) -> RunCreate:
    if abs(order.priority) > MAX_PRIORITY:
        raise misused(f"--priority is {order.priority}; it is from -{MAX_PRIORITY:,} to {MAX_PRIORITY:,}.")
    if [order.input, order.config, order.state].count("-") > 1:
        raise misused("Standard input cannot be more than one of the input, the config and the state.")
    config = _object(order.config, what="config", of="config slices by stage id")
    state = _object(order.state, what="state", of="names and values")
    return RunCreate(
        workflow_id=definition.id,
        input=read_json(order.input, what=f'input of workflow "{definition.id}"'),
        version=order.version,
        config=config,
        priority=order.priority,
        start_at=_start(order, utc=utc),
        initial_state=state,
        idempotency_key=order.key,
        tenant=order.tenant,
        concurrency_key=order.concurrency_key,
        singleton=order.singleton,
        singleton_policy=SingletonPolicy(order.if_taken),
    )


def _object(given: str | None, *, what: str, of: str) -> Mapping[str, Any]:
    if given is None:
        return {}
    value = read_json(given, what=what)
    if not isinstance(value, dict):
        raise InvalidInput(what, [f"it is no JSON object of {of}"])
    return value


def _start(order: RunOptions, *, utc: bool) -> datetime | None:
    if order.start_in is not None:
        if order.start_at is not None:
            raise misused("--start-at and --start-in both say when the run begins.", fix="Leave one out.")
        return datetime.now(UTC) + given_span(order.start_in, option="--start-in")
    if order.start_at is None:
        return None
    try:
        start = datetime.fromisoformat(order.start_at)
    except ValueError:
        fix = "Write it like 2026-01-31T09:00 or 2026-01-31T09:00+01:00."
        raise misused(f"--start-at cannot be read: {clean(order.start_at)}", fix=fix) from None
    # Times are local on the command line, as they are where it shows them.
    return start if start.tzinfo is not None else start.replace(tzinfo=UTC) if utc else start.astimezone()


def _timeout(order: RunOptions) -> timedelta | None:
    if order.until_waiting and not order.wait:
        raise misused("--until-waiting says when to stop waiting, and nothing is waited for.", fix="Add --wait.")
    if order.timeout is None:
        return None
    if not order.wait:
        raise misused("--timeout says how long to wait, and nothing is waited for.", fix="Add --wait.")
    return given_span(order.timeout, option="--timeout")
