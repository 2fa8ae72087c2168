"""One pass of maintenance, shared by all hosts: admit, poll, take back, fire, deliver; each step on its own."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import attrs
import structlog

from holdfast.commands.lease_reap_stale import LeaseReapStale
from holdfast.commands.outbox_flush import OutboxFlush
from holdfast.commands.run_claim_pending import RunClaimPending
from holdfast.commands.stage_poll_suspended import StagePollSuspended
from holdfast.commands.timer_fire_due import TimerFireDue
from holdfast.errors import Unavailable
from holdfast.kernel import Kernel
from holdfast_hosts.traces import trace_of

log = structlog.stdlib.get_logger("holdfast.maintenance")


class Step(enum.Enum):
    """The steps of a pass, in the order in which they are taken."""

    CLAIM_PENDING = "claimPending"
    POLL_SUSPENDED = "pollSuspended"
    REAP_STALE = "reapStale"
    FIRE_DUE = "fireDue"
    FLUSH = "flush"


@attrs.frozen(kw_only=True)
class Bounds:
    """How much one pass does at most; 0 leaves a step out."""

    #: Pending runs that are admitted.
    claims: int = 10
    #: Suspended stages that are polled, one after the other.
    polls: int = 10
    #: Expired leases that are taken back.
    leases: int = 100
    #: Timers that are fired.
    timers: int = 100
    #: Events that are delivered to each sink.
    events: int = 100


@attrs.frozen(kw_only=True)
class Maintained:
    """What one pass did."""

    #: Pending runs that were admitted.
    claimed: int = 0
    #: Suspended stages that were polled.
    suspended_checked: int = 0
    #: Expired leases that were taken back, those whose attempts were used up included.
    stale_released: int = 0
    #: Events that a sink took.
    events_flushed: int = 0
    timers_fired: int = 0
    #: What went wrong, by the step's name; the other steps were taken all the same.
    failed_steps: Mapping[str, str] = attrs.field(factory=dict)
    #: The steps that were left out because too little time was left, by name.
    skipped_steps: tuple[str, ...] = ()

    @property
    def is_idle(self) -> bool:
        """Whether there was nothing to do."""
        did = self.claimed + self.suspended_checked + self.stale_released + self.events_flushed + self.timers_fired
        return not did and not self.failed_steps


@attrs.define(kw_only=True)
class _Counters:
    claimed: int = 0
    suspended_checked: int = 0
    stale_released: int = 0
    events_flushed: int = 0
    timers_fired: int = 0


@attrs.frozen(kw_only=True)
class _Pass:
    kernel: Kernel
    worker: str
    queues: frozenset[str]
    bounds: Bounds
    has_time: Callable[[], bool]
    did: _Counters = attrs.field(factory=_Counters)

    async def claim(self) -> None:
        result = await self.kernel.dispatch(RunClaimPending(worker=self.worker, max_claims=self.bounds.claims))
        self.did.claimed = len(result.claimed)

    async def poll(self) -> None:
        # One at a time, so that what was polled counts although a later poll goes wrong or finds no time.
        while self.did.suspended_checked < self.bounds.polls and self.has_time():
            one = StagePollSuspended(worker=self.worker, max_checks=1, queues=self.queues)
            if not (await self.kernel.dispatch(one)).checked:
                break
            self.did.suspended_checked += 1

    async def reap(self) -> None:
        result = await self.kernel.dispatch(LeaseReapStale(limit=self.bounds.leases))
        self.did.stale_released = result.released + result.failed

    async def fire(self) -> None:
        self.did.timers_fired = (await self.kernel.dispatch(TimerFireDue(limit=self.bounds.timers))).fired

    async def flush(self) -> None:
        self.did.events_flushed = (await self.kernel.dispatch(OutboxFlush(max_events=self.bounds.events))).published


_STEPS: Final[Mapping[Step, tuple[Callable[[Bounds], int], Callable[[_Pass], Awaitable[None]]]]] = {
    Step.CLAIM_PENDING: (lambda bounds: bounds.claims, _Pass.claim),
    Step.POLL_SUSPENDED: (lambda bounds: bounds.polls, _Pass.poll),
    Step.REAP_STALE: (lambda bounds: bounds.leases, _Pass.reap),
    Step.FIRE_DUE: (lambda bounds: bounds.timers, _Pass.fire),
    Step.FLUSH: (lambda bounds: bounds.events, _Pass.flush),
}


def _always() -> bool:
    return True


async def maintain(
    kernel: Kernel,
    *,
    worker: str,
    queues: frozenset[str] = frozenset({"default"}),
    bounds: Bounds | None = None,
    has_time: Callable[[], bool] = _always,
) -> Maintained:
    """Take each step once and return what was done.

    An error of one step is logged and returned, and the next step is taken: a provider that cannot be reached must
    not keep expired leases from being taken back.

    Args:
        kernel: What the steps are dispatched to.
        worker: Who does it.
        queues: The queues whose suspended stages are polled.
        bounds: How much is done at most.
        has_time: Asked before each step and each poll whether it may still begin.
    """
    this = _Pass(kernel=kernel, worker=worker, queues=queues, bounds=bounds or Bounds(), has_time=has_time)
    failed: dict[str, str] = {}
    skipped: list[str] = []
    for step, (bound, take) in _STEPS.items():
        if not bound(this.bounds):
            continue
        if not has_time():
            skipped.append(step.value)
            continue
        try:
            await take(this)
        except Unavailable as error:
            log.warning("a step of maintenance failed", step=step.value, error=repr(error))
            failed[step.value] = f"{type(error).__qualname__}: {error}"
        except Exception as error:  # noqa: BLE001 - the next step is taken whatever this one raised
            log.error("a step of maintenance failed", step=step.value, trace=trace_of(error))  # noqa: TRY400 - no locals
            failed[step.value] = f"{type(error).__qualname__}: {error}"
    return Maintained(
        claimed=this.did.claimed,
        suspended_checked=this.did.suspended_checked,
        stale_released=this.did.stale_released,
        events_flushed=this.did.events_flushed,
        timers_fired=this.did.timers_fired,
        failed_steps=failed,
        skipped_steps=tuple(skipped),
    )


#: Nothing at all; hosts evolve it to the steps that they want.
NONE: Final = Bounds(claims=0, polls=0, leases=0, timers=0, events=0)
