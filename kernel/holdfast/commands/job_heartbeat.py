"""Extend leases and store what their attempts have left behind so far."""

from __future__ import annotations

from typing import ClassVar

import attrs

from holdfast.change import Change, Fence, Step
from holdfast.command import IN_PROCESS, Command, Ports
from holdfast.events import NewEvent
from holdfast.ports.work import LeaseRef
from holdfast.traces import NewLog


@attrs.frozen(kw_only=True)
class Beat:
    """One lease to extend, with the progress and log lines to store."""

    lease: LeaseRef
    events: tuple[NewEvent, ...] = attrs.field(default=(), metadata=IN_PROCESS)
    logs: tuple[NewLog, ...] = attrs.field(default=(), metadata=IN_PROCESS)


@attrs.frozen(kw_only=True)
class JobHeartbeatResult:
    """The leases that are lost; their attempts should stop, for nothing they do will count."""

    lost: tuple[LeaseRef, ...]


@attrs.frozen(kw_only=True)
class JobHeartbeat(Command[JobHeartbeatResult]):
    """Extend leases that this process holds."""

    type: ClassVar[str] = "job.heartbeat"

    beats: tuple[Beat, ...]


async def handle(command: JobHeartbeat, ports: Ports) -> JobHeartbeatResult:
    """Extend every lease by the kernel's lease time from now."""
    refs = tuple(beat.lease for beat in command.beats)
    lost = await ports.job_transport.extend(refs, ttl=ports.settings.lease_ttl)
    told = [
        Change(
            run_id=beat.lease.key.run_id,
            fence=Fence(key=beat.lease.key, epoch=beat.lease.epoch),
            step=Step(events=beat.events),
            logs=beat.logs,
        )
        for beat in command.beats
        if beat.events or beat.logs
    ]
    if told:
        # A lease that was lost meanwhile refuses its change-set; that is the fence at work and known from `lost`.
        await ports.persistence.commit(told)
    return JobHeartbeatResult(lost=tuple(lost))
