"""`holdfast runs rerun`."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.commands.run_rerun_from import RunRerunFrom
from holdfast_hosts.cli.finding import find_run
from holdfast_hosts.cli.loading import load_registry
from holdfast_hosts.cli.opening import opened
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, note, show


async def rerun(given: str, stage: str, *, modules: Sequence[str], key: str | None, common: Common) -> int:
    """Rerun from *stage* on the run that *given* names.

    Raises:
        RunNotFound: If there is none.
        UnknownStage: If its workflow has no such stage.
        IllegalTransition: If it has not ended, or an earlier stage never completed.
        Told: If it names several, or there is no store, or a module cannot be loaded.
    """
    registry = load_registry(modules)
    async with opened(common, registry=registry) as store:
        run = await find_run(given, store.persistence)
        result = await store.kernel.dispatch(RunRerunFrom(run_id=run.id, from_stage_id=stage, idempotency_key=key))
    if common.json:
        answer(
            {
                "runId": result.run_id,
                "fromStageId": result.from_stage_id,
                "generation": result.generation,
                "superseded": list(result.superseded),
            }
        )
        return 0
    again = ", ".join(result.superseded)
    show(f"↻ run {result.run_id} does again, as generation {result.generation}: {again}")
    note(f"  → A worker executes it: {common.command('worker', *modules)}")
    return 0
