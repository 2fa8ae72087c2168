"""The stage instances of a run as a table, those of a map as one row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from rich.table import Table
from rich.text import Text

from holdfast.entities.definition import UNDO
from holdfast.entities.run import Run
from holdfast.entities.stage import StageInstance, StageKey, StageStatus
from holdfast.entities.wait import Wait
from holdfast_hosts.cli.rendering.names import is_between, round_words, stage_words, way_words
from holdfast_hosts.cli.rendering.shortening import worker_name
from holdfast_hosts.cli.rendering.statuses import stage_look
from holdfast_hosts.cli.rendering.times import took
from holdfast_hosts.cli.rendering.wait_words import by_instance, wait_words
from holdfast_hosts.cli.spelling import counted, one_line

#: So many items of a map still have a row each.
FEW_ITEMS: Final = 8
#: Failed items of a larger one that are named.
NAMED: Final = 3

#: A stage in a generation and a turn: the instances of a map differ by the item alone.
_Group = tuple[str, int, int]


def visible(stages: Iterable[StageInstance]) -> list[StageInstance]:
    """Return the stage instances that a person knows of, and others only while they are at work or failed."""
    done = {StageStatus.COMPLETED, StageStatus.SKIPPED, StageStatus.CANCELLED}
    return [
        stage
        for stage in stages
        if not is_between(stage.key.stage_id) or stage.key.stage_id == UNDO or stage.status not in done
    ]


def stage_table(
    run: Run,
    stages: Sequence[StageInstance],
    *,
    now: datetime,
    begun: Mapping[StageKey, datetime] | None = None,
    waits: Iterable[Wait] = (),
) -> Table:
    """Return the table of a run's stage instances.

    Args:
        run: The run.
        stages: Its stage instances.
        now: The present instant.
        begun: When the first attempt of each began; where it is not known, the last attempt's beginning counts.
        waits: What it waits for.
    """
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("STAGE", "STATUS", "TRY"):
        table.add_column(heading, no_wrap=True)
    table.add_column("TOOK", no_wrap=True, justify="right")
    table.add_column("", overflow="fold")
    several, waiting = run.generation > 1, by_instance(waits)
    for group in _groups(visible(stages)):
        if len(group) > FEW_ITEMS:
            table.add_row(*_items_row(group, several=several, now=now))
            continue
        for stage in group:
            began = (begun or {}).get(stage.key) or stage.started_at
            icon, style = stage_look(stage.status)
            word = "superseded" if stage.superseded else stage.status.value.lower()
            table.add_row(
                Text(_name(stage.key, several=several) + (f" [{stage.key.item}]" if len(group) > 1 else "")),
                Text(f"{icon} {word}", style="dim" if stage.superseded else style),
                Text(f"{stage.attempt} of {stage.max_attempts}" if stage.attempt else "–"),
                Text("–" if began is None else took((stage.finished_at or now) - began)),
                Text(standing(stage, now=now, open=waiting.get(stage.key, ()))),
            )
    return table


def _groups(stages: Iterable[StageInstance]) -> Iterator[list[StageInstance]]:
    """Yield the stage instances, those of one map together where the first of them stands."""
    groups: dict[_Group, list[StageInstance]] = {}
    for stage in stages:
        groups.setdefault((stage.key.stage_id, stage.key.generation, stage.key.turn), []).append(stage)
    yield from groups.values()


def _name(key: StageKey, *, several: bool) -> str:
    facts = [f"generation {key.generation}"] if several else []
    facts += [round_words(key.turn)] if key.turn else []
    return stage_words(key.stage_id) + (f" ({', '.join(facts)})" if facts else "")


def _items_row(group: Sequence[StageInstance], *, several: bool, now: datetime) -> tuple[Text, ...]:
    counts = Counter(stage.status for stage in group)
    by_urgency = [*_URGENT, *(status for status in StageStatus if status not in _URGENT)]
    icon, style = stage_look(next(status for status in by_urgency if counts[status]))
    words = ", ".join(f"{counts[status]:,} {status.value.lower()}" for status in StageStatus if counts[status])
    if len(counts) == 1:
        words = next(iter(counts)).value.lower()
    begun = [stage.started_at for stage in group if stage.started_at is not None]
    ended = [stage.finished_at or now for stage in group if stage.started_at is not None]
    retries = sum(max(stage.attempt - 1, 0) for stage in group)
    failed = [stage for stage in group if stage.status is StageStatus.FAILED and stage.failure is not None]
    named = [f"[{one.key.item}] {one_line(one.failure.message)}" for one in failed[:NAMED] if one.failure is not None]
    more = [f"and {len(failed) - NAMED:,} more"] if len(failed) > NAMED else []
    return (
        Text(f"{_name(group[0].key, several=several)} ×{len(group):,}"),
        Text(f"{icon} {words}", style=style),
        Text(counted(retries, "retry") if retries else "–"),
        Text(took(max(ended) - min(begun)) if begun else "–"),
        Text("; ".join([*named, *more])),
    )


#: Whatever of these some item is, all of them are shown as.
_URGENT: Final = (StageStatus.FAILED, StageStatus.RUNNING, StageStatus.WAITING, StageStatus.READY)


def standing(stage: StageInstance, *, now: datetime, open: Sequence[Wait] = ()) -> str:
    """Return what a live stage instance waits for, why its last attempt failed, or which way it led on."""
    words: list[str] = []
    if stage.failure is not None and stage.status is not StageStatus.COMPLETED:
        words.append(one_line(stage.failure.message))
    if stage.status is StageStatus.WAITING:
        words += [f"for {wait_words(wait, now=now)}" for wait in open]
    elif stage.status is StageStatus.RUNNING and stage.lease_until is not None:
        left = stage.lease_until - now
        ends = f"lease ends in {took(left)}" if left.total_seconds() > 0 else f"lease ended {took(-left)} ago"
        words.append(f"on {worker_name(stage.worker)}, {ends}")
    elif stage.due_at is not None and stage.due_at > now:
        what = "next poll" if stage.status is StageStatus.SUSPENDED else "next try"
        words.append(f"{what} in {took(stage.due_at - now)}")
    elif stage.status is StageStatus.READY:
        words.append("waits for a worker")
    elif stage.edge:
        words.append(way_words(stage.edge))
    elif stage.edge is not None:
        words.append("there was no way on")
    return "; ".join(words)
