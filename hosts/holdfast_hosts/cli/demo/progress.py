"""How far the orders are, read from the store again and again: what any worker does shows."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from datetime import datetime

import attrs

from holdfast.entities.run import Run
from holdfast.entities.stage import StageInstance
from holdfast.events import Event
from holdfast.ports.persistence import Persistence
from holdfast_hosts.cli.demo.batches import Batch

#: Events of one run that one look takes in.
PAGE = 200


@attrs.frozen(kw_only=True)
class OrderState:
    """One order at one instant."""

    order_id: str
    run: Run
    #: By stage id; stages that have not become live are missing.
    stages: dict[str, StageInstance]

    @property
    def is_done(self) -> bool:
        """Whether its run has ended."""
        return self.run.status.is_terminal


@attrs.frozen(kw_only=True)
class Look:
    """All orders at one instant, with what is new since the look before."""

    at: datetime
    orders: Sequence[OrderState]
    #: New events with the order they are about, by time.
    news: Sequence[tuple[str, Event]]

    @property
    def is_done(self) -> bool:
        """Whether every run has ended."""
        return all(order.is_done for order in self.orders)


class Progress:
    """Reads how far a batch is."""

    def __init__(self, batch: Batch, persistence: Persistence) -> None:
        self._batch = batch
        self._persistence = persistence
        self._seen: dict[str, int] = {}
        self._ended: dict[str, OrderState] = {}

    async def skip_history(self) -> None:
        """Take everything that happened so far as seen."""
        for run_id in self._batch.run_ids.values():
            run = await self._persistence.find_run(run_id)
            self._seen[run_id] = 0 if run is None else run.events

    async def look(self, *, now: datetime) -> Look:
        """Return how far all orders are; runs that ended are not read again."""
        orders: list[OrderState] = []
        news: list[list[tuple[str, Event]]] = []
        for order_id, run_id in self._batch.run_ids.items():
            state = self._ended.get(run_id)
            if state is None:
                state = await self._read(order_id, run_id)
                events = await self._persistence.list_events(run_id, after=self._seen.get(run_id, 0), limit=PAGE)
                news.append([(order_id, event) for event in events])
                if events:
                    self._seen[run_id] = events[-1].number
                if state.is_done and self._seen.get(run_id, 0) >= state.run.events:
                    self._ended[run_id] = state
            orders.append(state)
        merged = heapq.merge(*news, key=lambda one: one[1].at)
        return Look(at=now, orders=orders, news=list(merged))

    async def _read(self, order_id: str, run_id: str) -> OrderState:
        run = await self._persistence.find_run(run_id)
        assert run is not None, "the run was created before and is never deleted"
        stages = {
            stage.key.stage_id: stage for stage in await self._persistence.list_stages(run_id) if not stage.superseded
        }
        return OrderState(order_id=order_id, run=run, stages=stages)
