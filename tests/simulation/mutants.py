"""Bugs that are planted on purpose, each with the promise it breaks, to prove that the checks see them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any, Final

import attrs
import pytest

import holdfast.acts
import holdfast.attempts
import holdfast.commands.lease_reap_stale
import holdfast.verdicts
from holdfast import gates
from holdfast.change import Arrival, Change, Committed, Fence, Finish, Park, Refusal, Requeue, Rule, Step, Suspend
from holdfast.codec import digest
from holdfast.command import Settings
from holdfast.decide.advance import advance
from holdfast.decide.reap import reap
from holdfast.entities.payload import Payload
from holdfast.entities.stage import ExpiredLease, StageKey
from holdfast.errors import Unavailable
from holdfast.events import NewEvent
from holdfast.gates import GateState
from holdfast.payloads import keep
from holdfast.ports.blob_store import BlobStore
from holdfast.ports.outbox import Delivery, Stream
from holdfast.ports.work import LeaseRef
from holdfast.settling import settle
from holdfast.traces import Supersede
from holdfast_adapters.memory import MemoryPersistence, application, journal
from holdfast_adapters.memory.application import Application
from holdfast_adapters.memory.journal import MemoryJournal
from holdfast_adapters.memory.outbox import MemoryOutbox
from holdfast_adapters.memory.queues import Room
from holdfast_adapters.memory.rows import InstanceRow, RunRow, place
from holdfast_adapters.memory.singles import Singles
from holdfast_adapters.memory.work import MemoryWork
from tests.simulation.graph_mutants import GRAPH_MUTANTS
from tests.simulation.planting import Mutant


def _is_leased(fence: Fence, run: RunRow) -> bool:
    row = run.jobs.get(place(fence.key))
    return row is not None and row.lease_until is not None


def no_epoch_check(patch: pytest.MonkeyPatch) -> None:
    def lost(fence: Fence, run: RunRow, now: datetime) -> str | None:
        return None if _is_leased(fence, run) else "the job is not leased"

    patch.setattr(journal, "_lost", lost)


def reaper_without_epoch(patch: pytest.MonkeyPatch) -> None:
    checked = journal._lost

    def lost(fence: Fence, run: RunRow, now: datetime) -> str | None:
        return None if fence.expired and _is_leased(fence, run) else checked(fence, run, now)

    patch.setattr(journal, "_lost", lost)


def events_are_dropped(patch: pytest.MonkeyPatch) -> None:
    step = Application._step

    def without_events(self: Application, run: RunRow, what: Step) -> None:
        step(self, run, attrs.evolve(what, events=()) if what.run is None else what)

    patch.setattr(Application, "_step", without_events)


def operation_is_not_recorded(patch: pytest.MonkeyPatch) -> None:
    commit = MemoryJournal.commit

    async def without_operations(self: MemoryJournal, changes: Sequence[Change]) -> Sequence[Committed | Refusal]:
        return await commit(self, [attrs.evolve(change, operations=()) for change in changes])

    patch.setattr(MemoryJournal, "commit", without_operations)


def operation_is_not_checked(patch: pytest.MonkeyPatch) -> None:
    refusal = journal._refusal

    def without_duplicates(change: Change, *rest: Any) -> Refusal | None:
        return refusal(attrs.evolve(change, operations=()), *rest)

    patch.setattr(journal, "_refusal", without_duplicates)


def arrival_counts_twice(patch: pytest.MonkeyPatch) -> None:
    arrive = gates.arrive

    def counted_twice(state: GateState | None, rule: Rule, arrival: Arrival) -> tuple[GateState, Step | None]:
        counted, step = arrive(state, rule, arrival)
        return (counted, step) if step is not None else arrive(counted, rule, arrival)

    patch.setattr(application, "arrive", counted_twice)


def arrival_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    def never(state: GateState | None, rule: Rule, arrival: Arrival) -> tuple[GateState, Step | None]:
        return state or GateState(arity=rule.arity or 0), None

    patch.setattr(application, "arrive", never)


def next_job_is_not_created(patch: pytest.MonkeyPatch) -> None:
    def without_jobs(*args: Any, **options: Any) -> Change:
        change = advance(*args, **options)
        told: tuple[NewEvent, ...] = change.step.events[:1]
        return attrs.evolve(change, step=attrs.evolve(change.step, jobs=(), events=told))

    patch.setattr(holdfast.verdicts, "advance", without_jobs)


def position_moves_before_delivery(patch: pytest.MonkeyPatch) -> None:
    lease_streams = MemoryOutbox.lease_streams

    async def moved(self: MemoryOutbox, **request: Any) -> Sequence[Stream]:
        streams = await lease_streams(self, **request)
        ends = [
            Delivery(run_id=one.run_id, sink=one.sink, epoch=one.epoch, position=one.events[-1].number)
            for one in streams
        ]
        await self.settle_streams(ends)
        return streams

    patch.setattr(MemoryOutbox, "lease_streams", moved)


def later_events_pass_a_parked_one(patch: pytest.MonkeyPatch) -> None:
    settle_streams = MemoryOutbox.settle_streams

    async def skipped(self: MemoryOutbox, deliveries: Sequence[Delivery]) -> Sequence[bool]:
        passed = [
            attrs.evolve(one, parked=False, position=one.position + 1) if one.parked else one for one in deliveries
        ]
        return await settle_streams(self, passed)

    patch.setattr(MemoryOutbox, "settle_streams", skipped)


def status_is_not_checked(patch: pytest.MonkeyPatch) -> None:
    stale = journal._stale

    def whatever_status(change: Change, run: RunRow, now: datetime) -> Refusal | None:
        require = attrs.evolve(change.require, statuses=frozenset({run.status}))
        return stale(attrs.evolve(change, require=require), run, now)

    patch.setattr(journal, "_stale", whatever_status)


def end_leaves_jobs_alive(patch: pytest.MonkeyPatch) -> None:
    def closed_without_jobs(self: Application, run: RunRow) -> None:
        run.finished_at = self.now

    patch.setattr(Application, "_close", closed_without_jobs)


def terminal_does_not_absorb(patch: pytest.MonkeyPatch) -> None:
    status_is_not_checked(patch)
    end_leaves_jobs_alive(patch)


def one_blob_key_for_all_attempts(patch: pytest.MonkeyPatch) -> None:
    async def kept(text: str, *, prefix: str, what: str, blob_store: BlobStore, settings: Settings) -> Payload:
        if len(text) <= settings.blob_threshold:
            return await keep(text, prefix=prefix, what=what, blob_store=blob_store, settings=settings)
        blob = f"{prefix.rpartition('/')[0]}/output"
        await blob_store.put(blob, text.encode("ascii"))
        return Payload(text=None, digest=digest(text), size=len(text), blob=blob)

    patch.setattr(holdfast.acts, "keep", kept)


def reaping_gives_the_attempt_back(patch: pytest.MonkeyPatch) -> None:
    def without_limit(expired: ExpiredLease) -> Change:
        change = reap(attrs.evolve(expired, max_attempts=expired.attempt + 1))
        assert isinstance(change.settle, Requeue), "an attempt is left"
        return attrs.evolve(change, settle=attrs.evolve(change.settle, attempt=expired.attempt - 1))

    patch.setattr(holdfast.commands.lease_reap_stale, "reap", without_limit)


def checkpoint_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    async def forgotten(self: MemoryPersistence, key: StageKey, *, name: str) -> Payload | None:
        return None

    patch.setattr(MemoryPersistence, "find_checkpoint", forgotten)


def anybody_extends_a_lease(patch: pytest.MonkeyPatch) -> None:
    extend = MemoryPersistence.extend

    async def under_any_epoch(
        self: MemoryPersistence, leases: Sequence[LeaseRef], *, ttl: timedelta
    ) -> Sequence[LeaseRef]:
        rows = [(ref, await self.find_stage(ref.key)) for ref in leases]
        present = [ref if row is None else attrs.evolve(ref, epoch=row.epoch) for ref, row in rows]
        return await extend(self, present, ttl=ttl)

    patch.setattr(MemoryPersistence, "extend", under_any_epoch)


def superseded_outputs_stay_visible(patch: pytest.MonkeyPatch) -> None:
    def nothing(self: Application, run: RunRow, supersede: Sequence[Supersede]) -> None:
        return

    patch.setattr(Application, "_supersede", nothing)


def lease_leaves_the_version(patch: pytest.MonkeyPatch) -> None:
    grant = MemoryWork._grant

    def without_version(self: MemoryWork, row: InstanceRow, **options: Any) -> Any:
        version = row.run.version
        lease = grant(self, row, **options)
        row.run.version = version
        return lease

    patch.setattr(MemoryWork, "_grant", without_version)


def settlement_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    settle = Application._settle

    def forgotten(self: Application, run: RunRow, fence: Fence, what: Finish | Requeue | Suspend | Park) -> None:
        row = run.jobs[place(fence.key)]
        settle(self, run, fence, what)
        row.lost = (*row.lost, fence.epoch)

    patch.setattr(Application, "_settle", forgotten)


def limits_are_not_heeded(patch: pytest.MonkeyPatch) -> None:
    def always(*_: object) -> bool:
        return True

    patch.setattr(Room, "has_any", always)


def grants_pass_limits(patch: pytest.MonkeyPatch) -> None:
    give = Application._give

    def given(self: Application, run: RunRow) -> None:
        queues, self._store.queues = self._store.queues, {}
        give(self, run)
        self._store.queues = queues

    patch.setattr(Application, "_give", given)


def turn_is_not_passed_on(patch: pytest.MonkeyPatch) -> None:
    def kept(self: Application, run: RunRow) -> None:
        self._store.singles.drop(run)

    patch.setattr(Application, "_pass_turn", kept)


def singletons_go_side_by_side(patch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object) -> list[RunRow]:
        return []

    patch.setattr(Singles, "of", nobody)


def failure_of_the_store_counts_as_done(patch: pytest.MonkeyPatch) -> None:
    async def assumed(change: Change, ports: Any) -> Committed:
        try:
            return await settle(change, ports)
        except Unavailable:
            return Committed(version=0)

    patch.setattr(holdfast.attempts, "settle", assumed)


MUTANTS: Final = (
    Mutant(name="no epoch check on commit", plant=no_epoch_check, breaks="I2", scenario="linear"),
    Mutant(name="reaper without epoch", plant=reaper_without_epoch, breaks="I2", scenario="deadly"),
    Mutant(name="events of a change-set dropped", plant=events_are_dropped, breaks="I18", scenario="linear"),
    Mutant(name="operation not recorded", plant=operation_is_not_recorded, breaks="I15", scenario="linear"),
    Mutant(name="create not idempotent", plant=operation_is_not_recorded, breaks="I12", scenario="idempotent create"),
    Mutant(name="operation not checked", plant=operation_is_not_checked, breaks="I12", scenario="idempotent create"),
    Mutant(name="arrival counted twice", plant=arrival_counts_twice, breaks="I9", scenario="parallel"),
    Mutant(name="arrival not counted", plant=arrival_is_not_counted, breaks="I25", scenario="parallel"),
    Mutant(name="job not created", plant=next_job_is_not_created, breaks="I25", scenario="linear"),
    Mutant(name="position moved first", plant=position_moves_before_delivery, breaks="I16", scenario="linear"),
    Mutant(name="later events pass", plant=later_events_pass_a_parked_one, breaks="I17", scenario="event flush"),
    # The store itself trips over the job that a second admission makes.
    Mutant(name="status not checked", plant=status_is_not_checked, breaks="a defect", scenario="cancel"),
    Mutant(name="terminal not absorbing", plant=terminal_does_not_absorb, breaks="I3", scenario="cancel"),
    Mutant(name="jobs outlive their run", plant=end_leaves_jobs_alive, breaks="I6", scenario="cancel"),
    Mutant(name="fixed blob key", plant=one_blob_key_for_all_attempts, breaks="I1", scenario="blob output"),
    Mutant(name="attempts given back", plant=reaping_gives_the_attempt_back, breaks="I7", scenario="deadly"),
    Mutant(name="checkpoint forgotten", plant=checkpoint_is_forgotten, breaks="I14", scenario="checkpoint"),
    Mutant(name="anybody extends", plant=anybody_extends_a_lease, breaks="I20", scenario="linear"),
    Mutant(name="generations mixed", plant=superseded_outputs_stay_visible, breaks="I10", scenario="rerun"),
    Mutant(name="version stands still", plant=lease_leaves_the_version, breaks="I5", scenario="parallel"),
    Mutant(name="settlement forgotten", plant=settlement_is_forgotten, breaks="I15", scenario="linear"),
    Mutant(name="limits not heeded", plant=limits_are_not_heeded, breaks="I33", scenario="limited"),
    Mutant(name="grants pass limits", plant=grants_pass_limits, breaks="I33", scenario="limited"),
    Mutant(name="turn not passed on", plant=turn_is_not_passed_on, breaks="I25", scenario="single"),
    Mutant(name="singletons side by side", plant=singletons_go_side_by_side, breaks="I33", scenario="single"),
    Mutant(name="outage taken for success", plant=failure_of_the_store_counts_as_done, breaks="I2", scenario="linear"),
    *GRAPH_MUTANTS,
)
