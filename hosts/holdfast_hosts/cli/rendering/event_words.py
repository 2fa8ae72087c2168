"""Events in words: what happened, who did it, why, how long it took and what comes next."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Final

import attrs

from holdfast.entities.stage import StageInstance, StageKey, StageStatus
from holdfast.events import Event, EventType
from holdfast_hosts.cli.rendering.names import instance_words, listed, stage_words, way_words
from holdfast_hosts.cli.rendering.shortening import worker_name
from holdfast_hosts.cli.rendering.times import took
from holdfast_hosts.cli.rendering.wait_words import awaited, kind_of, told_waits
from holdfast_hosts.cli.spelling import counted, one_line

#: Icon, style and words of an event.
Told = tuple[str, str, str]


@attrs.frozen(kw_only=True)
class Moment:
    """One event as a person reads it."""

    event: Event
    #: Since the event before; None for the first one.
    gap: timedelta | None
    icon: str
    style: str
    #: The stage with its generation, round and item, or ``run``.
    subject: str
    words: str


class Teller:
    """Turns events, in order, into moments; remembers what durations are counted from."""

    def __init__(self) -> None:
        self._last: datetime | None = None
        self._since: dict[StageKey | None, datetime] = {}
        self._suspended: dict[StageKey, datetime] = {}
        self._waiting: dict[StageKey | None, datetime] = {}

    def tell(self, event: Event) -> Moment:
        """Return the moment of the next event."""
        icon, style, words = _TELLING[event.type](self, event)
        moment = Moment(
            event=event,
            gap=None if self._last is None else event.at - self._last,
            icon=icon,
            style=style,
            subject="run" if event.key is None else instance_words(event.key),
            words=words,
        )
        self._last = event.at
        if event.key is not None and event.type in _LAST:
            # A map has very many instances, and nothing more is told of those that are done.
            self._since.pop(event.key, None)
        return moment

    def since(self, stage: StageInstance) -> datetime | None:
        """Return since when the live *stage* has been what it is."""
        if stage.status is StageStatus.SUSPENDED:
            return self._suspended.get(stage.key)
        if stage.status is StageStatus.WAITING:
            return self._waiting.get(stage.key)
        return self._since.get(stage.key)

    def _begin(self, event: Event) -> None:
        self._since[event.key] = event.at

    def _length(self, event: Event) -> str:
        since = self._since.get(event.key)
        return "" if since is None else f" {took(event.at - since)}"

    def _waited(self, event: Event) -> str:
        since = self._waiting.pop(event.key, None)
        return "" if since is None else f" after {took(event.at - since)}"

    def run_created(self, event: Event) -> Told:
        """Tell that the run was created, by whom and when it begins."""
        data = event.data
        parent = f" by run {data['parentId']}" if "parentId" in data else ""
        held = f"; it begins in {_seconds(data, 'startInSeconds')}" if "startInSeconds" in data else ""
        words = f"created{parent} for {data.get('workflowId')} version {data.get('workflowVersion')}{held}"
        return "·", "dim", words

    def run_due(self, _: Event) -> Told:
        """Tell that a run may begin that was created to start later."""
        return "○", "blue", "its time has come, waits for a worker"

    def run_started(self, event: Event) -> Told:
        """Tell that the run was admitted."""
        self._begin(event)
        return "▶", "cyan", "started"

    def run_completed(self, event: Event) -> Told:
        """Tell that the run is complete."""
        return "✓", "bold green", f"completed in{self._length(event)}"

    def run_failed(self, event: Event) -> Told:
        """Tell that the run failed, and why."""
        return "✕", "bold red", f"failed{_cause(event.data)}"

    def run_cancelled(self, event: Event) -> Told:
        """Tell that the run was cancelled, and the reason if one was given."""
        reason = event.data.get("reason")
        return "⊘", "yellow", f"cancelled: {one_line(str(reason))}" if reason else "cancelled"

    def run_rerun(self, event: Event) -> Told:
        """Tell what is done again."""
        self._begin(event)
        again = listed(event.data.get("stages", ()))
        return "↻", "cyan", f'rerun from "{event.data.get("fromStage")}", does again: {again}'

    def run_retried(self, event: Event) -> Told:
        """Tell what is tried again."""
        self._begin(event)
        return "↻", "cyan", f"retried, does again: {listed(event.data.get('stages', ())) or 'what had not been done'}"

    def run_paused(self, event: Event) -> Told:
        """Tell that the run was held back, and the reason if one was given."""
        self._waiting[None] = event.at
        reason = event.data.get("reason")
        return "‖", "yellow", f"paused: {one_line(str(reason))}" if reason else "paused"

    def run_unpaused(self, event: Event) -> Told:
        """Tell that the run goes on, and how long it was held back."""
        return "▶", "cyan", f"goes on{self._waited(event)}"

    def run_compensating(self, event: Event) -> Told:
        """Tell that what its stages did is being undone, and why."""
        data = event.data
        because = data.get("because", "failed")
        reason = f": {one_line(str(data['reason']))}" if data.get("reason") else ""
        why = reason if because != "failed" else _cause(data)
        return "↶", "yellow", f"{because}{why}; what its stages did is undone"

    def run_message_kept(self, event: Event) -> Told:
        """Tell that an answer came before its wait was opened."""
        return "✉", "blue", f'answer to "{event.data.get("name")}"{_by(event.data)} came early and is kept'

    def stage_ready(self, event: Event) -> Told:
        """Tell that a job waits for a worker."""
        self._begin(event)
        return "○", "blue", "ready, waits for a worker"

    def stage_started(self, event: Event) -> Told:
        """Tell who began which attempt."""
        self._begin(event)
        return "▶", "cyan", f"try {event.data.get('attempt')} started on {_who(event)}"

    def stage_progress(self, event: Event) -> Told:
        """Tell how far the attempt is."""
        done, total = event.data.get("done"), event.data.get("total")
        far = f"{done:g} of {total:g}" if isinstance(total, int | float) else f"{done}"
        message = event.data.get("message")
        return "…", "dim", f"{far} done{f', {one_line(str(message))}' if message else ''}"

    def stage_suspended(self, event: Event) -> Told:
        """Tell when the suspended stage is polled and given up."""
        assert event.key is not None, "only stage instances suspend"
        after = self._length(event)
        self._suspended[event.key] = event.at
        poll, limit = _seconds(event.data, "pollInSeconds"), _seconds(event.data, "giveUpInSeconds")
        return "◷", "magenta", f"suspended after{after}; first poll in {poll}, given up after {limit}"

    def stage_poll_failed(self, event: Event) -> Told:
        """Tell why a poll failed and when the next one is."""
        return "✕", "red", f"poll failed: {_why(event.data)}{_next(event.data, 'poll')}"

    def stage_retrying(self, event: Event) -> Told:
        """Tell why an attempt failed and when the next one is."""
        attempt = event.data.get("attempt")
        words = f"try {attempt} failed after{self._length(event)}: {_why(event.data)}{_next(event.data, 'try')}"
        return "✕", "red", words

    def stage_released(self, event: Event) -> Told:
        """Tell who handed the job back."""
        return "↩", "yellow", f"handed back by {_who(event)}; the try does not count"

    def stage_lease_expired(self, event: Event) -> Told:
        """Tell whose lease ended."""
        attempt = event.data.get("attempt")
        return "✕", "yellow", f"taken back: {_who(event)} fell silent during try {attempt} and its lease ended"

    def stage_completed(self, event: Event) -> Told:
        """Tell how long the stage took, of that how long it was suspended, and which edge was taken and why."""
        data, style = event.data, "green"
        suspended = self._suspended.pop(event.key, None) if event.key is not None else None
        words = f"completed in{self._length(event)}"
        if data.get("cached"):
            words = "completed: cached, the result is an earlier one"
        if "items" in data:
            words = f"split into {counted(int(data['items']), 'item')}"
        if suspended is not None:
            words += f", suspended for {took(event.at - suspended)}"
        if data.get("edge"):
            words += f" {way_words(str(data['edge']), data.get('because'))}"
        elif "edge" in data:
            words, style = f"{words}, but there is no way on: {one_line(str(data.get('because') or ''))}", "red"
        return "✓", style, words

    def stage_failed(self, event: Event) -> Told:
        """Tell why the stage failed for good."""
        return "✕", "bold red", f"failed for good on try {event.data.get('attempt')}: {_why(event.data)}"

    def stage_skipped(self, _: Event) -> Told:
        """Tell that the stage will not execute."""
        return "–", "dim", "skipped, no way led here"

    def stage_waiting(self, event: Event) -> Told:
        """Tell what the stage waits for, why and how long."""
        self._waiting[event.key] = event.at
        return "◷", "magenta", f"waits for {told_waits(event.data.get('waits', ()))}"

    def stage_resumed(self, event: Event) -> Told:
        """Tell who answered what, and how long that took."""
        data = event.data
        name = str(data.get("name", ""))
        waited = self._waited(event)
        if "child" in data:
            return "▶", "cyan", f"child run {data['child']} {str(data.get('status', '')).lower()}{waited}"
        if data.get("early"):
            return "▶", "cyan", f"goes on at once: {awaited(name, kind_of(name))} was there already"
        return "▶", "cyan", f"{awaited(name, kind_of(name))} answered{_by(data)}{waited}"

    def stage_wait_expired(self, event: Event) -> Told:
        """Tell which wait reached its limit."""
        name = str(event.data.get("name", ""))
        waited = self._waited(event)
        if kind_of(name) == "SLEEP":
            return "▶", "cyan", f"{awaited(name, 'SLEEP')} is over{waited}"
        return "◷", "yellow", f"nobody answered {awaited(name, kind_of(name))} in time{waited}"

    def stage_key_awaited(self, event: Event) -> Told:
        """Tell who holds the key that the stage executes under."""
        look = _seconds(event.data, "delaySeconds")
        return "◷", "magenta", f"its key is held by run {event.data.get('holder')}; looks again in {look}"

    def stage_child_started(self, event: Event) -> Told:
        """Tell which run was started."""
        data = event.data
        return "⤷", "cyan", f'started child "{data.get("name")}": run {data.get("child")} of {data.get("workflow")}'

    def stage_compensated(self, _: Event) -> Told:
        """Tell that what the stage did has been undone."""
        return "↶", "yellow", "undone"


_TELLING: Final[Mapping[EventType, Callable[[Teller, Event], Told]]] = {
    kind: getattr(Teller, kind.value.replace(".", "_")) for kind in EventType
}

#: Failures of a run that name a stage which has not failed itself.
_NO_STAGE_FAILED: Final = frozenset({"AMBIGUOUS_EDGE", "NO_EDGE", "STEP_LIMIT", "TOO_MANY_FAILED"})
#: Events after which a stage instance has nothing more to tell.
_LAST: Final = frozenset({EventType.STAGE_COMPLETED, EventType.STAGE_FAILED, EventType.STAGE_SKIPPED})


def _who(event: Event) -> str:
    return worker_name(event.data.get("worker"))


def _by(data: Mapping[str, Any]) -> str:
    return f" by {one_line(str(data['by']))}" if data.get("by") else ""


def _cause(data: Mapping[str, Any]) -> str:
    if "stage" not in data or data.get("code") in _NO_STAGE_FAILED:
        return f": {_why(data)}"
    return f' because "{stage_words(str(data["stage"]))}" failed'


def _why(data: Mapping[str, Any]) -> str:
    code, message = str(data.get("code", "")), one_line(str(data.get("message") or ""))
    if code in {"", "STAGE_ERROR"}:
        return message
    return f"{message} ({code})" if message else code


def _seconds(data: Mapping[str, Any], name: str) -> str:
    return took(timedelta(seconds=float(data.get(name, 0))))


def _next(data: Mapping[str, Any], what: str) -> str:
    return f"; next {what} in {_seconds(data, 'delaySeconds')}" if "delaySeconds" in data else ""
