"""`holdfast runs pause` and `holdfast runs unpause`."""

from __future__ import annotations

from holdfast.commands.run_pause import RunPause
from holdfast.commands.run_unpause import RunUnpause
from holdfast_hosts.cli.finding import find_run
from holdfast_hosts.cli.opening import opened
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, note, show


async def pause(given: str, *, reason: str | None, common: Common) -> int:
    """Hold back the run that *given* names.

    Raises:
        RunNotFound: If there is none.
        IllegalTransition: If it has not begun or has ended.
        Told: If it names several, or there is no store.
    """
    async with opened(common) as store:
        run = await find_run(given, store.persistence)
        result = await store.kernel.dispatch(RunPause(run_id=run.id, reason=reason))
    if common.json:
        answer({"runId": run.id, "paused": result.paused, "status": result.status.value})
        return 0
    show(f"‖ run {run.id} {'is paused' if result.paused else 'was paused before'}")
    note(f"  → To let it go on: {common.command('runs', 'unpause', run.id)}")
    return 0


async def unpause(given: str, *, common: Common) -> int:
    """Let the run go on that *given* names.

    Raises:
        RunNotFound: If there is none.
        IllegalTransition: If it has not begun or has ended.
        Told: If it names several, or there is no store.
    """
    async with opened(common) as store:
        run = await find_run(given, store.persistence)
        result = await store.kernel.dispatch(RunUnpause(run_id=run.id))
    if common.json:
        answer({"runId": run.id, "unpaused": result.unpaused, "status": result.status.value})
    else:
        show(f"▶ run {run.id} {'goes on' if result.unpaused else 'was not paused'}")
    return 0
