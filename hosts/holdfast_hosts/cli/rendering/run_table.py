"""The table of runs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rich.table import Table
from rich.text import Text

from holdfast.entities.run import Run
from holdfast_hosts.cli.looking import Listed
from holdfast_hosts.cli.rendering.names import stage_words
from holdfast_hosts.cli.rendering.shortening import prefix_length
from holdfast_hosts.cli.rendering.statuses import run_status
from holdfast_hosts.cli.rendering.times import near_time, took
from holdfast_hosts.cli.rendering.wait_words import held_words, waits_line
from holdfast_hosts.cli.shapes import run_length
from holdfast_hosts.cli.spelling import clean, one_line


def run_table(runs: Sequence[Listed], *, now: datetime, utc: bool) -> Table:
    """Return the table of *runs*, ids cut to what tells them apart."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("STATUS", "ID"):
        table.add_column(heading, no_wrap=True)
    table.add_column("KEY", no_wrap=True, overflow="ellipsis", max_width=28)
    table.add_column("WORKFLOW", no_wrap=True, overflow="ellipsis", max_width=28)
    table.add_column("CREATED (UTC)" if utc else "CREATED", no_wrap=True)
    table.add_column("TOOK", no_wrap=True, justify="right")
    reasons = [_why(one, now=now, utc=utc) for one in runs]
    if any(reasons):
        table.add_column("WHY", no_wrap=True, overflow="ellipsis", ratio=1)
    length = prefix_length(one.run.id for one in runs)
    for one, reason in zip(runs, reasons, strict=True):
        run = one.run
        cells = [
            run_status(run.status),
            Text(run.id[:length]),
            Text(clean(run.idempotency_key or "–")),
            Text(clean(run.header.workflow_id)),
            Text(near_time(run.created_at, now=now, utc=utc)),
            Text(_length(run, now=now)),
        ]
        if any(reasons):
            cells.append(Text(reason))
        table.add_row(*cells)
    return table


def _length(run: Run, *, now: datetime) -> str:
    length = run_length(run, now=now)
    return "–" if length is None else took(length)


def _why(one: Listed, *, now: datetime, utc: bool) -> str:
    """Return why the run failed, what it waits for, or until when it is held."""
    failure = one.run.failure
    if failure is None:
        return waits_line(one.waits, now=now) or held_words(one.run, one.begins, utc=utc)
    stage = f"{stage_words(failure.stage_id)}: " if failure.stage_id else ""
    return one_line(f"{stage}{failure.message}")
