"""`holdfast runs list`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.entities.run import Run, RunStatus
from holdfast.ports.persistence import Persistence
from holdfast.ports.queries import RunFilter
from holdfast_hosts.cli.finding import find_run
from holdfast_hosts.cli.looking import Listed, begins_at, open_waits_of
from holdfast_hosts.cli.opening import opened, store_now
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, note, show
from holdfast_hosts.cli.shapes import instant_shape, run_shape, wait_shape
from holdfast_hosts.cli.spelling import counted, did_you_mean
from holdfast_hosts.cli.usage import misused

#: The longest page.
MAX_LIMIT = 1_000


async def list_runs(
    statuses: Sequence[str], *, workflow: str | None, key: str | None, limit: int, before: str | None, common: Common
) -> int:
    """List the runs that the options leave over.

    Raises:
        Told: If an option is out of bounds, or there is no store.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise misused(f"--limit is {limit}; it is from 1 to {MAX_LIMIT:,}.")
    where = RunFilter(statuses=_statuses(statuses), workflow_id=workflow, idempotency_key=key)
    async with opened(common) as store:
        anchor = None if before is None else (await find_run(before, store.persistence)).id
        # One more than wanted tells whether there is another page.
        runs = await store.persistence.list_runs(where, limit=limit + 1, before=anchor)
        looked = [await _look(run, store.persistence) for run in runs[:limit]]
        _print(looked, more=len(runs) > limit, common=common)
    return 0


async def _look(run: Run, persistence: Persistence) -> Listed:
    is_waiting = run.status is RunStatus.WAITING
    return Listed(
        run=run,
        waits=await open_waits_of(run, persistence) if is_waiting else (),
        begins=await begins_at(run, persistence),
    )


def _print(runs: Sequence[Listed], *, more: bool, common: Common) -> None:
    last = runs[-1].run.id if more else None
    if common.json:
        answer({"runs": [_shape(one) for one in runs], "before": last})
        return
    if not runs:
        note("No runs.")
        return
    from holdfast_hosts.cli.rendering.run_table import run_table

    show(run_table(runs, now=store_now(), utc=common.utc))
    note(f"{counted(len(runs), 'run')}" + (f" · older ones: --before {last}" if more else ""))


def _shape(one: Listed) -> dict[str, Any]:
    waits = [wait_shape(wait) for wait in one.waits]
    return {**run_shape(one.run), "waits": waits, "startsAt": instant_shape(one.begins)}


def _statuses(names: Sequence[str]) -> frozenset[RunStatus]:
    known = {status.value.lower(): status for status in RunStatus}
    wanted = [name.strip().lower() for given in names for name in given.split(",")]
    for name in wanted:
        if name not in known:
            near = did_you_mean(name, known)
            raise misused(f'There is no status "{name}".', why=f"There are: {', '.join(known)}.", fix=" ".join(near))
    return frozenset(known[name] for name in wanted)
