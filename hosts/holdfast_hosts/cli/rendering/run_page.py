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
from holdfast.entities.stage import StageInstance, StageKey
from holdfast.entities.wait import Wait
from holdfast.ports.queries import Annotation, LogLine
from holdfast_hosts.cli.rendering.names import stage_words
from holdfast_hosts.cli.rendering.stage_table import stage_table, visible
from holdfast_hosts.cli.rendering.statuses import run_look
from holdfast_hosts.cli.rendering.times import date_time, time_of_day, took
from holdfast_hosts.cli.rendering.wait_words import held_words, waits_line
from holdfast_hosts.cli.shapes import run_length
from holdfast_hosts.cli.spelling import clean, counted

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
    #: What it waits for.
    waits: Sequence[Wait] = ()
    #: The runs that it started, newest first, and whether there are more.
    children: Sequence[Run] = ()
    more_children: bool = False
    #: Why it is held back by a person; None unless it is.
    paused: str | None = None
    #: When a run begins that was created to start later.
    begins: datetime | None = None


def headline(run: Run, stages: Sequence[StageInstance], *, now: datetime) -> Text:
    """Return the run in one line: status, name, how long, how many stages and retries."""
    icon, style = run_look(run.status)
    facts = [run.status.value.lower()]
    length = run_length(run, now=now)
    if length is not None:
        facts[0] += f" {'in' if run.status.is_terminal else 'for'} {took(length)}"
    seen = [stage for stage in visible(stages) if not stage.superseded]
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
    if visible(page.stages):
        yield ""
        yield stage_table(run, page.stages, now=page.now, begun=page.begun, waits=page.waits)
    yield from failure_lines(run)
    yield from _family(page)
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
    stage = f'stage "{stage_words(failure.stage_id)}": ' if failure.stage_id else ""
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
        rows.append(("generation", f"{run.generation}, done again {counted(run.generation - 1, 'time')}"))
    if run.header.parent_id is not None:
        rows.append(("parent", run.header.parent_id))
    rows += [("waiting", waits_line(page.waits, now=page.now))] if waits_line(page.waits, now=page.now) else []
    rows += [("paused", page.paused)] if page.paused is not None else []
    rows += [("held", held_words(run, page.begins, utc=page.utc))] if run.held else []
    for name, value in rows:
        table.add_row(Text(f"  {name}", style="dim"), Text(clean(value)))
    return table


def _family(page: RunPage) -> Iterator[RenderableType]:
    if not page.children:
        return
    yield ""
    yield Text("Children", style="dim")
    for child in page.children:
        icon, style = run_look(child.status)
        words = f"{icon} {child.status.value.lower():<12} {child.id}  {child.header.workflow_id}"
        yield Text(f"  {clean(words)}", style=style)
    if page.more_children:
        yield Text("  … and more", style="dim")


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
