"""A run's timeline in words: number, time, gap, stage, and what happened, who did it, why, and what it waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import attrs
from rich.table import Table
from rich.text import Text

from holdfast.entities.stage import StageInstance, StageKey, StageStatus
from holdfast.events import Event, EventType
from holdfast_hosts.cli.rendering.run_page import standing
from holdfast_hosts.cli.rendering.shortening import worker_name
from holdfast_hosts.cli.rendering.times import date_time, time_of_day, took
from holdfast_hosts.cli.spelling import clean, one_line

#: Facts of one commit share their instant.
_NO_TIME: Final = timedelta(milliseconds=0.5)


@attrs.frozen(kw_only=True)
class Moment:
    """One event as a person reads it."""

    event: Event
    #: Since the event before; None for the first one.
    gap: timedelta | None
    icon: str
    style: str
    #: The stage with its generation and item, or ``run``.
    subject: str
    words: str


class Teller:
    """Turns events, in order, into moments; remembers what durations are counted from."""

    def __init__(self) -> None:
        self._last: datetime | None = None
        self._since: dict[StageKey | None, datetime] = {}
        self._suspended: dict[StageKey, datetime] = {}

    def tell(self, event: Event) -> Moment:
        """Return the moment of the next event."""
        icon, style, words = _TELLING[event.type](self, event)
        moment = Moment(
            event=event,
            gap=None if self._last is None else event.at - self._last,
            icon=icon,
            style=style,
            subject=_subject(event.key),
            words=words,
        )
        self._last = event.at
        return moment

    def since(self, stage: StageInstance) -> datetime | None:
        """Return since when the live *stage* has been what it is."""
        if stage.status is StageStatus.SUSPENDED:
            return self._suspended.get(stage.key)
        return self._since.get(stage.key)

    def _begin(self, event: Event) -> None:
        self._since[event.key] = event.at

    def _length(self, event: Event) -> str:
        since = self._since.get(event.key)
        return "" if since is None else f" {took(event.at - since)}"

    def run_created(self, event: Event) -> tuple[str, str, str]:
        """Tell that the run was created."""
        data = event.data
        return "·", "dim", f"created for {data.get('workflowId')} version {data.get('workflowVersion')}"

    def run_started(self, event: Event) -> tuple[str, str, str]:
        """Tell that the run was admitted."""
        self._begin(event)
        return "▶", "cyan", "started"

    def run_completed(self, event: Event) -> tuple[str, str, str]:
        """Tell that the run is complete."""
        return "✓", "bold green", f"completed in{self._length(event)}"

    def run_failed(self, event: Event) -> tuple[str, str, str]:
        """Tell that the run failed, and why."""
        stage = f' because "{event.data["stage"]}" failed' if "stage" in event.data else f": {_why(event.data)}"
        return "✕", "bold red", f"failed{stage}"

    def run_cancelled(self, event: Event) -> tuple[str, str, str]:
        """Tell that the run was cancelled, and the reason if one was given."""
        reason = event.data.get("reason")
        return "⊘", "yellow", f"cancelled: {one_line(str(reason))}" if reason else "cancelled"

    def run_rerun(self, event: Event) -> tuple[str, str, str]:
        """Tell what is done again."""
        self._begin(event)
        again = ", ".join(str(stage) for stage in event.data.get("stages", ()))
        return "↻", "cyan", f'rerun from "{event.data.get("fromStage")}", does again: {again}'

    def stage_ready(self, event: Event) -> tuple[str, str, str]:
        """Tell that a job waits for a worker."""
        self._begin(event)
        return "○", "blue", "ready, waits for a worker"

    def stage_started(self, event: Event) -> tuple[str, str, str]:
        """Tell who began which attempt."""
        self._begin(event)
        return "▶", "cyan", f"try {event.data.get('attempt')} started on {_who(event)}"

    def stage_progress(self, event: Event) -> tuple[str, str, str]:
        """Tell how far the attempt is."""
        done, total = event.data.get("done"), event.data.get("total")
        far = f"{done:g} of {total:g}" if isinstance(total, int | float) else f"{done}"
        message = event.data.get("message")
        return "…", "dim", f"{far} done{f', {one_line(str(message))}' if message else ''}"

    def stage_suspended(self, event: Event) -> tuple[str, str, str]:
        """Tell when the suspended stage is polled and given up."""
        assert event.key is not None, "only stage instances suspend"
        after = self._length(event)
        self._suspended[event.key] = event.at
        poll, limit = _seconds(event.data, "pollInSeconds"), _seconds(event.data, "giveUpInSeconds")
        return "◷", "magenta", f"suspended after{after}; first poll in {poll}, given up after {limit}"

    def stage_poll_failed(self, event: Event) -> tuple[str, str, str]:
        """Tell why a poll failed and when the next one is."""
        return "✕", "red", f"poll failed: {_why(event.data)}{_next(event.data, 'poll')}"

    def stage_retrying(self, event: Event) -> tuple[str, str, str]:
        """Tell why an attempt failed and when the next one is."""
        attempt = event.data.get("attempt")
        return (
            "✕",
            "red",
            f"try {attempt} failed after{self._length(event)}: {_why(event.data)}{_next(event.data, 'try')}",
        )

    def stage_released(self, event: Event) -> tuple[str, str, str]:
        """Tell who handed the job back."""
        return "↩", "yellow", f"handed back by {_who(event)}; the try does not count"

    def stage_lease_expired(self, event: Event) -> tuple[str, str, str]:
        """Tell whose lease ended."""
        attempt = event.data.get("attempt")
        return "✕", "yellow", f"taken back: {_who(event)} fell silent during try {attempt} and its lease ended"

    def stage_completed(self, event: Event) -> tuple[str, str, str]:
        """Tell how long the stage took, and of that how long it was suspended."""
        suspended = self._suspended.pop(event.key, None) if event.key is not None else None
        waited = "" if suspended is None else f", suspended for {took(event.at - suspended)}"
        return "✓", "green", f"completed in{self._length(event)}{waited}"

    def stage_failed(self, event: Event) -> tuple[str, str, str]:
        """Tell why the stage failed for good."""
        return "✕", "bold red", f"failed for good on try {event.data.get('attempt')}: {_why(event.data)}"


_TELLING: Final[Mapping[EventType, Callable[[Teller, Event], tuple[str, str, str]]]] = {
    EventType.RUN_CREATED: Teller.run_created,
    EventType.RUN_STARTED: Teller.run_started,
    EventType.RUN_COMPLETED: Teller.run_completed,
    EventType.RUN_FAILED: Teller.run_failed,
    EventType.RUN_CANCELLED: Teller.run_cancelled,
    EventType.RUN_RERUN: Teller.run_rerun,
    EventType.STAGE_READY: Teller.stage_ready,
    EventType.STAGE_STARTED: Teller.stage_started,
    EventType.STAGE_PROGRESS: Teller.stage_progress,
    EventType.STAGE_SUSPENDED: Teller.stage_suspended,
    EventType.STAGE_POLL_FAILED: Teller.stage_poll_failed,
    EventType.STAGE_RETRYING: Teller.stage_retrying,
    EventType.STAGE_RELEASED: Teller.stage_released,
    EventType.STAGE_LEASE_EXPIRED: Teller.stage_lease_expired,
    EventType.STAGE_COMPLETED: Teller.stage_completed,
    EventType.STAGE_FAILED: Teller.stage_failed,
}


def waits(stages: Iterable[StageInstance], teller: Teller, *, now: datetime) -> list[tuple[str, str]]:
    """Return what the live stage instances are doing or waiting for, with their names."""
    live = [stage for stage in stages if not stage.status.is_terminal and not stage.superseded]
    return [(_subject(stage.key), _waiting(stage, since=teller.since(stage), now=now)) for stage in live]


def _waiting(stage: StageInstance, *, since: datetime | None, now: datetime) -> str:
    length = "" if since is None else f" for {took(now - since)}"
    words = standing(stage, now=now)
    return f"{stage.status.value.lower()}{length}{f'; {words}' if words else ''}"


def timeline_table(moments: Iterable[Moment], *, utc: bool, waits: Iterable[tuple[str, str]] = ()) -> Table:
    """Return the timeline as a table, with what is waited for below."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("#", justify="right", no_wrap=True)
    table.add_column("TIME (UTC)" if utc else "TIME", no_wrap=True)
    table.add_column("AFTER", justify="right", no_wrap=True)
    table.add_column("STAGE", no_wrap=True)
    table.add_column("WHAT HAPPENED", overflow="fold")
    day = None
    for moment in moments:
        at = moment.event.at
        today = date_time(at, utc=utc)[:10]
        if day not in {None, today}:
            table.add_row("", Text(today, style="dim"))
        day = today
        table.add_row(
            Text(str(moment.event.number), style="dim"),
            Text(time_of_day(at, utc=utc)),
            Text("" if moment.gap is None or moment.gap < _NO_TIME else f"+{took(moment.gap)}", style="dim"),
            Text(clean(moment.subject)),
            Text.assemble((f"{moment.icon} ", moment.style), (clean(moment.words), moment.style)),
        )
    for subject, words in waits:
        table.add_row("", Text("now", style="bold"), "", Text(clean(subject)), Text(f"… {clean(words)}", style="bold"))
    return table


def line(moment: Moment, *, utc: bool) -> Text:
    """Return one moment as a line, for following a run that is going on."""
    return Text.assemble(
        (f"{moment.event.number:>4}", "dim"),
        f"  {time_of_day(moment.event.at, utc=utc)}",
        f"  {clean(moment.subject):<14}",
        (f"  {moment.icon} {clean(moment.words)}", moment.style),
    )


def _who(event: Event) -> str:
    return worker_name(event.data.get("worker"))


def _subject(key: StageKey | None) -> str:
    if key is None:
        return "run"
    generation = f" #{key.generation}" if key.generation > 1 else ""
    item = f" [{key.item}]" if key.item else ""
    return f"{key.stage_id}{generation}{item}"


def _why(data: Mapping[str, Any]) -> str:
    code, message = str(data.get("code", "")), one_line(str(data.get("message") or ""))
    if code in {"", "STAGE_ERROR"}:
        return message
    return f"{message} ({code})" if message else code


def _seconds(data: Mapping[str, Any], name: str) -> str:
    return took(timedelta(seconds=float(data.get(name, 0))))


def _next(data: Mapping[str, Any], what: str) -> str:
    return f"; next {what} in {_seconds(data, 'delaySeconds')}" if "delaySeconds" in data else ""
