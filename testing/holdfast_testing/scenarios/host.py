"""One process: a kernel over the shared store, all of its port calls under one plan, driven as a worker drives it."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Sequence
from datetime import timedelta
from typing import TypeVar

from holdfast.authoring.watch import Watch
from holdfast.change import Grant
from holdfast.commands.job_execute import JobExecute, JobExecuted
from holdfast.commands.job_heartbeat import Beat, JobHeartbeat
from holdfast.commands.lease_reap_stale import LeaseReapStale
from holdfast.commands.outbox_flush import OutboxFlush
from holdfast.commands.run_claim_pending import RunClaimPending
from holdfast.commands.timer_fire_due import TimerFireDue
from holdfast.decide.route import Keep
from holdfast.entities.stage import Lease
from holdfast.errors import Unavailable
from holdfast.executing import InlineExecutor
from holdfast.kernel import Kernel
from holdfast.ports.job_transport import JobHint
from holdfast.ports.persistence import Persistence
from holdfast.ports.work import LeaseRef, LeaseRequest
from holdfast_adapters.transports import DatabaseTransport
from holdfast_testing.clock import FakeClock
from holdfast_testing.faults import FaultPlan, faulty
from holdfast_testing.invariants import Ledger, witnessed
from holdfast_testing.scenarios.world import Provider, World

R = TypeVar("R")

QUEUES = frozenset({"default"})
#: How many jobs a process holds at once; two, so that something can happen between the lease and the execution.
AT_ONCE = 2
#: How long a job rests that was handed back because a port could not be reached.
REST = timedelta(seconds=1)


class _Transport(DatabaseTransport):
    """The transport whose own calls are under the plan; what it asks of the store is counted there."""

    def __init__(self, persistence: Persistence, plan: FaultPlan, *, messages: deque[JobHint]) -> None:
        super().__init__(persistence)
        self._plan = plan
        self._messages = messages

    async def enqueue(self, hints: Sequence[JobHint]) -> None:
        async def send() -> None:
            self._messages.extend(hints)

        await self._plan.call("transport", "enqueue", send)

    async def settle(self, lease: Lease) -> None:
        settle = super().settle
        await self._plan.call("transport", "settle", lambda: settle(lease))


class _Scheduler:
    """A scheduler nobody listens to: hosts of a scenario look whenever they can."""

    def __init__(self, plan: FaultPlan) -> None:
        self._plan = plan

    def wake_in(self, delay: timedelta, *, local: bool = False) -> None:
        """Count the hint."""
        self._plan.tell("scheduler", "wake_in", _nothing)


def _nothing() -> None:
    return


class Host:
    """A worker process, one step at a time.

    A port that fails is met as a worker meets it: a job is handed back, or left to its lease if that fails too, and
    everything else is tried again later.

    Args:
        world: What outlives it.
        plan: What goes wrong with its calls.
        number: Tells it from other processes.
        store: An open store; it opens one of its own unless given.
    """

    def __init__(self, world: World, plan: FaultPlan, *, number: int, store: Persistence | None = None) -> None:
        settings = world.scenario.settings
        self.worker = f"worker-{number}"
        self.plan = plan
        #: The store as this process opened it, outside of its plan; for looking only.
        self.store = store or world.store.connect()
        #: The jobs that it holds leases on and has not executed yet.
        self.hand: deque[JobExecute] = deque()
        self._live: tuple[Lease, Watch] | None = None
        self._messages = world.messages
        self._takes_messages = world.scenario.by_message
        self._ledger = world.ledger
        self._max_events = world.scenario.max_events
        self._keep = Keep(grant=Grant(worker=self.worker, ttl=settings.lease_ttl), queues=QUEUES)
        persistence = faulty(self.seen(world), plan, name="persistence")
        self._transport = _Transport(persistence, plan, messages=world.messages)
        self._request = LeaseRequest(
            worker=self.worker, limit=AT_ONCE, ttl=settings.lease_ttl, known=world.registry.known(), queues=QUEUES
        )
        self.kernel = Kernel(
            persistence=persistence,
            blob_store=faulty(world.blobs, plan, name="blobs"),
            job_transport=self._transport,
            scheduler=_Scheduler(plan),
            clock=world.clock,
            ids=world.ids,
            registry=world.registry,
            event_sink=faulty(world.sink, plan, name="sink"),
            executor=faulty(InlineExecutor(world.clock), plan, name="executor"),
            services={Ledger: world.ledger, Provider: world.provider, FakeClock: world.clock, Host: self},
            settings=settings,
        )

    def seen(self, world: World) -> Persistence:
        """Return the store as the process sees it: with a witness of every write."""
        return witnessed(self.store, ledger=world.ledger, clock=world.clock, definitions=world.registry)

    async def step(self) -> bool:
        """Do the next thing a worker would do and return whether there was one.

        Raises:
            ProcessDied: If the plan says so.
        """
        return await self.work() or await self.maintain()

    async def work(self) -> bool:
        """Execute or fetch jobs, or admit runs, and return whether there was anything of it."""
        if self.hand:
            await self._execute(self.hand.popleft())
            return True
        if self._takes_messages and self._messages:
            await self.take(self._messages.popleft())
            return True
        return await self._fetch()

    async def take(self, message: JobHint) -> JobExecuted | None:
        """Execute the job that a message names, if it still needs that, as a host behind a broker does."""
        command = JobExecute(job=message.key, worker=self.worker, attend=self._attend)
        return await self._tried(self.kernel.dispatch(command))

    async def beat(self) -> None:
        """Extend the lease of the job that is executed, as a heartbeat beside its body does."""
        assert self._live is not None, "a body is executing"
        lease, watch = self._live
        events, logs = watch.drain()
        beat = Beat(lease=LeaseRef(key=lease.key, epoch=lease.epoch), events=events, logs=logs)
        await self._tried(self.kernel.dispatch(JobHeartbeat(beats=(beat,))))

    def _attend(self, lease: Lease) -> Watch:
        watch = Watch()
        self._live = (lease, watch)
        return watch

    async def _fetch(self) -> bool:
        leases = await self._tried(self._transport.dequeue(self._request))
        if leases is None:
            return True
        if not leases:
            claim = RunClaimPending(worker=self.worker, max_claims=AT_ONCE, keep_queues=QUEUES)
            claimed = await self._tried(self.kernel.dispatch(claim))
            if claimed is None or not claimed.claimed:
                return claimed is None
            leases = claimed.leases
        for lease in leases:
            self.hand.append(
                JobExecute(job=lease.key, worker=self.worker, lease=lease, keep=self._keep, attend=self._attend)
            )
        return True

    async def _execute(self, command: JobExecute) -> None:
        lease = command.lease
        assert lease is not None, "what is in hand is leased"
        executed = await self._tried(self.kernel.dispatch(command))
        if executed is None:
            await self._tried(self._transport.release(lease, delay=REST))
            return
        self._ledger.tell(lease, executed)
        if executed.next is not None:
            self.hand.append(executed.next)

    async def maintain(self) -> bool:
        """Take back, fire and deliver what is due, and return whether there was anything."""
        reaped = await self._tried(self.kernel.dispatch(LeaseReapStale()))
        fired = await self._tried(self.kernel.dispatch(TimerFireDue()))
        flushed = await self._tried(self.kernel.dispatch(OutboxFlush(max_events=self._max_events)))
        if reaped is None or fired is None or flushed is None:
            return True
        return bool(reaped.released or reaped.failed or fired.fired or flushed.published or flushed.failed)

    @staticmethod
    async def _tried(call: Awaitable[R]) -> R | None:
        """Return what *call* gives, or None if a port could not be reached."""
        try:
            return await call
        except Unavailable:
            return None
