"""Queues as a table, and limits in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.table import Table
from rich.text import Text

from holdfast.entities.queue import QueueLimits, QueueState
from holdfast_hosts.cli.rendering.times import took
from holdfast_hosts.cli.spelling import clean


def queue_table(states: Sequence[QueueState]) -> Table:
    """Return the table of queues."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("QUEUE", no_wrap=True, overflow="ellipsis", max_width=40)
    for heading in ("READY", "LEASED", "OLDEST"):
        table.add_column(heading, no_wrap=True, justify="right")
    table.add_column("LIMITS", no_wrap=True, overflow="ellipsis", ratio=1)
    for state in states:
        table.add_row(
            Text(clean(state.limits.name)),
            f"{state.ready:,}",
            f"{state.leased:,}",
            "–" if state.oldest is None else took(state.oldest),
            Text(limit_words(state.limits)),
        )
    return table


def limit_words(limits: QueueLimits) -> str:
    """Return the limits of a queue in words."""
    return ", ".join(_words(limits)) or "no limits"


def _words(limits: QueueLimits) -> Iterator[str]:
    if limits.paused:
        yield "paused"
    if limits.concurrency is not None:
        yield f"{limits.concurrency:,} at once"
    if limits.per_key is not None:
        yield f"{limits.per_key:,} of one key"
    rate = limits.rate
    if rate is not None:
        saved = "" if rate.burst == rate.tokens else f", {rate.burst:,} saved up at most"
        yield f"{rate.tokens:,} tokens each {took(rate.period)}{saved}"
