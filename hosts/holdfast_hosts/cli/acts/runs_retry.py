"""`holdfast runs retry`."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.commands.run_retry import RunRetry
from holdfast_hosts.cli.finding import find_run
from holdfast_hosts.cli.loading import load_registry
from holdfast_hosts.cli.opening import opened
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, note, show
from holdfast_hosts.cli.rendering.names import is_between, stage_words


async def retry(given: str, *, modules: Sequence[str], key: str | None, common: Common) -> int:
    """Retry the run that *given* names.

    Raises:
        RunNotFound: If there is none.
        IllegalTransition: If it has not failed, or what its stages did has been undone.
        Told: If it names several, or there is no store, or a module cannot be loaded.
    """
    registry = load_registry(modules)
    async with opened(common, registry=registry) as store:
        run = await find_run(given, store.persistence)
        result = await store.kernel.dispatch(RunRetry(run_id=run.id, idempotency_key=key))
    if common.json:
        answer({"runId": result.run_id, "generation": result.generation, "retried": list(result.retried)})
        return 0
    written = [stage for stage in result.retried if not is_between(stage)]
    again = ", ".join(stage_words(stage) for stage in written or result.retried)
    show(f"↻ run {result.run_id} does again, as generation {result.generation}: {again}")
    note(f"  → A worker executes it: {common.command('worker', *modules)}")
    return 0
