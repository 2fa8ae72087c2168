"""`holdfast runs waits`."""

from __future__ import annotations

from holdfast.entities.wait import Wait, WaitKind
from holdfast_hosts.cli.finding import find_run
from holdfast_hosts.cli.looking import open_waits_of
from holdfast_hosts.cli.opening import opened, store_now
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, note, show
from holdfast_hosts.cli.shapes import wait_shape


async def waits(given: str, *, common: Common) -> int:
    """List the open waits of the run that *given* names.

    Raises:
        RunNotFound: If there is none.
        Told: If it names several, or there is no store.
    """
    async with opened(common) as store:
        run = await find_run(given, store.persistence)
        there = await open_waits_of(run, store.persistence)
    if common.json:
        answer({"runId": run.id, "status": run.status.value, "waits": [wait_shape(wait) for wait in there]})
        return 0
    if not there:
        note(f"Run {run.id} is {run.status.value.lower()} and waits for nothing.")
        return 0
    from holdfast_hosts.cli.rendering.wait_table import wait_table

    show(wait_table(there, now=store_now(), utc=common.utc))
    for wait in there:
        if wait.kind is WaitKind.PAYLOAD:
            note(f"  → {resume_command(wait, common=common)}")
    return 0


def resume_command(wait: Wait, *, common: Common, module: str = "MODULE") -> str:
    """Return the command that answers *wait*, ready to be copied but for the answer."""
    return common.command("runs", "resume", wait.key.run_id, wait.name, "--payload", "JSON", "--module", module)
