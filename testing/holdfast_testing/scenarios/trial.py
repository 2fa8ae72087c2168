"""One story of a scenario, from its first command until nothing is left to do, disturbed at one port call."""

from __future__ import annotations

import traceback
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any, Final

import attrs

from holdfast.change import ZERO
from holdfast.driving import run_sync
from holdfast.entities.run import Run
from holdfast_testing.clock import START
from holdfast_testing.faults import Fault, FaultPlan, ProcessDied
from holdfast_testing.invariants import Violation, check_all
from holdfast_testing.scenarios.client import Client
from holdfast_testing.scenarios.host import Host
from holdfast_testing.scenarios.scenario import FAILURES, REAP_AFTER, Scenario, Way
from holdfast_testing.scenarios.world import StoreMaker, World

#: A story that takes more steps than this goes round in circles.
MAX_STEPS: Final = 2_000


@attrs.frozen(kw_only=True)
class Disturbance:
    """The call that something happens at."""

    #: Counted from 1 over the calls of all processes, as long as nothing has happened.
    number: int
    way: Way


@attrs.frozen(kw_only=True)
class Ended:
    """What became of a story."""

    violations: tuple[Violation, ...]
    #: Whether the disturbance was reached.
    reached: bool
    #: When the last run ended, from the start of the story; zero if none did.
    took: timedelta
    #: The calls of every process, a call a line.
    trace: str


class _Standstill(FaultPlan):
    """A plan under which the process stands still before one call, while something else happens."""

    def __init__(self, number: int, meanwhile: Callable[[], Awaitable[None]]) -> None:
        super().__init__()
        self._number = number
        self._meanwhile = meanwhile
        self._has_stood = False

    @property
    def is_spent(self) -> bool:
        """Whether the process has stood still."""
        return self._has_stood

    async def call(self, port: str, method: str, make: Callable[[], Awaitable[Any]]) -> Any:
        """Make the next call, after the standstill if it is the one."""
        if self.calls + 1 == self._number:
            self._has_stood = True
            await self._meanwhile()
        return await super().call(port, method, make)

    def tell(self, port: str, method: str, make: Callable[[], None]) -> None:
        """Give the next hint, after the standstill if it is the one."""
        if self.calls + 1 == self._number:
            self._has_stood = True
            run_sync(_awaited(self._meanwhile()))
        super().tell(port, method, make)


async def _awaited(awaitable: Awaitable[None]) -> None:
    await awaitable


