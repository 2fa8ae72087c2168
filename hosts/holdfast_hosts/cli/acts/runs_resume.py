"""`holdfast runs resume`."""

from __future__ import annotations

from typing import Any

from holdfast.codec import digest
from holdfast.commands.run_resume import Resumed, RunResume, RunResumeResult
from holdfast.ports.definitions import Definitions
from holdfast_hosts.cli.commands.runs_resume import ResumeOptions
from holdfast_hosts.cli.exits import Exit
from holdfast_hosts.cli.finding import find_run
from holdfast_hosts.cli.loading import load_registry
from holdfast_hosts.cli.opening import opened
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, note, show
from holdfast_hosts.cli.reading import read_json
from holdfast_hosts.cli.spelling import one_line
from holdfast_hosts.cli.usage import misused
from holdfast_hosts.wiring import Opened


async def resume(given: str | None, name: str | None, options: ResumeOptions, *, common: Common) -> int:
    """Answer the wait that *given* and *name*, or the token, address.

    Raises:
        RunNotFound: If there is no such run.
        UnknownWait: If its workflow never waits for anything of that name.
        UnknownToken: If the token is no right to anything.
        InvalidInput: If the answer does not fit.
        WaitOver: If the wait reached its limit before.
        IllegalTransition: If the run has ended.
        Told: If the options do not fit each other, there is no store, or a module cannot be loaded.
    """
    payload = _payload(given, name, options)
    registry = load_registry(options.module or ())
    async with opened(common, registry=registry) as store:
        run_id = None if given is None else (await find_run(given, store.persistence)).id
        result = await store.kernel.dispatch(
            RunResume(token=options.token, run_id=run_id, name=name, payload=payload, actor=options.actor)
        )
        stands = await _is_same(result, payload, store, registry=registry)
    if common.json:
        answer(
            {
                "runId": result.run_id,
                "name": result.name,
                "outcome": result.outcome.value,
                "stands": stands,
                "actor": result.actor,
            }
        )
    else:
        _tell(result, stands=stands, modules=options.module or [], common=common)
    return Exit.DONE if stands else Exit.REFUSED


def _payload(given: str | None, name: str | None, options: ResumeOptions) -> Any:
    if options.token is None and (given is None or name is None):
        raise misused("What is answered is not said.", fix="Give RUN and NAME, or --token TOKEN.")
    if options.token is not None and given is not None:
        raise misused("A token says which wait is answered; RUN and NAME are too much.", fix="Leave them out.")
    if not options.module:
        raise misused("The answer cannot be checked without the workflow.", fix="Name its module: --module MODULE.")
    if (options.payload is None) == (options.payload_file is None):
        raise misused("The answer is given once.", fix="Give --payload JSON or --payload-file FILE.")
    source = options.payload if options.payload is not None else f"@{options.payload_file}"
    return read_json(source, what="payload")


async def _is_same(result: RunResumeResult, payload: Any, store: Opened, *, registry: Definitions) -> bool:
    """Return whether the answer that stands is the one that was given."""
    if result.outcome is not Resumed.ANSWERED_BEFORE:
        return True
    run = await store.persistence.find_run(result.run_id)
    assert run is not None, "the kernel has just found it"
    definition = registry.get(run.header.workflow_id, run.header.workflow_version)
    _, kind = definition.waiting[result.name.partition("[")[0]]
    return digest(kind.encode(payload, what="payload")) == result.digest


def _tell(result: RunResumeResult, *, stands: bool, modules: list[str], common: Common) -> None:
    named = f'run {result.run_id}: "{result.name}"'
    by = f" by {one_line(result.actor)}" if result.actor else ""
    if result.outcome is Resumed.ANSWERED:
        show(f"▶ {named} is answered{by}")
        note(f"  → A worker goes on with it: {common.command('worker', *modules)}")
    elif result.outcome is Resumed.KEPT:
        show(f"✉ {named} is not open yet; the answer{by} is kept until it is")
    elif stands:
        show(f"▶ {named} was answered so before{by}")
    else:
        show(f"✕ {named} was answered before{by} with something else, and that answer stands")
