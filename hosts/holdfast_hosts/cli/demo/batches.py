"""Which runs the demo is about: those that an earlier start left behind, or a new batch of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import attrs

from holdfast.commands.run_cancel import RunCancel
from holdfast.commands.run_create import RunCreate
from holdfast.entities.run import LIVE_RUN, Run, RunStatus
from holdfast.entities.stage import StageInstance, StageStatus
from holdfast.errors import IdempotencyMismatch
from holdfast.kernel import Kernel
from holdfast.ports.persistence import Persistence
from holdfast.ports.queries import RunFilter
from holdfast_hosts.cli.demo.orders import Orders
from holdfast_hosts.cli.demo.workflow import WORKFLOW, order
from holdfast_hosts.cli.exits import Exit
from holdfast_hosts.cli.problem import Problem, Told

#: Statuses of runs that were begun and have not ended.
BEGUN: Final = LIVE_RUN - {RunStatus.PENDING}
#: The newest runs of the workflow among which the last batch is looked for.
LOOK_BACK: Final = 100

_KEY: Final = re.compile(r"demo-(\d+)/.+")


@attrs.frozen(kw_only=True)
class Batch:
    """The runs of one list of orders, and how far they were when this start found them."""

    number: int
    #: Run ids by order id, in the order of the list.
    run_ids: Mapping[str, str]
    #: Orders that were complete already.
    complete: int = 0
    #: Orders that an earlier start began and that go on where they were.
    resumed: int = 0
    #: Stages that were done already and are not repeated.
    stages_done: int = 0
    #: When the last lease ends that a worker of an earlier start still holds.
    leased_until: datetime | None = None
    #: The batch before, which is complete.
    after: int | None = None
    #: Runs of earlier batches that were cancelled to begin afresh.
    cancelled: int = 0

    @property
    def is_new(self) -> bool:
        """Whether no order of it was begun before."""
        return not (self.complete or self.resumed)


async def open_batch(kernel: Kernel, orders: Orders, *, ledger: Path, fresh: bool) -> Batch:
    """Return the batch to work on, its runs created where they do not exist yet.

    Raises:
        Told: If an order of the unfinished batch reads otherwise now.
    """
    persistence = kernel.ports.persistence
    number = await _last_number(persistence)
    cancelled = await _cancel_live(kernel) if fresh else 0
    found = {} if fresh else await _runs(persistence, orders, number)
    after = None
    if fresh or (len(found) == len(orders.orders) and all(run.status.is_terminal for run in found.values())):
        after, number, found = (None if fresh else number), number + 1, {}
    number = max(number, 1)
    slice_ = {"ledger": str(ledger), "pace": orders.pace}
    config = {spec.id: slice_ for spec in order.definition().stages.values() if spec.config is not None}
    run_ids: dict[str, str] = {}
    for one in orders.orders:
        # The same key is the same run, so what an earlier start created is not created again.
        create = RunCreate(workflow_id=WORKFLOW, input=one, config=config, idempotency_key=_key(number, one.id))
        try:
            run_ids[one.id] = (await kernel.dispatch(create)).run_id
        except IdempotencyMismatch as error:
            raise _changed(one.id, number, code=error.code) from error
    stages = [stage for run in found.values() for stage in await persistence.list_stages(run.id)]
    leases = [one.lease_until for one in stages if one.status is StageStatus.RUNNING and one.lease_until is not None]
    return Batch(
        number=number,
        run_ids=run_ids,
        complete=sum(run.status.is_terminal for run in found.values()),
        resumed=sum(run.status in BEGUN for run in found.values()),
        stages_done=sum(stage.status is StageStatus.COMPLETED for stage in stages),
        leased_until=max(leases, default=None),
        after=after,
        cancelled=cancelled,
    )


def greeting(batch: Batch, *, now: datetime) -> Sequence[str]:
    """Return what this start found, in sentences."""
    total = len(batch.run_ids)
    lines: list[str] = []
    if batch.cancelled:
        lines.append(f"cancelled {batch.cancelled} unfinished runs of earlier batches, as --fresh asks")
    if batch.after is not None:
        lines.append(f"all orders of batch {batch.after} are complete; this is batch {batch.number}")
    if not batch.is_new:
        done = f"; {batch.complete} were complete already" if batch.complete else ""
        lines.append(
            f"resumed {batch.resumed} of {total} orders, {batch.stages_done} stages already done are not repeated{done}"
        )
    waiting = waiting_for_lease(batch.leased_until, now=now)
    return [*lines, waiting] if waiting else lines


def waiting_for_lease(until: datetime | None, *, now: datetime) -> str:
    """Return that jobs of a killed worker cannot be taken on before their lease ends, while that is so."""
    if until is None or until <= now:
        return ""
    seconds = max(1, round((until - now) / timedelta(seconds=1)))
    return f"waiting for the lease of the killed worker ({seconds} s)"


def done_stages(stages: Sequence[StageInstance]) -> int:
    """Return how many stages are done."""
    return sum(stage.status is StageStatus.COMPLETED for stage in stages)


async def _last_number(persistence: Persistence) -> int:
    runs = await persistence.list_runs(RunFilter(workflow_id=WORKFLOW), limit=LOOK_BACK)
    numbers = [int(match[1]) for run in runs if (match := _KEY.fullmatch(run.idempotency_key or ""))]
    return max(numbers, default=0)


async def _runs(persistence: Persistence, orders: Orders, number: int) -> dict[str, Run]:
    found: dict[str, Run] = {}
    for one in orders.orders:
        where = RunFilter(workflow_id=WORKFLOW, idempotency_key=_key(number, one.id))
        found |= {run.id: run for run in await persistence.list_runs(where, limit=1)}
    return found


async def _cancel_live(kernel: Kernel) -> int:
    where = RunFilter(workflow_id=WORKFLOW, statuses=LIVE_RUN)
    cancelled = 0
    while runs := await kernel.ports.persistence.list_runs(where, limit=LOOK_BACK):
        for run in runs:
            result = await kernel.dispatch(RunCancel(run_id=run.id, reason="the demo was started with --fresh"))
            cancelled += result.cancelled
    return cancelled


def _key(number: int, order_id: str) -> str:
    return f"demo-{number}/{order_id}"


def _changed(order_id: str, number: int, *, code: str) -> Told:
    return Told(
        Problem(
            code=code,
            what=f"Order {order_id} reads otherwise than when batch {number} was begun.",
            why=("The same idempotency key must carry the same request.",),
            fix=("Begin a new batch: --fresh",),
            exit=Exit.REFUSED,
        )
    )
