"""Change-sets made at random that often meet, and how to compare what stores make of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from itertools import count
from typing import Any, Final

import attrs

from holdfast.change import (
    PENDING,
    ZERO,
    Change,
    Committed,
    Fence,
    Finish,
    Grant,
    NewGate,
    NewItems,
    NewJob,
    Park,
    Refusal,
    Requeue,
    Require,
    Resolution,
    Rule,
    RunPatch,
    Step,
    Suspend,
)
from holdfast.driving import run_sync
from holdfast.entities.run import FORWARD_RUN, LIVE_RUN, RunStatus
from holdfast.entities.stage import Lease, StageStatus
from holdfast.entities.timer import Timer
from holdfast.events import EventType, NewEvent
from holdfast.ports.persistence import Persistence
from holdfast.traces import NewToken, Reservation, Supersede
from holdfast_testing.contracts.samples import (
    TTL,
    answered,
    artifact,
    created,
    deadline,
    ended,
    expired,
    header,
    job,
    key,
    moved,
    new_wait,
    noted,
    operation,
    payload,
    reach,
    ready_event,
    rerun,
    rules,
    run_id,
    scope,
    sent,
    started,
)

RUNS: Final = (1, 2, 3)
STAGES: Final = ("a", "b", "c", "d", "e", "f", "g", "h")
NAMES: Final = ("w", "x", "y")
#: Runs that are created on the way, and those of them that have a parent.
LATER: Final = range(10, 15)
CHILDREN: Final = range(20, 26)
GOING: Final = Require(statuses=frozenset({RunStatus.RUNNING, RunStatus.WAITING}))


def granted(stage_id: str, *, run: int, item: int = 0) -> NewJob:
    """Return a job that is leased at once, under epoch 1; that of stage c is past its end at once as well."""
    return job(key(stage_id, run=run, item=item), grant=Grant(worker="w", ttl=ZERO if stage_id == "c" else TTL))


class Fancy:
    """Makes change-sets that often meet: few runs, few stages, few names."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._numbers = count(1)

    def changes(self, length: int) -> list[Change]:
        """Return *length* change-sets, the first of them giving the others something to meet over."""
        first = [change for run in RUNS for change in (created(run), self._started(run))]
        return first + self.more(length)

    def more(self, length: int) -> list[Change]:
        """Return *length* change-sets on runs that may be there already."""
        makers = (
            *(self._finished,) * 10,
            *(self._parked, self._answered) * 5,
            *(self._requeued, self._suspended, self._noted, self._fired, self._recorded, self._created) * 2,
            *(self._waiting, self._sent, self._reserved, self._patched, self._child, self._paused, self._unpaused) * 2,
            *(self._ended, self._rerun, self._rerun, self._started, self._told, self._mapped, self._compensated),
            *(self._superseded, self._let_go),
        )
        return [self._random.choice(makers)(self._run()) for _ in range(length)]

    def _run(self) -> int:
        return self._random.choice(RUNS if self._random.random() < 0.9 else CHILDREN)

    def _started(self, run: int) -> Change:
        return started(run, jobs=[granted(stage, run=run) for stage in STAGES], timers=[deadline(delay=ZERO)])

    def _fence(self, run: int) -> Fence:
        return Fence(key=key(self._random.choice(STAGES), run=run), epoch=self._random.choice((1, 1, 1, 1, 2, 3)))

    def _new(self, run: int) -> NewJob:
        return granted("next", run=run, item=next(self._numbers))

    def _rule(self, run: int) -> Rule:
        """Return a rule whose gate makes a job, skips one, or ends the run."""
        new = self._new(run)
        goes_on = Step(jobs=(new,), events=(ready_event(new.key),))
        passes = Step(skips=(key("skip", run=run, item=next(self._numbers)),), cancels=("deadline",))
        fails = ended(run, status=RunStatus.FAILED).step
        ends = ended(run, status=RunStatus.COMPLETED, output_of=("a",)).step
        name, opens = self._random.choice((("g", goes_on), ("h", goes_on), ("end", ends)))
        need = 1 if name == "h" else None
        return Rule(
            gate=name,
            generation=1,
            turn=self._random.randrange(3),
            arity=3,
            need=need,
            tolerate=1,
            opens=opens,
            skips=passes,
            fails=fails,
        )

    def _finished(self, run: int) -> Change:
        status = self._random.choice((StageStatus.COMPLETED,) * 4 + (StageStatus.FAILED,))
        settle = Finish(status=status, output=payload(f'"{next(self._numbers)}"'), edge="a -> b")
        given = [self._rule(run) for _ in range(1 + self._random.randrange(2))]
        # A rule of its own for each gate of the change-set.
        given = list({(rule.gate, rule.turn): rule for rule in given}.values())
        resolutions = (Resolution.TAKEN,) * 4 + (Resolution.SKIPPED, Resolution.FAILED)
        arrivals = tuple(reach(rule, self._random.choice(resolutions), source="a") for rule in given)
        if self._random.random() < 0.3:
            # What opens leads to another gate.
            last = self._rule(run)
            if all((last.gate, last.turn) != (rule.gate, rule.turn) for rule in given):
                step = attrs.evolve(given[0].opens, arrivals=(reach(last, source="b"),))
                given = [attrs.evolve(given[0], opens=step), *given[1:], last]
        step = Step(arrivals=arrivals)
        return Change(run_id=run_id(run), fence=self._fence(run), settle=settle, step=step, rules=rules(*given))

    def _requeued(self, run: int) -> Change:
        late = self._random.random() < 0.3
        fence = attrs.evolve(self._fence(run), expired=late)
        return Change(run_id=run_id(run), fence=fence, settle=Requeue(delay=ZERO, attempt=self._random.randrange(3)))

    def _suspended(self, run: int) -> Change:
        settle = Suspend(state=payload("1"), delay=ZERO, give_up_after=timedelta(hours=1))
        return Change(run_id=run_id(run), fence=self._fence(run), settle=settle)

    def _parked(self, run: int) -> Change:
        names = self._random.sample(NAMES, 1 + self._random.randrange(2))
        fence = self._fence(run)
        anew = self._random.random() < 0.3
        settle = Park(waits=tuple(attrs.evolve(new_wait(name, timeout=TTL), anew=anew) for name in names))
        told = tuple(NewEvent(type=EventType.STAGE_WAITING, key=fence.key, data={"name": name}) for name in names)
        return Change(run_id=run_id(run), fence=fence, settle=settle, step=Step(events=told))

    def _answered(self, run: int) -> Change:
        at, name = key(self._random.choice(STAGES), run=run), self._random.choice(NAMES)
        if self._random.random() < 0.3:
            return expired(name, at=at)
        return answered(name, at=at, text=str(next(self._numbers)))

    def _waiting(self, run: int) -> Change:
        """Return a change-set that makes a job which begins with a wait."""
        new = attrs.evolve(self._new(run), waits=(new_wait(self._random.choice(NAMES)),), via=("a", "b"), depth=4)
        return Change(run_id=run_id(run), step=Step(jobs=(new,), events=(ready_event(new.key),)))

    def _sent(self, run: int) -> Change:
        return sent(self._random.choice(NAMES), number=run, text=str(next(self._numbers)))

    def _reserved(self, run: int) -> Change:
        fence = self._fence(run)
        reservation = Reservation(scope=scope(self._random.choice(("k", "l"))), fingerprint="f" * 64)
        change = attrs.evolve(noted(run), fence=fence, reservation=reservation)
        if self._random.random() < 0.3:
            output = payload(str(next(self._numbers)))
            kept = attrs.evolve(reservation, output=output)
            settle = Finish(status=StageStatus.COMPLETED, output=output)
            return attrs.evolve(change, settle=settle, reservation=kept)
        return change

    def _patched(self, run: int) -> Change:
        patch = {self._random.choice(NAMES): {"n": self._random.choice((None, next(self._numbers)))}}
        token = NewToken(hash=f"{next(self._numbers):064x}", name="w", lifetime=TTL)
        return attrs.evolve(noted(run), patch=patch, tokens=(token,))

    def _mapped(self, run: int) -> Change:
        first = key("m", run=run, turn=next(self._numbers))
        gate = NewGate(gate="map", generation=1, turn=first.turn, arity=2)
        items = NewItems(key=first, payloads=(payload("1"), payload("2")))
        return Change(run_id=run_id(run), step=Step(gates=(gate,), items=items))

    def _child(self, run: int) -> Change:
        number = self._random.choice(CHILDREN)
        head = attrs.evolve(header(number), parent_id=run_id(run))
        return created(number, head=head)

    def _paused(self, run: int) -> Change:
        step = Step(run=RunPatch(status=RunStatus.PAUSED), jobs=(self._new(run),))
        return Change(run_id=run_id(run), require=GOING, step=step)

    def _unpaused(self, run: int) -> Change:
        require = Require(statuses=frozenset({RunStatus.PAUSED}))
        return moved(run, status=RunStatus.RUNNING, require=require)

    def _compensated(self, run: int) -> Change:
        step = Step(
            run=RunPatch(status=RunStatus.COMPENSATING),
            jobs=(self._new(run), attrs.evolve(self._new(run), waits=(new_wait("w"),))),
            timers=(deadline("undo"),),
        )
        return Change(run_id=run_id(run), require=Require(statuses=FORWARD_RUN), step=step)

    def _superseded(self, run: int) -> Change:
        stage, completed = self._random.choice(STAGES), self._random.random() < 0.5
        skip = key(stage, run=run, generation=1_000 + next(self._numbers))
        supersede = (Supersede(stage_id=stage, from_turn=self._random.randrange(2), completed=completed),)
        return attrs.evolve(noted(run), supersede=supersede, step=Step(skips=(skip,)))

    def _let_go(self, run: int) -> Change:
        return moved(run, status=RunStatus.PENDING, require=PENDING)

    def _noted(self, run: int) -> Change:
        version = self._random.choice((None, None, 2, 4, 6, 8))
        return noted(run, require=Require(statuses=self._random.choice((LIVE_RUN, PENDING.statuses)), version=version))

    def _told(self, run: int) -> Change:
        return attrs.evolve(noted(run), fence=self._fence(run))

    def _fired(self, run: int) -> Change:
        timers = (deadline(delay=ZERO),) if self._random.random() < 0.5 else ()
        cancels = ("deadline",) if self._random.random() < 0.3 else ()
        return Change(run_id=run_id(run), fired="deadline", step=Step(timers=timers, cancels=cancels))

    def _recorded(self, run: int) -> Change:
        name = self._random.choice(("x", "y", "z"))
        made = artifact(name, blob=str(next(self._numbers)))
        return attrs.evolve(noted(run), operations=(operation(name),), artifacts=(made,))

    def _created(self, run: int) -> Change:
        number = self._random.choice(LATER) if self._random.random() < 0.8 else run
        change = created(number)
        assert change.create is not None
        new = attrs.evolve(change.create, held=number % 2 == 0, state={"w": {"made": number}})
        return attrs.evolve(change, create=new, operations=(operation(f"create {number % 3}"),))

    def _ended(self, run: int) -> Change:
        return ended(run, status=self._random.choice((RunStatus.CANCELLED, RunStatus.FAILED)))

    def _rerun(self, run: int) -> Change:
        return rerun(run, generation=1 + next(self._numbers), supersede=("a", "b"))


def untied(found: Any) -> object:
    """Return what a store tells with leases, timers and orphans in an order that does not depend on the store.

    Those of one instant may come in any order.
    """
    runs, pending, leases, timers, due, orphans, *more = found
    leases = sorted(leases, key=lambda lease: lease.key)
    return (runs, pending, leases, sorted(timers, key=_timer), due, sorted(orphans), *more)


def _timer(timer: Timer) -> tuple[str, str]:
    return (timer.run_id, timer.id)


def took(store: Persistence) -> Sequence[Lease | None]:
    """Lease every job that is due, one after the other in order of key, and return the leases."""
    keys = [stage.key for run in RUNS for stage in run_sync(store.list_stages(run_id(run))) if not stage.finished_at]
    return [run_sync(store.lease_one(at, worker="w1", ttl=TTL)) for at in sorted(keys)]


def told(outcome: Committed | Refusal) -> object:
    """Return an outcome as something that can be compared: errors are equal when they say the same."""
    return (type(outcome), str(outcome)) if isinstance(outcome, Exception) else outcome


def plain(outcome: Committed | Refusal) -> object:
    """Return an outcome as something that can be compared between stores, which may word their errors differently."""
    return type(outcome) if isinstance(outcome, Exception) else outcome
