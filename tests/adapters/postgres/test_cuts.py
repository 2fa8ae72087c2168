"""Every command when the connection is cut at anything that is said to the server, before the server hears or after."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import Final

import attrs
import pytest

from holdfast.commands.lease_reap_stale import LeaseReapStale
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageKey, StageStatus
from holdfast.errors import StoreUnavailable, Unavailable
from holdfast.events import EventType
from tests.adapters.postgres.processes import MANY, TTL, Process, commands, make_busy, processes
from tests.adapters.postgres.proxy import Cut, Proxy, proxy
from tests.adapters.postgres.test_pairs import NAMES, prepare
from tests.adapters.postgres.test_waves import broken
from tests.postgres import empty_url

OPERATION: Final = "once"
#: The commands that are told twice what they did once.
REPEATED: Final = frozenset(
    ("run.create", "run.resume", "run.cancel", "run.pause", "run.unpause", "run.rerunFrom", "run.retry")
)
#: Those whose outcome is always found out before anybody is told; a settlement is known by its lease.
RESOLVED: Final = REPEATED | {"job.execute", "job.heartbeat"}
#: A lease that was granted unheard is taken back when it ends.
LEASING: Final = "stage.pollSuspended"


@attrs.frozen(kw_only=True)
class Left:
    """What a command left behind."""

    status: RunStatus
    events: Sequence[tuple[EventType, str]]
    stages: Sequence[tuple[str, StageStatus, int]]


async def left(process: Process, run_id: str) -> Left | None:
    """Return what there is of the run, None if it is gone; without ids, which depend on how often somebody tried."""
    run = await process.store.find_run(run_id)
    if run is None:
        return None
    events = await process.store.list_events(run_id, limit=MANY)
    stages = await process.store.list_stages(run_id)
    return Left(
        status=run.status,
        events=[(event.type, _short(event.key)) for event in events],
        stages=sorted((_short(stage.key), stage.status, stage.attempt) for stage in stages),
    )


def _short(key: StageKey | None) -> str:
    return "" if key is None else f"{key.stage_id} {key.generation}.{key.turn}.{key.item}"


@attrs.frozen(kw_only=True)
class Case:
    """One command, cut at one of the things that its process says; 0 for at none."""

    name: str
    turn: int
    how: Cut


async def play(case: Case, *, one: Process, way: Proxy) -> tuple[object, Left | None, int]:
    """Return what the caller was told, what was left when it had its answer, and how often its process spoke."""
    empty_url()
    busy = await make_busy(one)
    await prepare(case.name, busy, one)
    before = await left(one, busy.run_id)
    async with processes(way.url, beside=one) as (other,):
        command = commands(busy, other, operation_id=OPERATION)[case.name]
        said = way.said
        way.cut_at_turn(case.turn, case.how)
        told: object
        try:
            told = await other.kernel.dispatch(command)
        except Unavailable as error:
            told = error
        turns = way.said - said
    if isinstance(told, StoreUnavailable) and case.name in RESOLVED:
        assert await left(one, busy.run_id) == before, case
    again = await one.kernel.dispatch(command)
    if case.name in REPEATED and not isinstance(told, Unavailable):
        assert again == told, case
    assert not broken(one.url), case
    found = await left(one, busy.run_id)
    if case.name == LEASING:
        one.clock.advance(TTL)
        for later in (LeaseReapStale(), command):
            await one.kernel.dispatch(later)
        (stage,) = [stage for stage in await one.store.list_stages(busy.run_id) if stage.key.stage_id == "Labels"]
        assert stage.status is StageStatus.COMPLETED, case
    return told, found, turns


@pytest.mark.parametrize("name", NAMES)
def test_every_command_survives_a_cut_anywhere(url: str, name: str) -> None:
    """Wherever the connection is cut, the caller is told the truth, and asking again leaves what one call leaves."""
    told: Counter[str] = Counter()

    async def main() -> None:
        async with proxy(url) as way, processes(url) as (one,):
            answer, whole, turns = await play(Case(name=name, turn=0, how=Cut.BEFORE), one=one, way=way)
            told[type(answer).__name__] += 1
            for turn, how in product(range(1, turns + 1), (Cut.BEFORE, Cut.AFTER)):
                case = Case(name=name, turn=turn, how=how)
                answer, found, _ = await play(case, one=one, way=way)
                told[type(answer).__name__] += 1
                assert found == whole or name == LEASING, case

    asyncio.run(main())
    assert told.total() > 2, "something is said to the server"
    # One answer, or one of two errors.
    assert len(told.keys() - {"StoreUnavailable", "CommitUnknown"}) == 1, told
    assert "CommitUnknown" not in told or name not in RESOLVED, told
