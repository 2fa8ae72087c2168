"""Plays with limits, turns and singleton keys at random, the same for every store, and what came of them."""

from __future__ import annotations

import random
from datetime import timedelta
from itertools import count
from typing import Final

import attrs

from holdfast.change import ZERO, Change, Fence, Finish, Grant, Requeue, Require, Step, Suspend
from holdfast.driving import run_sync
from holdfast.entities.queue import QueueLimits, Rate
from holdfast.entities.run import LIVE_RUN, RunHeader, RunStatus
from holdfast.entities.stage import Lease, StageStatus
from holdfast.ports.persistence import Persistence
from holdfast.ports.work import LeaseRef
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import (
    KNOWN,
    MANY,
    SECOND,
    TTL,
    completed,
    created,
    ended,
    job,
    key,
    moved,
    payload,
    rerun,
    run_id,
    settled,
    started,
    wanted,
)
from holdfast_testing.contracts.singletons import dropped, let_go, single
from holdfast_testing.contracts.turns import owned_by
from tests.adapters.fancy import plain

QUEUES: Final = ("default", "slow", "fast")
#: So much passes with each move, so that no two jobs are due at one instant.
_MOMENT: Final = timedelta(milliseconds=7)


class Sharing:
    """One play on one store: jobs of several tenants and keys come, queues get limits, and everybody claims."""

    def __init__(self, store: Persistence, clock: FakeClock, seed: int) -> None:
        self._store = store
        self._clock = clock
        self._random = random.Random(seed)
        self._numbers = count(1)
        self._leases: list[Lease] = []
        #: What each move came to.
        self.told: list[object] = []

    def play(self, moves: int) -> list[object]:
        """Make so many moves and return what each came to."""
        makers = (
            *(self._begin, self._claim) * 6,
            *(self._finish, self._later) * 3,
            *(self._limit, self._admit, self._put_off, self._wait, self._take_one, self._hold, self._look) * 2,
        )
        for _ in range(moves):
            self._clock.advance(_MOMENT)
            make = self._random.choice(makers)
            self.told.append((make.__name__, make()))
        return self.told

    def _header(self) -> RunHeader:
        choose = self._random.choice
        return owned_by(
            next(self._numbers), choose(("a", "b", "c", "ü")), choose(("", "", "x", "y")), priority=choose((5, 5, 7))
        )

    def _commit(self, *changes: Change) -> list[object]:
        return [plain(outcome) for outcome in run_sync(self._store.commit(changes))]

    def _begin(self) -> object:
        """Create and start a run with one job, at once, later, or with a grant that a limit may withhold."""
        head, choose = self._header(), self._random.choice
        number = int(head.id[-12:])
        grant = Grant(worker="w", ttl=TTL) if self._random.random() < 0.2 else None
        new = job(key(run=number), head=head, queue=choose(QUEUES), delay=choose((ZERO, ZERO, 3 * SECOND)), grant=grant)
        new = attrs.evolve(new, weight=self._random.randrange(4))
        return self._commit(created(head=head), started(number, head=head, jobs=[new]))

    def _later(self) -> object:
        """Create a run that is to be admitted."""
        return self._commit(created(head=self._header()))

    def _admit(self) -> object:
        """Start the next runs that are PENDING."""
        runs = run_sync(self._store.list_pending(limit=self._random.randrange(1, 4), known=KNOWN))
        numbers = [int(run.id[-12:]) for run in runs]
        changes = [
            started(number, head=run.header, jobs=[job(key(run=number), head=run.header, queue="slow")])
            for number, run in zip(numbers, runs, strict=True)
        ]
        # One instant each, so that none is due as long as another.
        for change in changes:
            self._commit(change)
            self._clock.advance(_MOMENT)
        return numbers

    def _claim(self) -> object:
        queues = frozenset(self._random.sample(QUEUES, self._random.randrange(1, 4)))
        leases = run_sync(self._store.lease(wanted(limit=self._random.randrange(1, 5), queues=queues)))
        self._leases.extend(leases)
        return list(leases)

    def _take_one(self) -> object:
        at = key(run=self._random.randrange(1, 60))
        lease = run_sync(self._store.lease_one(at, worker="w", ttl=TTL))
        self._leases.extend(() if lease is None else (lease,))
        return lease

    def _lease(self) -> Lease | None:
        if not self._leases:
            return None
        return self._leases.pop(self._random.randrange(len(self._leases)))

    def _finish(self) -> object:
        lease = self._lease()
        return None if lease is None else self._commit(completed(lease))

    def _put_off(self) -> object:
        """Hand a job back, suspend it, or take its lease away once that is past its end."""
        lease = self._lease()
        if lease is None:
            return None
        settle = self._random.choice(
            (
                Requeue(delay=ZERO, attempt=1),
                Requeue(delay=2 * SECOND, attempt=1),
                Suspend(state=payload("1"), delay=SECOND, give_up_after=timedelta(hours=1)),
            )
        )
        return self._commit(settled(lease, settle, expired=self._random.random() < 0.2))

    def _limit(self) -> object:
        choose = self._random.choice
        rate = choose((None, None, Rate(tokens=2, period=2 * SECOND), Rate(tokens=3, period=SECOND, burst=5)))
        limits = QueueLimits(
            name=choose(QUEUES),
            concurrency=choose((None, None, 1, 3)),
            per_key=choose((None, 1, 2)),
            rate=rate,
            paused=self._random.random() < 0.1,
        )
        run_sync(self._store.set_queue(limits))
        return limits

    def _wait(self) -> object:
        self._clock.advance(self._random.choice((SECOND, SECOND, TTL)))
        refs = [LeaseRef(key=lease.key, epoch=lease.epoch) for lease in self._leases[:3]]
        return run_sync(self._store.extend(refs, ttl=TTL))

    def _hold(self) -> object:
        """Pause a run, or let one go on."""
        number = self._random.randrange(1, 40)
        status, required = self._random.choice(
            ((RunStatus.PAUSED, RunStatus.RUNNING), (RunStatus.RUNNING, RunStatus.PAUSED))
        )
        return self._commit(moved(number, status=status, require=Require(statuses=frozenset({required}))))

    def _look(self) -> object:
        store = self._store
        expired = sorted(lease.key for lease in run_sync(store.list_expired(limit=MANY)))
        return (run_sync(store.list_queues()), run_sync(store.next_due()), expired)


