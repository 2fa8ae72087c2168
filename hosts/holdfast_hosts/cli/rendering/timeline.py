"""A run's timeline as a table or line by line, and what its live stages are doing or waiting for now."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Final

from rich.table import Table
from rich.text import Text

from holdfast.entities.stage import StageInstance, StageStatus
from holdfast.entities.wait import Wait
from holdfast.events import Event
from holdfast_hosts.cli.rendering.event_words import Moment, Teller
from holdfast_hosts.cli.rendering.folded import Row, gap_of, number_of
from holdfast_hosts.cli.rendering.names import instance_words
from holdfast_hosts.cli.rendering.stage_table import standing
from holdfast_hosts.cli.rendering.times import date_time, time_of_day, took
from holdfast_hosts.cli.rendering.wait_words import by_instance
from holdfast_hosts.cli.spelling import clean

#: Facts of one commit share their instant.
_NO_TIME: Final = timedelta(milliseconds=0.5)
#: Live stage instances that are told of one by one.
MOST_LIVE: Final = 12


def waits(
    stages: Iterable[StageInstance], teller: Teller, *, now: datetime, open: Iterable[Wait] = ()
) -> list[tuple[str, str]]:
    """Return what the live stage instances are doing or waiting for, with their names."""
    waiting = by_instance(open)
    live = [stage for stage in stages if not stage.status.is_terminal and not stage.superseded]
    told = [
        (instance_words(stage.key), _waiting(stage, teller, now=now, open=waiting.get(stage.key, ())))
        for stage in live[:MOST_LIVE]
    ]
    return told if len(live) <= MOST_LIVE else [*told, ("", f"and {len(live) - MOST_LIVE:,} more")]


def _waiting(stage: StageInstance, teller: Teller, *, now: datetime, open: Sequence[Wait]) -> str:
    since = teller.since(stage)
    if stage.status is StageStatus.WAITING and open:
        since = min(wait.opened_at for wait in open)
    length = "" if since is None else f" for {took(now - since)}"
    words = standing(stage, now=now, open=open)
    return f"{stage.status.value.lower()}{length}{f'; {words}' if words else ''}"


def timeline_table(rows: Iterable[Row], *, utc: bool, waits: Iterable[tuple[str, str]] = ()) -> Table:
    """Return the timeline as a table, with what is waited for below."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("TIME (UTC)" if utc else "TIME", no_wrap=True)
    table.add_column("AFTER", justify="right", no_wrap=True)
    table.add_column("STAGE", no_wrap=True)
    table.add_column("WHAT HAPPENED", overflow="fold")
    day = None
    for row in rows:
        at, gap = _first(row).at, gap_of(row)
        today = date_time(at, utc=utc)[:10]
        if day not in {None, today}:
            table.add_row("", Text(today, style="dim"))
        day = today
        words, style = _words(row)
        table.add_row(
            Text(str(number_of(row)), style="dim"),
            Text(time_of_day(at, utc=utc)),
            Text("" if gap is None or gap < _NO_TIME else f"+{took(gap)}", style="dim"),
            Text(clean(row.subject)),
            Text(words, style=style),
        )
    for subject, said in waits:
        table.add_row("", Text("now", style="bold"), "", Text(clean(subject)), Text(f"… {clean(said)}", style="bold"))
    return table


def line(row: Row, *, utc: bool) -> Text:
    """Return one row as a line, for following a run that is going on."""
    words, style = _words(row)
    return Text.assemble(
        (f"{number_of(row):>4}", "dim"),
        f"  {time_of_day(_first(row).at, utc=utc)}",
        f"  {clean(row.subject):<14}",
        (f"  {words}", style),
    )


def _first(row: Row) -> Event:
    return row.event if isinstance(row, Moment) else row.first.event


def _words(row: Row) -> tuple[str, str]:
    if isinstance(row, Moment):
        return f"{row.icon} {clean(row.words)}", row.style
    length = row.last.at - row.first.event.at
    took_long = f" in {took(length)}" if length >= _NO_TIME else ""
    return f"≡ {clean(row.words)}{took_long} ({row.events:,} events)", "cyan"
