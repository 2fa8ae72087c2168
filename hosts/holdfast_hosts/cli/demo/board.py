"""The live picture of the demo: a line for each order, a word for each stage, a bar for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from holdfast.entities.stage import StageInstance, StageStatus
from holdfast_hosts.cli.demo.progress import Look, OrderState
from holdfast_hosts.cli.rendering.stage_table import standing
from holdfast_hosts.cli.rendering.statuses import run_look, stage_look
from holdfast_hosts.cli.rendering.times import took
from holdfast_hosts.cli.spelling import counted

#: Columns by stage id.
STAGES: Final = {
    "validate": "VALIDATE",
    "reserve_stock": "STOCK",
    "charge_card": "CARD",
    "ship": "SHIP",
    "receipt": "RECEIPT",
}
#: Lines of the picture that are no orders.
FRAME: Final = 6
#: From this width on there is room to say what an order waits for.
ROOMY: Final = 110

_MINUTE: Final = timedelta(minutes=1)

_WORDS: Final = {
    StageStatus.READY: "ready",
    StageStatus.RUNNING: "running",
    StageStatus.SUSPENDED: "suspended",
    StageStatus.COMPLETED: "done",
    StageStatus.FAILED: "failed",
    StageStatus.CANCELLED: "cancelled",
}


def board(look: Look, *, remark: str, started: datetime, console: Console) -> RenderableType:
    """Return the picture of *look*, no higher than the terminal."""
    width, height = console.size
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="dim")
    table.add_column("ORDER", no_wrap=True, overflow="ellipsis", max_width=14)
    for heading in STAGES.values():
        table.add_column(heading, no_wrap=True, min_width=9)
    table.add_column("TIME", justify="right", no_wrap=True, min_width=6)
    if width >= ROOMY:
        table.add_column("", no_wrap=True, overflow="ellipsis", ratio=1)
    for order in visible(look.orders, room=max(height - FRAME, 3)):
        table.add_row(*_row(order, at=look.at, roomy=width >= ROOMY))
    return Group(table, "", _total(look, started=started), Text(remark, style="yellow"))


def visible(orders: Sequence[OrderState], *, room: int) -> Sequence[OrderState]:
    """Return the orders that fit: unfinished ones before finished ones, in the order of the list."""
    if len(orders) <= room:
        return orders
    live = [order for order in orders if not order.is_done][:room]
    ended = [order for order in orders if order.is_done]
    chosen = {order.order_id for order in live + ended[max(0, len(ended) - (room - len(live))) :]}
    return [order for order in orders if order.order_id in chosen][:room]


def retries(orders: Sequence[OrderState]) -> int:
    """Return how many attempts there were beyond the first of each stage."""
    return sum(_again(stage) for order in orders for stage in order.stages.values())


def _again(stage: StageInstance) -> int:
    # A job that is ready again has failed as often as it was tried.
    return stage.attempt if stage.status is StageStatus.READY else max(stage.attempt - 1, 0)


def _clock(length: timedelta) -> str:
    """Return a duration that does not change its form while it grows."""
    return took(length) if length >= _MINUTE else f"{length.total_seconds():.1f} s"


def _row(order: OrderState, *, at: datetime, roomy: bool) -> list[Text]:
    icon, style = run_look(order.run.status)
    cells = [Text(f"{icon} {order.order_id}", style=style)]
    cells += [_cell(order.stages.get(stage_id)) for stage_id in STAGES]
    begun = order.run.started_at
    cells.append(Text("" if begun is None else _clock((order.run.finished_at or at) - begun), style="dim"))
    if roomy:
        waiting = (standing(stage, now=at) for stage in order.stages.values() if stage.status in _WAITING)
        cells.append(Text("; ".join(words for words in waiting if words), style="dim"))
    return cells


_WAITING: Final = frozenset({StageStatus.READY, StageStatus.SUSPENDED})


def _cell(stage: StageInstance | None) -> Text:
    if stage is None:
        return Text("·", style="dim")
    icon, style = stage_look(stage.status)
    if stage.status is StageStatus.READY and stage.attempt:
        return Text(f"↻ retry {stage.attempt}", style="yellow")
    again = f" ×{stage.attempt}" if stage.status is StageStatus.COMPLETED and stage.attempt > 1 else ""
    return Text(f"{icon} {_WORDS.get(stage.status, stage.status.value.lower())}{again}", style=style)


def _total(look: Look, *, started: datetime) -> RenderableType:
    done = sum(order.is_done for order in look.orders)
    stages = [stage.status for order in look.orders for stage in order.stages.values()]
    facts = [
        f"{done}/{len(look.orders)} orders",
        f"{stages.count(StageStatus.COMPLETED)}/{len(look.orders) * len(STAGES)} stages",
        counted(retries(look.orders), "retry"),
        _clock(look.at - started),
    ]
    grid = Table.grid(padding=(0, 2, 0, 0))
    bar = ProgressBar(total=len(look.orders) * len(STAGES), completed=stages.count(StageStatus.COMPLETED), width=20)
    grid.add_row(bar, Text(" · ".join(facts)))
    return grid
