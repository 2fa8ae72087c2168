"""`holdfast bench`: measures what this machine makes of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

from holdfast_hosts.cli.commands.bench import BenchOptions
from holdfast_hosts.cli.exits import Exit
from holdfast_hosts.cli.logs import log_to_stderr
from holdfast_hosts.cli.menu import DEFAULT_STORE
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, note, show
from holdfast_hosts.cli.spelling import clean, did_you_mean
from holdfast_hosts.cli.usage import misused
from holdfast_hosts.settings import MAX_CONCURRENCY, WorkerSettings
from holdfast_hosts.store_url import StoreUrl
from holdfast_hosts.wiring import Opened, open_kernel
from holdfast_hosts.worker import Worker, fewer_collections

#: The testing kit may not know hosts, nor hosts the kit: this command alone brings them together, and by name.
KIT: Final = "holdfast_testing.bench"
MAX_REPEAT: Final = 100


def bench(options: BenchOptions, *, common: Common) -> int:
    """Measure and tell.

    Raises:
        Told: If an option is out of bounds or names nothing.
        UnusableStore: If a store is named that cannot be measured.
    """
    kit: Any = import_module(KIT)
    for name, value, most in (
        ("repeat", options.repeat, MAX_REPEAT),
        ("concurrency", options.concurrency, MAX_CONCURRENCY),
    ):
        if not 1 <= value <= most:
            raise misused(f"--{name} is {value}; it is from 1 to {most:,}.")
    plan = kit.Plan(
        places=_places(kit, common.store),
        only=frozenset(_scenarios(kit, options.only or ())),
        sizes=kit.QUICK if options.quick else kit.FULL,
        repeat=options.repeat,
        concurrency=options.concurrency,
        profile=options.profile,
    )
    log_to_stderr(least="warning")
    # As in the process of `holdfast worker`.
    with fewer_collections():
        report = asyncio.run(
            kit.measure(plan, open_store=open_kernel, make_worker=_worker, tell=lambda what: note(f"▶ {what}"))
        )
    if common.json:
        answer(report.as_json())
    else:
        show(*kit.table(report))
    return Exit.DONE


def _worker(opened: Opened, /, *, concurrency: int) -> Worker:
    return Worker(opened, settings=WorkerSettings(concurrency=concurrency))


def _places(kit: Any, store: str) -> tuple[Any, ...]:
    path = StoreUrl.parse(store).path
    memory = kit.Place(kind="memory")
    if path is None:
        return (memory,)
    if not path.parent.is_dir():
        raise misused(f"There is no folder {clean(str(path.parent))}.", fix="Create it, or name another with --store.")
    disk = kit.Place(kind="sqlite", directory=path.parent)
    return (memory, disk) if store == DEFAULT_STORE else (disk,)


def _scenarios(kit: Any, only: Sequence[str]) -> Sequence[str]:
    known = tuple(kit.SCENARIOS)
    for name in only:
        if name not in known:
            raise misused(
                f'There is no scenario "{clean(name)}".',
                why=f"There are: {', '.join(known)}.",
                fix="".join(did_you_mean(name, known)),
            )
    return only or known
