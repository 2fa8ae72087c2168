"""`holdfast doctor`: what is right and wrong with a store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from holdfast.ports.persistence import Persistence
from holdfast.ports.work import KnownWorkflow
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_hosts.cli.checks import Check, Verdict, check_counts, check_facts, check_orphans, check_versions
from holdfast_hosts.cli.exits import Exit
from holdfast_hosts.cli.loading import load_registry
from holdfast_hosts.cli.opening import opened
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, note, show
from holdfast_hosts.cli.spelling import counted

#: Orphans that are named.
NAMED = 5


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
        checks = [check async for check in _checks(store.persistence, known=known, url=str(store.url))]
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


async def _checks(
    persistence: Persistence, *, known: frozenset[KnownWorkflow] | None, url: str
) -> AsyncIterator[Check]:
    if isinstance(persistence, SqlitePersistence):
        for check in check_facts(await persistence.facts(), url=url):
            yield check
    yield check_orphans(await persistence.list_orphans(limit=NAMED + 1), named=NAMED)
    for check in check_counts(await persistence.count()):
        yield check
    yield check_versions(await persistence.list_live_versions(), known=known)


def _verdict(checks: Sequence[Check]) -> str:
    wrong = sum(check.verdict is Verdict.WRONG for check in checks)
    odd = sum(check.verdict is Verdict.LOOK for check in checks)
    if wrong:
        return f"{counted(wrong, 'thing')} wrong, {counted(odd, 'warning')}."
    return f"{counted(odd, 'warning')}; nothing is wrong." if odd else "Everything is as it should be."
