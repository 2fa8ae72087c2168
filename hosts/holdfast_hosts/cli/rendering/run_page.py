"""One run as a page: what it is, how far its stages are, and what came out."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

import attrs
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from holdfast.codec import from_json
from holdfast.entities.run import Run
from holdfast.entities.stage import StageInstance, StageKey, StageStatus
from holdfast.ports.queries import Annotation, LogLine
from holdfast_hosts.cli.rendering.shortening import worker_name
from holdfast_hosts.cli.rendering.statuses import run_look, stage_look
from holdfast_hosts.cli.rendering.times import date_time, time_of_day, took
from holdfast_hosts.cli.shapes import run_length
from holdfast_hosts.cli.spelling import clean, counted, one_line

#: Characters of an input or output that a page shows; --json shows all.
SHOWN: Final = 2_000
#: Characters that stand on one line.
SHORT: Final = 70


@attrs.frozen(kw_only=True)
class RunPage:
    """Everything a page tells."""

    run: Run
    stages: Sequence[StageInstance]
    logs: Sequence[LogLine]
    annotations: Sequence[Annotation]
    #: Canonical texts by heading, such as input and output.
    payloads: Mapping[str, str]
    now: datetime
    utc: bool
    #: When the first attempt of each stage instance began.
    begun: Mapping[StageKey, datetime]


def headline(run: Run, stages: Sequence[StageInstance], *, now: datetime) -> Text:
    """Return the run in one line: status, name, how long, how many stages and retries."""
    icon, style = run_look(run.status)
    facts = [run.status.value.lower()]
    length = run_length(run, now=now)
    if length is not None:
        facts[0] += f" {'in' if run.status.is_terminal else 'for'} {took(length)}"
    seen = [stage for stage in stages if not stage.superseded]
    facts.append(counted(len(seen), "stage"))
    retries = sum(max(stage.attempt - 1, 0) for stage in seen)
    if retries:
        facts.append(counted(retries, "retry"))
    name = clean(f"{run.header.workflow_id} {run.idempotency_key or run.id}")
    return Text.assemble((f"{icon} {name}", style), "  ", " · ".join(facts))


def run_page(page: RunPage) -> Iterator[RenderableType]:
    """Yield the parts of the page of one run."""
    run = page.run
    yield headline(run, page.stages, now=page.now)
    yield _facts(page)
    if page.stages:
        yield ""
        yield stage_table(run, page.stages, now=page.now, begun=page.begun)
    yield from failure_lines(run)
    for heading, text in page.payloads.items():
        yield ""
        yield Text(heading, style="dim")
        yield Padding(Text(_shown(text)), (0, 0, 0, 2))
    yield from _notes(page)


def failure_lines(run: Run) -> list[Text]:
    """Return why the run failed, if it did."""
    failure = run.failure
    if failure is None:
        return []
    stage = f'stage "{failure.stage_id}": ' if failure.stage_id else ""
    error = f"{failure.error}: " if failure.error else ""
    return [Text(clean(f"  {failure.code}  {stage}{error}{failure.message}"), style="red")]


def _shown(text: str) -> str:
    """Return canonical JSON as a person reads it: on one line if it is short, without escapes, cut if it is long."""
    value = from_json(text, what="payload")
    line = json.dumps(value, ensure_ascii=False)
    words = clean(line if len(line) <= SHORT else json.dumps(value, ensure_ascii=False, indent=2))
    return words if len(words) <= SHOWN else f"{words[:SHOWN]}…\n({len(words):,} characters; --json shows all)"


def _facts(page: RunPage) -> Table:
    run = page.run
    table = Table.grid(padding=(0, 2, 0, 0))
    rows = [
        ("id", run.id),
        ("key", run.idempotency_key or "–"),
        ("workflow", f"{run.header.workflow_id} version {run.header.workflow_version}"),
        ("created", date_time(run.created_at, utc=page.utc)),
    ]
    if run.generation > 1:
        rows.append(("generation", f"{run.generation}, by {counted(run.generation - 1, 'rerun')}"))
    for name, value in rows:
        table.add_row(Text(f"  {name}", style="dim"), Text(clean(value)))
    return table


def stage_table(
    run: Run, stages: Sequence[StageInstance], *, now: datetime, begun: Mapping[StageKey, datetime] | None = None
) -> Table:
    """Return the table of a run's stage instances.

    Args:
        run: The run.
        stages: Its stage instances.
        now: The present instant.
        begun: When the first attempt of each began; where it is not known, the last attempt's beginning counts.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("STAGE", no_wrap=True)
    table.add_column("STATUS", no_wrap=True)
    table.add_column("TRY", no_wrap=True)
    table.add_column("TOOK", no_wrap=True, justify="right")
    table.add_column("", overflow="fold")
    several = run.generation > 1
    for stage in stages:
        icon, style = stage_look(stage.status)
        generation = f" (generation {stage.key.generation})" if several else ""
        word = "superseded" if stage.superseded else stage.status.value.lower()
        table.add_row(
            Text(f"{stage.key.stage_id}{generation}"),
            Text(f"{icon} {word}", style="dim" if stage.superseded else style),
            Text(f"{stage.attempt} of {stage.max_attempts}" if stage.attempt else "–"),
            Text(_took(stage, began=(begun or {}).get(stage.key), now=now)),
            Text(standing(stage, now=now)),
        )
    return table


def _took(stage: StageInstance, *, began: datetime | None, now: datetime) -> str:
    began = began or stage.started_at
    return "–" if began is None else took((stage.finished_at or now) - began)


def standing(stage: StageInstance, *, now: datetime) -> str:
    """Return what a live stage instance waits for, or why the last attempt failed."""
    words: list[str] = []
    if stage.failure is not None and stage.status is not StageStatus.COMPLETED:
        words.append(one_line(stage.failure.message))
    if stage.status is StageStatus.RUNNING and stage.lease_until is not None:
        left = stage.lease_until - now
        ends = f"lease ends in {took(left)}" if left.total_seconds() > 0 else f"lease ended {took(-left)} ago"
        words.append(f"on {worker_name(stage.worker)}, {ends}")
    elif stage.due_at is not None and stage.due_at > now:
        what = "next poll" if stage.status is StageStatus.SUSPENDED else "next try"
        words.append(f"{what} in {took(stage.due_at - now)}")
    elif stage.status is StageStatus.READY:
        words.append("waits for a worker")
    return "; ".join(words)


def _notes(page: RunPage) -> Iterator[RenderableType]:
    if page.annotations:
        yield ""
        yield Text("Annotations", style="dim")
        for note in page.annotations:
            who = f" by {note.actor}" if note.actor else ""
            yield Text(clean(f"  {note.name} = {note.value!r}{who}"))
    if page.logs:
        yield ""
        yield Text("Log", style="dim")
        for line in page.logs:
            data = " ".join(f"{name}={value!r}" for name, value in line.data.items())
            at = time_of_day(line.at, utc=page.utc)
            yield Text(clean(f"  {at}  {line.level:<7}  {line.key.stage_id}: {line.message} {data}").rstrip())
