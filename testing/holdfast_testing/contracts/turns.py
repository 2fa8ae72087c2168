"""The contract of turns: tenants and concurrency keys follow each other when work is handed out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from holdfast.change import Change
from holdfast.driving import run_sync
from holdfast.entities.run import RunHeader
from holdfast.entities.stage import Lease
from holdfast.ports.persistence import Persistence
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import (
    KNOWN,
    MANY,
    created,
    header,
    job,
    key,
    stand,
    started,
    take,
    take_all,
    wanted,
)


def owned_by(number: int, tenant: str, concurrency_key: str = "", *, priority: int = 5) -> RunHeader:
    """Return the header of the *number*-th run, which belongs to that tenant and key."""
    return attrs.evolve(header(number, priority=priority), tenant=tenant, concurrency_key=concurrency_key)


def begun(head: RunHeader, *, queue: str = "default", weight: int = 1) -> tuple[Change, Change]:
    """Return the change-sets that create a run and start it with one job."""
    number = int(head.id[-12:])
    new = attrs.evolve(job(key(run=number), head=head, queue=queue), weight=weight)
    return created(head=head), started(number, head=head, jobs=[new])


def begin_for(persistence: Persistence, clock: FakeClock, owners: Iterable[str | tuple[str, str]]) -> None:
    """Create and start a run with one job for each owner, a tenant or a tenant and a key, one after the other."""
    for number, owner in enumerate(owners, 1):
        tenant, concurrency_key = (owner, "") if isinstance(owner, str) else owner
        stand(persistence, *begun(owned_by(number, tenant, concurrency_key)))
        clock.advance("1ms")


def runs_of(leases: Sequence[Lease]) -> list[int]:
    """Return the numbers of the runs that were leased from."""
    return [int(lease.key.run_id[-12:]) for lease in leases]


def next_run(persistence: Persistence) -> int:
    """Lease one job and return the number of its run."""
    (number,) = runs_of(take_all(persistence, wanted(limit=1)))
    return number


class TurnsContract:
    """How every store shares what it hands out among tenants and keys."""

    def test_tenants_take_turns(self, persistence: Persistence, clock: FakeClock) -> None:
        """Tenants get what is asked for in order of their names, and begin again behind the last."""
        begin_for(persistence, clock, ["b", "b", "b", "a", "a", "c"])
        assert [next_run(persistence) for _ in range(6)] == [4, 1, 6, 5, 2, 3]

    def test_many_jobs_of_one_tenant_hold_nobody_up(self, persistence: Persistence, clock: FakeClock) -> None:
        """However much a tenant has queued before, another one has its turn next."""
        begin_for(persistence, clock, ["big"] * 300)
        assert next_run(persistence) == 1
        stand(persistence, *begun(owned_by(301, "small")))
        assert [next_run(persistence) for _ in range(2)] == [301, 2]

    def test_a_turn_is_all_that_is_asked_for(self, persistence: Persistence, clock: FakeClock) -> None:
        """In its turn a tenant gets as many as are asked for still, then the next one does."""
        begin_for(persistence, clock, ["a", "a", "b", "b", "c"])
        assert runs_of(take_all(persistence, wanted(limit=3))) == [1, 2, 3]
        assert runs_of(take_all(persistence, wanted(limit=3))) == [5, 4]

    def test_higher_priority_comes_before_turns(self, persistence: Persistence, clock: FakeClock) -> None:
        """Turns are taken among jobs of one priority; a higher one comes first whoever has it."""
        stand(persistence, *begun(owned_by(1, "a")))
        stand(persistence, *begun(owned_by(2, "b", priority=7)))
        clock.advance("1ms")
        stand(persistence, *begun(owned_by(3, "b", priority=7)))
        stand(persistence, *begun(owned_by(4, "b")))
        assert [next_run(persistence) for _ in range(4)] == [2, 3, 1, 4]

    def test_keys_of_a_tenant_take_turns(self, persistence: Persistence, clock: FakeClock) -> None:
        """Within a tenant its concurrency keys follow each other in the same way; no key is one of them."""
        begin_for(persistence, clock, [("a", "y"), ("a", "y"), ("a", "x"), ("a", ""), ("a", "x")])
        assert [next_run(persistence) for _ in range(5)] == [4, 3, 1, 5, 2]

    def test_each_tenant_goes_on_behind_its_own_key(self, persistence: Persistence, clock: FakeClock) -> None:
        """Which key had its turn last is remembered for each tenant."""
        owners = [("a", "x"), ("a", "y"), ("b", "w"), ("b", "z"), ("a", "x"), ("b", "w")]
        begin_for(persistence, clock, owners)
        assert [next_run(persistence) for _ in range(6)] == [1, 3, 2, 4, 5, 6]

    def test_of_one_key_the_longest_due_comes_first(self, persistence: Persistence, clock: FakeClock) -> None:
        """Jobs of one tenant and key come in the order in which they became due."""
        for number in (3, 1, 2):
            stand(persistence, *begun(owned_by(number, "a", "x")))
            clock.advance("1s")
        assert runs_of(take_all(persistence)) == [3, 1, 2]

    def test_leasing_exactly_one_is_nobodys_turn(self, persistence: Persistence, clock: FakeClock) -> None:
        """A job that is leased by its key does not move whose turn it is."""
        begin_for(persistence, clock, ["a", "a", "b"])
        take(persistence, key(run=2))
        assert next_run(persistence) == 1

    def test_pending_runs_of_tenants_take_turns(self, persistence: Persistence) -> None:
        """Runs that wait to be admitted are listed tenant after tenant too."""
        for number, tenant in enumerate(["big", "big", "big", "small"], 1):
            stand(persistence, created(head=owned_by(number, tenant)))

        def listed(limit: int) -> list[int]:
            return [int(run.id[-12:]) for run in run_sync(persistence.list_pending(limit=limit, known=KNOWN))]

        assert listed(1) == [1]
        assert listed(1) == [4]
        assert listed(2) == [1, 2]
        assert listed(MANY) == [4, 1, 2, 3]
