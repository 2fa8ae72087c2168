"""`holdfast runs cancel`."""

from __future__ import annotations

from holdfast.commands.run_cancel import RunCancel
from holdfast.entities.run import RunStatus
from holdfast.errors import IllegalTransition, RunNotFound
from holdfast_hosts.cli.finding import find_run
from holdfast_hosts.cli.opening import opened
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, show


async def cancel(given: str, *, reason: str | None, common: Common) -> int:
    """Cancel the run that *given* names.

    Raises:
        RunNotFound: If there is none.
        IllegalTransition: If it has ended otherwise.
        Told: If it names several, or there is no store.
    """
    async with opened(common) as store:
        run = await find_run(given, store.persistence)
        result = await store.kernel.dispatch(RunCancel(run_id=run.id, reason=reason))
    if result.status is None:
        raise RunNotFound(run.id)
    if not result.cancelled and result.status is not RunStatus.CANCELLED:
        hint = "It has ended; to do it again: holdfast runs rerun"
        raise IllegalTransition(f"Run {run.id}", source=result.status.value, target="CANCELLED", hint=hint)
    if common.json:
        answer({"runId": run.id, "cancelled": result.cancelled, "status": result.status.value})
    else:
        show(f"⊘ run {run.id} {'is cancelled' if result.cancelled else 'was cancelled before'}")
    return 0