class Followers:
    """Makes change-sets of a few runs that share two singleton keys."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._numbers = count(1)
        self._last = 1

    def changes(self, length: int) -> list[Change]:
        """Return so many change-sets, each on a run that may be there."""
        makers = (
            *(self._created,) * 6,
            *(self._let_go, self._started, self._ended, self._completed) * 3,
            *(self._dropped, self._rerun),
        )
        return [self._random.choice(makers)() for _ in range(length)]

    def _run(self) -> int:
        return self._random.randrange(max(1, self._last - 8), self._last + 1)

    def _created(self) -> Change:
        self._last = next(self._numbers)
        share = self._random.random()
        return single(
            self._last, queues_up=share < 0.8, name=self._random.choice("st"), held=0.6 < share < 0.7, tenant="acme"
        )

    def _let_go(self) -> Change:
        return let_go(self._run())

    def _dropped(self) -> Change:
        return dropped(self._run())

    def _started(self) -> Change:
        number = self._run()
        grant = Grant(worker="w", ttl=TTL)
        return started(number, jobs=[job(key(run=number), grant=grant)])

    def _ended(self) -> Change:
        return attrs.evolve(ended(self._run()), require=Require(statuses=LIVE_RUN))

    def _completed(self) -> Change:
        """Return the change-set that ends a run together with its only job."""
        number = self._run()
        finish = Finish(status=StageStatus.COMPLETED, output=payload())
        step: Step = ended(number, status=RunStatus.COMPLETED, output_of=("a",)).step
        return Change(run_id=run_id(number), fence=Fence(key=key(run=number), epoch=1), settle=finish, step=step)

    def _rerun(self) -> Change:
        return rerun(self._run(), generation=1 + self._last + next(self._numbers), supersede=("b",))
