"""Every two commands on one run, sent by two processes at once, come one after the other: nobody waits in a circle."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import combinations_with_replacement, product
from typing import Any, Final

import attrs
import psycopg
import pytest

from holdfast.command import Command
from holdfast.commands.run_transition import TransitionAction
from holdfast.entities.run import RunStatus
from holdfast.errors import Conflict, Rejected
from holdfast.kernel import COMMANDS
from holdfast_testing.contracts.samples import ended
from tests.adapters.postgres.processes import Busy, Process, commands, make_busy, processes
from tests.adapters.postgres.test_locks import deadlocks
from tests.adapters.postgres.test_waves import broken
from tests.postgres import empty_url

#: The field of each result that tells whether anything was done.
TELLING: Final = {
    "run.create": "run_id",
    "run.claimPending": "claimed",
    "job.execute": "output",
    "job.heartbeat": "lost",
    "lease.reapStale": "released",
    "stage.pollSuspended": "resumed",
    "timer.fireDue": "fired",
    "outbox.flush": "published",
    "run.transition": "action",
    "run.resume": "outcome",
    "run.cancel": "cancelled",
    "run.pause": "paused",
    "run.unpause": "unpaused",
    "run.rerunFrom": "superseded",
    "run.retry": "retried",
    "run.prune": "pruned",
}
NAMES: Final = tuple(TELLING)
#: How often is looked whether both wait or are done, at most: some wait for nobody and are done only afterwards.
LOOKS: Final = 100

Connection = psycopg.AsyncConnection[Any]


async def prepare(name: str, busy: Busy, process: Process) -> None:
    """Bring the run to where the command has something to do."""
    if name == "run.unpause":
        await process.kernel.dispatch(commands(busy, process)["run.pause"])
    elif name == "run.rerunFrom":
        await process.kernel.dispatch(commands(busy, process)["run.cancel"])
    elif name == "run.retry":
        await process.store.commit([attrs.evolve(ended(status=RunStatus.FAILED), run_id=busy.run_id)])
    elif name == "run.prune":
        for before in ("run.cancel", "timer.fireDue", "outbox.flush"):
            await process.kernel.dispatch(commands(busy, process)[before])
        process.clock.advance("2s")


async def meet(one: Process, other: Process, *, names: Sequence[str], holder: Connection, watch: Connection) -> None:
    """Let two processes send a command each while somebody else holds the run, and then let go of it."""
    busy = await make_busy(one)
    await prepare(names[0], busy, one)
    await holder.execute("SELECT 1 FROM holdfast.run WHERE id = %s FOR UPDATE", (busy.run_id,))
    sent = [
        asyncio.create_task(answer(process, commands(busy, process)[name]))
        for process, name in zip((one, other), names, strict=True)
    ]
    for _ in range(LOOKS):
        looked = await watch.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        )
        ((waiting,),) = await looked.fetchall()
        if waiting + sum(task.done() for task in sent) == len(sent):
            break
    await holder.rollback()
    async with asyncio.timeout(10):
        await asyncio.gather(*sent)


async def answer(process: Process, command: Command[Any]) -> object:
    """Return what the process says, be it that it cannot be done."""
    try:
        return await process.kernel.dispatch(command)
    except (Rejected, Conflict) as error:
        return error


def play(pairs: Sequence[tuple[str, str]]) -> None:
    """Let every pair meet on a run of its own."""
    url = empty_url()
    before = deadlocks(url)

    async def main() -> None:
        async with (
            processes(url, url) as (one, other),
            await psycopg.AsyncConnection.connect(url) as holder,
            await psycopg.AsyncConnection.connect(url, autocommit=True) as watch,
        ):
            for names in pairs:
                empty_url()
                await meet(one, other, names=names, holder=holder, watch=watch)
                assert not broken(url), names

    asyncio.run(main())
    assert deadlocks(url) == before


@pytest.mark.parametrize("part", range(4))
def test_every_two_commands_on_one_run_get_through(part: int) -> None:
    """No pair of commands waits in a circle, whoever comes first, and each finds the run whole."""
    play(list(combinations_with_replacement(NAMES, 2))[part::4])


@pytest.mark.slow
def test_a_thousand_pairs_of_commands_get_through() -> None:
    """In both orders and again and again there is no circle of waiting."""
    play([*product(NAMES, NAMES)] * 5)


def test_every_command_is_among_the_pairs(url: str) -> None:
    """No command that writes to runs is left out, and alone each of them does what the pairs have it for."""
    did: dict[str, object] = {}

    async def main() -> None:
        async with processes(url) as (process,):
            for name in NAMES:
                empty_url()
                busy = await make_busy(process)
                await prepare(name, busy, process)
                result: Any = await process.kernel.dispatch(commands(busy, process)[name])
                did[name] = getattr(result, TELLING[name])

    asyncio.run(main())
    kinds = ("run", "job", "lease", "stage", "timer", "outbox")
    assert set(NAMES) == {name for name in COMMANDS if name.partition(".")[0] in kinds}
    assert did.pop("run.transition") is TransitionAction.NOOP
    assert did.pop("job.heartbeat") == ()
    assert all(did.values()), did
