"""`holdfast doctor`: what is right and wrong with a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import Final

from holdfast.entities.run import LIVE_RUN, RunStatus
from holdfast.ports.clock import Clock
from holdfast.ports.persistence import Persistence
from holdfast.ports.queries import RunFilter
from holdfast.ports.work import KnownWorkflow
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_hosts.cli.checks import (
    Check,
    Verdict,
    check_counts,
    check_facts,
    check_orphans,
    check_versions,
    check_waits,
    check_workers,
)
from holdfast_hosts.cli.exits import Exit
from holdfast_hosts.cli.loading import load_registry
from holdfast_hosts.cli.looking import open_waits_of
from holdfast_hosts.cli.opening import opened, store_now
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, note, show
from holdfast_hosts.cli.spelling import counted
from holdfast_hosts.roster import lacking, list_cards
from holdfast_hosts.store_url import StoreUrl
from holdfast_hosts.wiring import Opened

#: Runs that are named where there may be many.
NAMED: Final = 5
#: Live runs that are looked at one by one.
LOOKED_AT: Final = 500
#: How long a limit may be past before it is odd that nobody has acted on it.
PATIENCE: Final = timedelta(seconds=30)


async def doctor(modules: Sequence[str], *, common: Common) -> int:
    """Check the store; with *modules*, also whether they cover every live run.

    Raises:
        Told: If there is no store, or a module cannot be loaded.
        UnusableStore: If the store cannot be used, which says why.
        StoreUnavailable: If it cannot be reached.
    """
    registry = load_registry(modules) if modules else None
    known = None if registry is None else registry.known()
    async with opened(common) as store:
        checks = [check async for check in _checks(store, known=known)]
    worst = max(check.verdict for check in checks)
    if common.json:
        answer(
            {"store": str(store.url), "verdict": worst.name.lower(), "checks": [check.as_json() for check in checks]}
        )
    else:
        from holdfast_hosts.cli.rendering.check_table import check_table

        show(check_table(checks))
        note(_verdict(checks))
    return Exit.SETTINGS if worst is Verdict.WRONG else Exit.DONE


async def _checks(store: Opened, *, known: frozenset[KnownWorkflow] | None) -> AsyncIterator[Check]:
    persistence = store.persistence
    if isinstance(persistence, SqlitePersistence):
        for check in check_facts(await persistence.facts(), url=str(store.url)):
            yield check
    elif store.url is not None and store.url.address is not None:
        for check in await _server_checks(store.url, store.url.address, clock=store.clock):
            yield check
    yield check_orphans(await persistence.list_orphans(limit=NAMED + 1), named=NAMED)
    for check in check_counts(await persistence.count()):
        yield check
    yield check_waits(await _overdue(persistence), named=NAMED)
    live = await persistence.list_live_versions()
    yield check_versions(live, known=known)
    cards = await list_cards(store.blob_store, now=store_now())
    missing = {(workflow_id, version) for workflow_id, version, _ in lacking(live, cards)}
    yield check_workers(cards, live, runs={one: await _runs_of(one, persistence) for one in missing})


async def _server_checks(url: StoreUrl, address: str, *, clock: Clock) -> Sequence[Check]:
    # Imported only when it is asked for, like everything that needs the driver.
    from holdfast_adapters.postgres import database_facts
    from holdfast_hosts.cli.checks_postgres import check_server

    facts = await database_facts(address, clock=clock)
    return [*check_server(facts, url=str(url), listens=url.notify and url.listen_at is None)]


async def _overdue(persistence: Persistence) -> list[tuple[str, str]]:
    """Return waits of the newest WAITING runs whose limits nobody has acted on for long."""
    latest = store_now() - PATIENCE
    waiting = await persistence.list_runs(RunFilter(statuses=frozenset({RunStatus.WAITING})), limit=LOOKED_AT)
    return [
        (run.id, wait.name)
        for run in waiting
        for wait in await open_waits_of(run, persistence)
        if wait.due_at is not None and wait.due_at < latest
    ]


async def _runs_of(version: KnownWorkflow, persistence: Persistence) -> list[str]:
    """Return some live runs of a workflow version, newest first."""
    workflow_id, wanted = version
    runs = await persistence.list_runs(RunFilter(statuses=LIVE_RUN, workflow_id=workflow_id), limit=LOOKED_AT)
    return [run.id for run in runs if run.header.workflow_version == wanted][:NAMED]


def _verdict(checks: Sequence[Check]) -> str:
    wrong = sum(check.verdict is Verdict.WRONG for check in checks)
    odd = sum(check.verdict is Verdict.LOOK for check in checks)
    if wrong:
        return f"{counted(wrong, 'thing')} wrong, {counted(odd, 'warning')}."
    return f"{counted(odd, 'warning')}; nothing is wrong." if odd else "Everything is as it should be."
