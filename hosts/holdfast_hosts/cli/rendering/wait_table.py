"""The table of waits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.table import Table
from rich.text import Text

from holdfast.entities.wait import Wait, WaitKind
from holdfast_hosts.cli.rendering.names import instance_words
from holdfast_hosts.cli.rendering.times import date_time, near_time, took
from holdfast_hosts.cli.rendering.wait_words import SLEEP_PREFIX
from holdfast_hosts.cli.spelling import clean, one_line

_FOR = {WaitKind.PAYLOAD: "an answer", WaitKind.SLEEP: "the time", WaitKind.CHILD: "a child run"}


def wait_table(waits: Sequence[Wait], *, now: datetime, utc: bool) -> Table:
    """Return the table of open *waits*: which, in which stage, since when, for what and how long at most."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("NAME", "STAGE", "SINCE (UTC)" if utc else "SINCE"):
        table.add_column(heading, no_wrap=True)
    table.add_column("FOR", overflow="fold")
    table.add_column("LIMIT (UTC)" if utc else "LIMIT", no_wrap=True)
    for wait in waits:
        reason = f": {one_line(wait.reason)}" if wait.reason else ""
        since = f"{near_time(wait.opened_at, now=now, utc=utc)}, {took(now - wait.opened_at)} ago"
        table.add_row(
            Text(clean(wait.name.removeprefix(SLEEP_PREFIX) if wait.kind is WaitKind.SLEEP else wait.name)),
            Text(instance_words(wait.key)),
            Text(since),
            Text(f"{_FOR[wait.kind]}{reason}"),
            Text("–" if wait.due_at is None else date_time(wait.due_at, utc=utc)),
        )
    return table
