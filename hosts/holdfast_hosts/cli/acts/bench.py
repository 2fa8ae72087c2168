"""`holdfast bench`: measures what this machine makes of the engine."""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Final

from holdfast.errors import UnusableStore
from holdfast_hosts.cli.commands.bench import BenchOptions
from holdfast_hosts.cli.exits import Exit
from holdfast_hosts.cli.logs import log_to_stderr
from holdfast_hosts.cli.menu import DEFAULT_STORE
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, note, show
from holdfast_hosts.cli.spelling import clean, did_you_mean
from holdfast_hosts.cli.usage import misused
from holdfast_hosts.settings import MAX_CONCURRENCY, WorkerSettings
from holdfast_hosts.store_url import StoreKind, StoreUrl
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
    if options.quick and options.full:
        raise misused("--quick and --full are opposites.")
    places = _places(kit, common.store)
    sizes = kit.QUICK if options.quick else kit.FULL if options.full else kit.USUAL
    plan = kit.Plan(
        places=places,
        only=frozenset(_scenarios(kit, places, options.only or ())),
        sizes=sizes,
        repeat=options.repeat,
        concurrency=options.concurrency,
        profile=options.profile,
    )
    with _process():
        report = asyncio.run(
            kit.measure(
                plan,
                open_store=open_kernel,
                make_worker=_worker,
                process=_process,
                tell=lambda what: note(f"▶ {what}"),
            )
        )
    if common.json:
        answer(report.as_json())
    else:
        show(*kit.table(report))
    return Exit.DONE


@contextmanager
def _process() -> Generator[None]:
    """Have what the process of `holdfast worker` has, but for what it says."""
    log_to_stderr(least="warning")
    with fewer_collections():
        yield


def _worker(opened: Opened, /, *, concurrency: int) -> Worker:
    return Worker(opened, settings=WorkerSettings(concurrency=concurrency))


def _places(kit: Any, store: str) -> tuple[Any, ...]:
    url = StoreUrl.parse(store)
    if url.kind is StoreKind.POSTGRES:
        return (kit.Place(kind="postgresql", server=_server(url)),)
    path, memory = url.path, kit.Place(kind="memory")
    if path is None:
        return (memory,)
    if not path.parent.is_dir():
        raise misused(f"There is no folder {clean(str(path.parent))}.", fix="Create it, or name another with --store.")
    disk = kit.Place(kind="sqlite", directory=path.parent)
    return (memory, disk) if store == DEFAULT_STORE else (disk,)


def _server(url: StoreUrl) -> Any:
    try:
        from holdfast_adapters.postgres.measuring import PostgresServer
    except ImportError as error:
        if error.name != "psycopg":
            raise
        raise UnusableStore(
            str(url), why="This Python has no psycopg.", fix='Install it: pip install "holdfast[postgres]"'
        ) from error
    assert url.address is not None, "a Postgres store has an address"
    return PostgresServer(url.address)


def _scenarios(kit: Any, places: Sequence[Any], only: Sequence[str]) -> Sequence[str]:
    known = tuple(dict.fromkeys(name for place in places for name in kit.scenarios_of(place)))
    for name in only:
        if name not in known:
            raise misused(
                f'There is no scenario "{clean(name)}".',
                why=f"There are: {', '.join(known)}.",
                fix="".join(did_you_mean(name, known)),
            )
    return only or known