class Trial:
    """A scenario being played, with at most one disturbance."""

    def __init__(self, scenario: Scenario, make_store: StoreMaker, disturbance: Disturbance | None = None) -> None:
        self._scenario = scenario
        self._disturbance = disturbance
        self._world = World(scenario, make_store)
        self._client = Client(scenario.script, self._world.ledger)
        self._hosts: list[Host] = []
        #: The plan that the disturbance is in.
        self._armed: FaultPlan | None = None
        self._ttl = scenario.settings.lease_ttl

    def play(self, *, bound: timedelta | None = None) -> Ended:
        """Play the story and return what became of it.

        Args:
            bound: How long it may take until the last run has ended.
        """
        try:
            return run_sync(self._play(bound))
        finally:
            self._world.store.discard()

    async def _play(self, bound: timedelta | None) -> Ended:
        world = self._world
        await self._go_on()
        # What is there now is looked at by somebody to whom nothing happens.
        auditor = Host(world, FaultPlan(), number=0, store=self._alive()[0].store)
        runs = [observed.run for observed in world.ledger.seen.values()]
        took = max((run.finished_at - START for run in runs if run.finished_at is not None), default=ZERO)
        await self._client.repeat_all(auditor)
        found = await check_all(auditor.store, ledger=world.ledger, definitions=world.registry, blob_store=world.blobs)
        found.extend(self._ends(runs))
        if bound is not None and took > bound:
            found.append(self._broken("I26", f"the last run ended after {took}; {bound} are allowed"))
        return Ended(violations=tuple(found), reached=self._is_reached, took=took, trace=self._trace())

    async def _go_on(self, *, without: FaultPlan | None = None, until: datetime | None = None) -> None:
        """Let the client and all processes but one do what they can, and time pass, until nothing is left to do."""
        clock = self._world.clock
        for _ in range(MAX_STEPS):
            hosts = self._alive(without)
            if await self._moves(hosts, at_once=False):
                continue
            due = await hosts[0].store.next_due()
            if due is not None and due > ZERO and (until is None or clock.now() + due <= until):
                clock.advance(due)
            elif due is not None and due <= ZERO:
                self._world.ledger.violations.append(self._broken("I26", "something is due that nobody does"))
                return
            elif not await self._moves(hosts, at_once=True):
                return
        self._world.ledger.violations.append(self._broken("I26", f"it took more than {MAX_STEPS} steps"))

    async def _moves(self, hosts: list[Host], *, at_once: bool) -> bool:
        """Return whether the client or a process did anything."""
        for host in hosts:
            try:
                if host is hosts[0] and await self._client.act(host, at_once=at_once):
                    return True
                if await host.step():
                    return True
            except ProcessDied:
                await self._client.look_up_newest(host.store)
                return True
            except Exception as error:  # noqa: BLE001 - a defect is what this looks for
                where = "".join(traceback.format_exception(error)[-3:])
                self._world.ledger.violations.append(self._broken("a defect", where))
                host.plan.is_dead = True
                return True
        return False

    def _alive(self, without: FaultPlan | None = None) -> list[Host]:
        """Return the processes that live, but for one; a new one is started when there is none."""
        alive = [host for host in self._hosts if not host.plan.is_dead and host.plan is not without]
        if not alive:
            alive.append(Host(self._world, self._next_plan(), number=len(self._hosts) + 1))
            self._hosts.extend(alive)
        return alive

    def _next_plan(self) -> FaultPlan:
        """Return the plan of the next process: the disturbance is in it unless it has happened."""
        disturbance = self._disturbance
        if disturbance is None or self._is_reached:
            return FaultPlan()
        number = disturbance.number - sum(host.plan.calls for host in self._hosts)
        if disturbance.way in FAILURES:
            plan = FaultPlan({number: Fault(disturbance.way.value)})
        else:
            plan = _Standstill(number, lambda: self._meanwhile(plan, way=disturbance.way))
        self._armed = plan
        return plan

    async def _meanwhile(self, standing: FaultPlan, *, way: Way) -> None:
        """Let others go on while the process of one plan stands still for longer than its leases last."""
        clock = self._world.clock
        if way is Way.SLEEP:
            end = clock.now() + 2 * (self._ttl + REAP_AFTER)
            clock.advance(self._ttl + REAP_AFTER)
            await self._go_on(without=standing, until=end)
            return
        clock.advance(self._ttl)
        (other,) = self._alive(standing)
        # It takes leases of its own and is about to execute when the process wakes up.
        while not other.hand and await self._moves([other], at_once=False):
            if other.plan.is_dead:
                return

    @property
    def _is_reached(self) -> bool:
        return self._armed is not None and self._armed.is_spent

    def _ends(self, runs: list[Run]) -> list[Violation]:
        by_id = {run.id: run for run in runs}
        said = self._client.said
        found = [self._broken("I26", "the client has no answer")] if not self._client.is_done else []
        for name, status in self._scenario.ends.items():
            run = by_id.get(getattr(said.get(name), "run_id", ""))
            if run is None or run.status is not status:
                found.append(self._broken("the end", f"{name} should be {status.value} and is {run}"))
        return found

    def _broken(self, invariant: str, found: str) -> Violation:
        return Violation(
            invariant=invariant, promise="a story ends well", subject=f"scenario {self._scenario.name}", found=found
        )

    def _trace(self) -> str:
        return "\n".join(f"{host.worker}:\n{host.plan.describe()}" for host in self._hosts)
