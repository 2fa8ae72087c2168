"""`holdfast run`: creates a run, and with --wait executes it and waits for its end."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from datetime import timedelta
from typing import Any, Final

from holdfast.codec import from_json
from holdfast.commands.run_create import RunCreate
from holdfast.entities.definition import Definition
from holdfast.entities.retry import span
from holdfast.entities.run import RunStatus
from holdfast.errors import InvalidInput
from holdfast.ports.definitions import Definitions
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
from holdfast_hosts.cli.telling import exit_of_run
from holdfast_hosts.cli.usage import misused
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
    create = _create(order, definition)
    if order.wait:
        return await _execute(create, registry, url=url, limit=timeout, common=common)
    async with open_kernel(url, registry=registry, concurrency=1) as opened:
        created = await opened.kernel.dispatch(create)
    if common.json:
        shape = {"runId": created.run_id, "workflowId": created.workflow_id}
        answer(shape | {"workflowVersion": created.workflow_version, "status": created.status.value})
    else:
        show(created.run_id)
        note(f"· created; a worker executes it: {common.command('worker', target)}")
    return Exit.DONE


async def _execute(
    create: RunCreate, registry: Definitions, *, url: StoreUrl, limit: timedelta | None, common: Common
) -> int:
    log_to_stderr(least="error")
    watch = RunWatch()
    async with open_kernel(url, registry=registry) as opened:
        try:
            with nullcontext() if common.json else watch.drawn():
                ended = await run_and_wait(opened, create, on_change=watch.see, timeout=limit)
        except RunGoesOn as error:
            why = f"--timeout {error.timeout.total_seconds():g} s ran out."
            raise _goes_on(error.run_id, why=why, code="E5001", exit=Exit.TIMEOUT, common=common) from None
        except asyncio.CancelledError:
            if watch.run_id is None:
                raise
            why = "Its lease was handed back; the next worker goes on with it."
            raise _goes_on(watch.run_id, why=why, code="E1001", exit=Exit.INTERRUPTED, common=common) from None
    return _tell(ended, common=common)


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


def _create(order: RunOptions, definition: Definition) -> RunCreate:
    if abs(order.priority) > MAX_PRIORITY:
        raise misused(f"--priority is {order.priority}; it is from -{MAX_PRIORITY:,} to {MAX_PRIORITY:,}.")
    if order.input == "-" == order.config:
        raise misused("Standard input cannot be both the input and the config.")
    config: Mapping[str, Any] = {}
    if order.config is not None:
        config = read_json(order.config, what="config")
        if not isinstance(config, dict):
            raise InvalidInput("config", ["it is no JSON object of config slices by stage id"])
    return RunCreate(
        workflow_id=definition.id,
        input=read_json(order.input, what=f'input of workflow "{definition.id}"'),
        version=order.version,
        config=config,
        priority=order.priority,
        idempotency_key=order.key,
    )


def _timeout(order: RunOptions) -> timedelta | None:
    if order.timeout is None:
        return None
    if not order.wait:
        raise misused("--timeout says how long to wait, and nothing is waited for.", fix="Add --wait.")
    try:
        return span(order.timeout)
    except (ValueError, OverflowError) as error:
        raise misused(f"--timeout cannot be read: {error}") from None
