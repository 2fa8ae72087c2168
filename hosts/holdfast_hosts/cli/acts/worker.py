"""`holdfast worker`: executes jobs until it is told to stop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from holdfast.authoring.registry import Registry
from holdfast.verdicts import JobOutcome
from holdfast_hosts.cli.exits import Exit
from holdfast_hosts.cli.loading import load_registry
from holdfast_hosts.cli.logs import log_to_stderr
from holdfast_hosts.cli.opening import lasting
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, note
from holdfast_hosts.cli.spelling import clean, counted
from holdfast_hosts.cli.usage import misused
from holdfast_hosts.settings import MAX_CONCURRENCY, WorkerSettings
from holdfast_hosts.wiring import open_kernel
from holdfast_hosts.worker import WorkerStats, exit_process, run_worker


def worker(modules: Sequence[str], *, concurrency: int, queues: Sequence[str], common: Common) -> int:
    """Run a worker and end the process, with 130 when it was told to stop at once.

    Raises:
        Told: If an option is out of bounds, or a module cannot be loaded.
        UnusableStore: If the store cannot be used.
        StoreUnavailable: If it cannot be reached.
    """
    if not 1 <= concurrency <= MAX_CONCURRENCY:
        raise misused(f"--concurrency is {concurrency}; it is from 1 to {MAX_CONCURRENCY:,}.")
    settings = WorkerSettings(concurrency=concurrency, queues=frozenset(queues or ("default",)))
    registry = load_registry(modules)
    log_to_stderr(least="warning")
    stats = asyncio.run(_work(registry, settings, common=common))
    _report(stats, common=common)
    exit_process(Exit.INTERRUPTED if stats.aborted else Exit.DONE)


async def _work(registry: Registry, settings: WorkerSettings, *, common: Common) -> WorkerStats:
    url = lasting(common.store)
    async with open_kernel(url, registry=registry, concurrency=settings.concurrency) as opened:
        names = ", ".join(definition.name for definition in registry.definitions())
        slots = counted(settings.concurrency, "slot")
        note(f"▶ worker on {clean(str(url))} · {slots} · {names} · Ctrl-C stops it")
        return await run_worker(opened, settings=settings)


def _report(stats: WorkerStats, *, common: Common) -> None:
    if common.json:
        answer(
            {
                "worker": stats.worker_id,
                "jobs": {outcome.value: number for outcome, number in stats.jobs_processed.items()},
                "claimed": stats.claimed,
                "released": stats.released,
                "lost": stats.lost,
                "errors": stats.errors,
                "aborted": stats.aborted,
            }
        )
        return
    done = {outcome: number for outcome, number in stats.jobs_processed.items() if number}
    words = ", ".join(f"{number:,} {outcome.value}" for outcome, number in done.items()) or "none"
    handed_back = f" · {stats.released:,} handed back" if stats.released else ""
    total = sum(number for outcome, number in done.items() if outcome is not JobOutcome.LOST)
    note(f"✓ worker stopped · {counted(total, 'job')}: {words}{handed_back}")
