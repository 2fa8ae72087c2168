"""What each store of a comparison is played on: a world with processes, of which every answer of the store is noted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from itertools import groupby
from typing import Any, Final, cast

import attrs

from holdfast.command import Command
from holdfast.commands.outbox_flush import OutboxFlush, OutboxFlushResult
from holdfast.entities.run import LIVE_RUN
from holdfast.entities.stage import Lease
from holdfast.errors import HoldfastError
from holdfast.events import Event, EventType
from holdfast.ports.clock import Clock
from holdfast.ports.outbox import Stream
from holdfast.ports.persistence import Persistence
from holdfast.ports.queries import RunFilter
from holdfast.ports.work import LeaseRequest
from holdfast_testing.faults import FaultPlan, ProcessDied
from holdfast_testing.invariants import identities
from holdfast_testing.scenarios.host import Host
from holdfast_testing.scenarios.world import World
from holdfast_testing.simulator import SETTING as STORMY

#: How many processes a company has.
PROCESSES: Final = 2
#: More of anything than a story makes.
MANY: Final = 10_000
#: The names under which the workflows of the simulator wait.
WAITS: Final = ("approval", "answer")

#: The simulator's, with so many events delivered at once that no store has to choose between those of one instant.
SETTING: Final = attrs.evolve(STORMY, max_events=MANY)


class _Noted:
    """Stands in for a store and notes what it was asked and what it answered."""

    def __init__(self, persistence: Persistence, notes: list[Any]) -> None:
        self._persistence = persistence
        self._notes = notes

    def __getattr__(self, attribute: str) -> Any:
        method = getattr(self._persistence, attribute)

        async def call(*args: Any, **options: Any) -> Any:
            try:
                answer = _in_order(attribute, await method(*args, **options))
            except HoldfastError as error:
                self._notes.append((attribute, args, options, plain(error)))
                raise
            self._notes.append((attribute, args, options, plain(answer)))
            return answer

        return call


class _OneByOne:
    """Stands in for a store and leases jobs in order of key, each by itself.

    Where a limit leaves room for some of those that are due, no store has to choose between those of one instant.
    """

    def __init__(self, persistence: Persistence) -> None:
        self._persistence = persistence

    def __getattr__(self, attribute: str) -> Any:
        return getattr(self._persistence, attribute)

    async def lease(self, request: LeaseRequest) -> Sequence[Lease]:
        """Lease every job that is due and has room."""
        leases: list[Lease] = []
        for run in await self._persistence.list_runs(RunFilter(statuses=LIVE_RUN), limit=MANY):
            stages = await self._persistence.list_stages(run.id)
            for stage in sorted(stages, key=lambda stage: stage.key):
                if stage.status in request.statuses and stage.lease_until is None:
                    lease = await self._persistence.lease_one(stage.key, worker=request.worker, ttl=request.ttl)
                    leases += [] if lease is None else [lease]
        return leases


def _in_order(attribute: str, answer: Any) -> Any:
    """Return *answer* with what may come in any order in one that is the same everywhere."""
    if attribute == "list_due_timers":
        return sorted(answer, key=lambda timer: (timer.due_at, timer.run_id, timer.id))
    if attribute in ("lease", "list_expired"):
        return sorted(answer, key=lambda lease: lease.key)
    if attribute == "lease_streams":
        return sorted(answer, key=lambda stream: stream.run_id)
    return answer


def plain(answer: Any) -> Any:
    """Return an answer as something that can be compared.

    Errors are equal when they are of one kind, for stores may word them differently. Jobs that are given out at once
    begin in any order.
    """
    if isinstance(answer, BaseException):
        return type(answer).__name__
    if isinstance(answer, Stream):
        return attrs.evolve(answer, events=plain(answer.events))
    if isinstance(answer, list | tuple):
        answers = cast(Sequence[Any], answer)
        if answers and isinstance(answers[0], Event):
            return _begun_in_order(answers)
        return tuple(plain(each) for each in answers)
    return answer


def _begun_in_order(events: Sequence[Event]) -> tuple[Event, ...]:
    """Return the events with stages that began at one instant, one after the other, in order of key."""
    ordered: list[Event] = []
    for (kind, _), group in groupby(events, key=lambda event: (event.type, event.at)):
        told = list(group)
        if kind is EventType.STAGE_STARTED:
            by_key = sorted(told, key=lambda event: str(event.key))
            told = [attrs.evolve(event, number=place.number) for place, event in zip(told, by_key, strict=True)]
        ordered.extend(told)
    return tuple(ordered)


class _Process(Host):
    """A process without a witness: what its store does is seen by the comparison with other stores.

    It takes all the jobs there are, so that no store has to choose between those of one instant.
    """

    def __init__(self, world: World, *, number: int) -> None:
        super().__init__(world, FaultPlan(), number=number)
        self._request = attrs.evolve(self._request, limit=MANY)

    def seen(self, world: World) -> Persistence:
        """Return the store, which notes what it is asked."""
        return self.store


class _Given:
    """A store that was made elsewhere, which all processes of a company share."""

    def __init__(self, persistence: Persistence) -> None:
        self._persistence = persistence

    def connect(self) -> Persistence:
        """Return it."""
        return self._persistence

    def discard(self) -> None:
        """Leave it to whoever made it."""


@attrs.frozen(kw_only=True)
class Action:
    """One thing that every company does."""

    text: str
    do: Callable[[Company], Awaitable[object]]


class Company:
    """All that one store needs to be played on.

    Args:
        name: Of the store, for telling.
        make: Makes the store, not yet opened, on a clock.
        is_limited: Whether its queue has limits, so that jobs are leased one by one.
    """

    def __init__(self, name: str, make: Callable[[Clock], Persistence], *, is_limited: bool) -> None:
        self.name = name
        self._is_limited = is_limited
        #: What the store was asked and answered since the last action began.
        self.notes: list[Any] = []
        self._stores: list[Persistence] = []
        self.world = World(SETTING, lambda clock: self._made(make(clock)))
        (self.store,) = self._stores
        self._started = 0
        self.hosts: list[Host] = []

    def _made(self, store: Persistence) -> _Given:
        self._stores.append(store)
        noted = cast(Persistence, _Noted(store, self.notes))
        return _Given(cast(Persistence, _OneByOne(noted)) if self._is_limited else noted)

    def man(self) -> None:
        """Start a process in place of each that died or was never there."""
        self.hosts = [host for host in self.hosts if not host.plan.is_dead]
        while len(self.hosts) < PROCESSES:
            self._started += 1
            self.hosts.append(_Process(self.world, number=self._started))

    async def flush(self) -> OutboxFlushResult:
        """Deliver all events that are due, by a process without a fault."""
        return await _Process(self.world, number=0).kernel.dispatch(OutboxFlush(max_events=MANY))

    async def do(self, action: Action) -> object:
        """Do it and return what came of it."""
        self.notes.clear()
        try:
            return plain(await action.do(self))
        except ProcessDied:
            return "the process died"
        except HoldfastError as error:
            return plain(error)
        finally:
            self.man()

    async def show(self, sent: Sequence[Command[Any]]) -> dict[str, Any]:
        """Return all that the store can show, by what it is."""
        store = self.store
        runs = await store.list_runs(RunFilter(), limit=MANY)
        shown: dict[str, Any] = {
            "runs": runs,
            "pending": await store.list_pending(limit=MANY, known=self.world.registry.known()),
            "expired leases": _in_order("list_expired", await store.list_expired(limit=MANY)),
            "due timers": _in_order("list_due_timers", await store.list_due_timers(limit=MANY)),
            "next due": await store.next_due(),
            "orphans": await store.list_orphans(limit=MANY),
            "live versions": sorted(await store.list_live_versions()),
            "counts": await store.count(),
            "operations": [
                await store.find_operation(tenant=tenant, scope=scope, key=key)
                for command in sent
                for tenant, scope, key in identities(command)
            ],
        }
        for run in runs:
            shown[f"run {run.id}"] = await self._show_run(run.id)
        return shown

    async def _show_run(self, run_id: str) -> dict[str, Any]:
        store = self.store
        stages = await store.list_stages(run_id)
        return {
            "snapshot": await store.find_snapshot(run_id),
            "stages": stages,
            "events": plain(await store.list_events(run_id, limit=MANY)),
            "logs": await store.list_logs(run_id, limit=MANY),
            "annotations": await store.list_annotations(run_id, limit=MANY),
            "artifacts": await store.list_artifacts(run_id),
            "waits": await store.list_run_waits(run_id, limit=MANY),
            "messages": [await store.find_message(run_id, name) for name in WAITS],
            "state": await store.get_state(run_id),
            "outputs": await store.get_outputs(run_id, sorted({stage.key.stage_id for stage in stages})),
            "checkpoints": [
                await store.find_checkpoint(stage.key, name=name)
                for stage in stages
                for name in ("receipt", "asked", "done")
            ],
            "settled": [
                [await store.is_settled(stage.key, epoch=epoch) for epoch in range(1, stage.epoch + 2)]
                for stage in stages
            ],
        }
