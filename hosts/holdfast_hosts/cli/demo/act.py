"""`holdfast demo`: works off a list of orders before the eyes of the reader."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Final

from holdfast.authoring.registry import Registry
from holdfast.command import Settings
from holdfast.entities.run import RunStatus
from holdfast_hosts.cli.demo.batches import Batch, greeting, open_batch, waiting_for_lease
from holdfast_hosts.cli.demo.ending import Ending, tell_ending
from holdfast_hosts.cli.demo.ledger import Ledger
from holdfast_hosts.cli.demo.orders import read_orders
from holdfast_hosts.cli.demo.plain import Chronicle
from holdfast_hosts.cli.demo.progress import Look, Progress
from holdfast_hosts.cli.demo.workflow import order
from holdfast_hosts.cli.exits import Exit
from holdfast_hosts.cli.logs import log_to_stderr
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import console, note, show
from holdfast_hosts.cli.problem import Problem, Told
from holdfast_hosts.cli.spelling import clean
from holdfast_hosts.settings import WorkerSettings
from holdfast_hosts.store_url import StoreUrl
from holdfast_hosts.wiring import Opened, open_kernel
from holdfast_hosts.worker import Worker

#: Jobs that are executed at once; few, so that a reader can follow them.
SLOTS: Final = 2
#: Short, so that nobody waits long for what a killed demo left behind; services are better off with the default.
LEASE: Final = timedelta(seconds=5)
REAP_INTERVAL: Final = timedelta(seconds=1)
#: Seconds between two looks at the store.
INTERVAL: Final = 0.2


async def demo(path: Path | None, *, fresh: bool, common: Common) -> int:
    """Work off the orders and tell how it ended.

    Raises:
        InvalidInput: If the file does not hold orders.
        Told: If it cannot be read, or the demo was interrupted.
        UnusableStore: If the store cannot be used.
        StoreUnavailable: If it cannot be reached.
    """
    orders = read_orders(path)
    url = StoreUrl.parse(common.store)
    ledger = Ledger(ledger_path(url))
    is_new = url.path is not None and not url.path.exists()
    log_to_stderr(least="critical")
    async with open_kernel(
        url, registry=Registry([order]), settings=Settings(lease_ttl=LEASE), concurrency=SLOTS
    ) as opened:
        batch = await open_batch(opened.kernel, orders, ledger=ledger.path, fresh=fresh)
        say = note if common.json else show
        say(*_facts(url, ledger, is_new=is_new), *(f"↻ {line}" for line in greeting(batch, now=opened.clock.now())), "")
        progress = Progress(batch, opened.persistence)
        await progress.skip_history()
        started = opened.clock.now()
        try:
            async with _working(opened):
                look = await _watch(progress, batch, opened, common=common)
        except asyncio.CancelledError:
            raise _interrupted(common) from None
        ending = await Ending.read(batch, look, ledger=ledger, persistence=opened.persistence, started=started)
    tell_ending(ending, common=common)
    return Exit.DONE if all(one.run.status is RunStatus.COMPLETED for one in look.orders) else Exit.FAILED


def ledger_path(url: StoreUrl) -> Path:
    """Return where the demo writes down its effects: beside the store, or in the present folder."""
    return Path("holdfast.demo-ledger.jsonl") if url.path is None else Path(f"{url.path}.demo-ledger.jsonl")


@asynccontextmanager
async def _working(opened: Opened) -> AsyncGenerator[None]:
    """Run a worker while the context lasts."""
    settings = WorkerSettings(concurrency=SLOTS, reap_interval=REAP_INTERVAL, drain_timeout=timedelta(seconds=2))
    worker = Worker(opened, settings=settings)
    await worker.start()
    try:
        yield
    except BaseException:
        worker.abort()
        raise
    finally:
        await worker.stop()


async def _watch(progress: Progress, batch: Batch, opened: Opened, *, common: Common) -> Look:
    stream = sys.stderr if common.json else sys.stdout
    if console(stream).is_terminal:
        return await _draw(progress, batch, opened, json=common.json)
    chronicle = Chronicle(utc=common.utc)
    while True:
        look = await progress.look(now=opened.clock.now())
        lines = list(chronicle.lines(look))
        if lines:
            (note if common.json else show)(*lines)
        if look.is_done:
            return look
        await asyncio.sleep(INTERVAL)


async def _draw(progress: Progress, batch: Batch, opened: Opened, *, json: bool) -> Look:
    from rich.live import Live

    from holdfast_hosts.cli.demo.board import board

    paper = console(sys.stderr if json else sys.stdout)
    started = opened.clock.now()
    with Live(console=paper, auto_refresh=False) as live:
        while True:
            look = await progress.look(now=opened.clock.now())
            live.update(board(look, remark=_remark(batch, look), started=started, console=paper), refresh=True)
            if look.is_done:
                return look
            await asyncio.sleep(INTERVAL)


def _remark(batch: Batch, look: Look) -> str:
    if look.is_done:
        return ""
    return waiting_for_lease(batch.leased_until, now=look.at) or (
        "kill me half-way, even with kill -9, and start me again: I go on where I was"
    )


def _facts(url: StoreUrl, ledger: Ledger, *, is_new: bool) -> list[str]:
    return [
        f"✓ store   {clean(str(url))}{' (created)' if is_new else ''}",
        f"✓ worker  {SLOTS} slots, leases of {LEASE.total_seconds():g} s",
        f"✓ ledger  {clean(str(ledger.path))}, where every effect is written down",
    ]


def _interrupted(common: Common) -> Told:
    return Told(
        Problem(
            code="E1001",
            what="Interrupted; every order stays where it is.",
            fix=(f"Go on: {common.command('demo')}",),
            exit=Exit.INTERRUPTED,
        )
    )
