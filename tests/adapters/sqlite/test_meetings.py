"""Change-sets of one batch that meet over a gate, a wait, a key or a relative fare as in calls of their own."""

from __future__ import annotations

import asyncio

import attrs
import pytest

from holdfast.change import Committed, Held, Step
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageStatus
from holdfast.entities.timer import TimerKind
from holdfast.entities.wait import WaitStatus
from holdfast.errors import LeaseLost, StaleVersion
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_testing.contracts.samples import (
    answered,
    begin,
    completed,
    created,
    ended,
    gate_rule,
    header,
    job,
    key,
    parked,
    payload,
    reaching,
    ready_event,
    reserved,
    run_id,
    sent,
    stand,
    started,
    take,
    take_all,
    the_run,
    the_stage,
    the_wait,
    timers_of,
)
from tests.adapters.sqlite.busy import gathered, transactions


def test_siblings_in_one_batch_open_their_gate_once(store: SqlitePersistence) -> None:
    """Fifty siblings that complete in one batch open their gate once, and what follows is in the same transaction."""
    names = [f"s{number}" for number in range(50)]
    begin(store, *names)
    leases = take_all(store)
    new = job(key("next"))
    joined = gate_rule(arity=50, opens=Step(jobs=(new,), events=(ready_event(new.key),)))
    changes = [reaching(completed(lease), joined) for lease in leases]
    before = transactions(store)
    outcomes = asyncio.run(gathered(store, *changes))
    assert transactions(store) == before + 2
    assert [outcome for outcome in outcomes if outcome.steps] == [outcomes[-1]]  # type: ignore[attr-defined]  # committed
    assert the_run(store).version == 2 + 50 + 50
    assert the_stage(store, key("next")).attempt == 0


def test_a_gate_that_ends_the_run_in_a_batch(store: SqlitePersistence) -> None:
    """What comes behind the end of a run in the same batch finds it ended."""
    begin(store, "a", "b", "c")
    leases = {lease.key.stage_id: lease for lease in take_all(store)}
    final = gate_rule(opens=ended().step)
    closing = [reaching(completed(leases[name]), final) for name in ("a", "b")]
    outcomes = asyncio.run(gathered(store, *closing, completed(leases["c"])))
    assert isinstance(outcomes[2], LeaseLost)
    assert the_stage(store, key("c")).status.value == "CANCELLED"


def test_two_answers_of_one_wait_in_one_batch(store: SqlitePersistence) -> None:
    """Of two answers of one wait in one batch the first stands, and its job is woken once."""
    begin(store)
    stand(store, parked(take(store)))
    first, second = asyncio.run(gathered(store, answered(text='"yes"'), answered(text='"no"')))
    assert isinstance(first, Committed)
    assert isinstance(second, StaleVersion)
    assert the_stage(store).status is StageStatus.READY
    assert the_wait(store).payload == payload('"yes"')


def test_answers_of_many_waits_in_one_batch(store: SqlitePersistence) -> None:
    """Answers of different instances share a transaction, and the run goes on with the first of them."""
    names = [f"s{number}" for number in range(20)]
    begin(store, *names)
    stand(store, *(parked(lease) for lease in take_all(store)))
    assert the_run(store).status is RunStatus.WAITING
    before = transactions(store)
    outcomes = asyncio.run(gathered(store, *(answered(at=key(name)) for name in names)))
    assert [type(outcome) for outcome in outcomes] == [Committed] * 20
    assert transactions(store) == before + 2
    assert the_run(store).status is RunStatus.RUNNING


@pytest.mark.parametrize("first", ["message", "wait"])
def test_a_message_meets_its_wait_in_one_batch(store: SqlitePersistence, first: str) -> None:
    """A message in front of the wait of its name is taken by it; one behind it is refused: the wait can be answered."""
    begin(store)
    changes = [parked(take(store)), sent()]
    outcomes = asyncio.run(gathered(store, *(reversed(changes) if first == "message" else changes)))
    assert [isinstance(outcome, Committed) for outcome in outcomes] == [True, first == "message"]
    resumed = first == "message"
    assert the_stage(store).status is (StageStatus.READY if resumed else StageStatus.WAITING)
    assert the_wait(store).status is (WaitStatus.RESOLVED if resumed else WaitStatus.OPEN)


def test_two_runs_want_one_key_in_one_batch(store: SqlitePersistence) -> None:
    """Of two runs that take one key in one batch the first gets it, and the other is told who holds it."""
    for run in (1, 2):
        begin(store, run=run)
    leases = [take(store, key(run=run)) for run in (1, 2)]
    first, second = asyncio.run(gathered(store, *(reserved(lease) for lease in leases)))
    assert isinstance(first, Committed)
    assert isinstance(second, Held)
    assert second.result.holder == key(run=1)


def test_a_key_is_free_once_its_holder_has_ended(store: SqlitePersistence) -> None:
    """Who wants a key behind the end of the run that held it gets it, in the same batch."""
    for run in (1, 2):
        begin(store, run=run)
    stand(store, reserved(take(store)))
    outcomes = asyncio.run(gathered(store, ended(1), reserved(take(store, key(run=2)))))
    assert [type(outcome) for outcome in outcomes] == [Committed, Committed]


def test_relatives_in_one_batch(store: SqlitePersistence) -> None:
    """A child that ends in front of its parent's failure is not told of it; one that lives still is."""
    begin(store)
    for number in (2, 3):
        head = attrs.evolve(header(number), parent_id=run_id())
        stand(store, created(head=head), started(number, head=head))
    failed = ended(1, status=RunStatus.FAILED)
    outcomes = asyncio.run(gathered(store, ended(2), failed, ended(3)))
    assert [type(outcome) for outcome in outcomes] == [Committed] * 3
    assert timers_of(store) == []
    begin(store, run=4)
    for number in (5, 6):
        head = attrs.evolve(header(number), parent_id=run_id(4))
        stand(store, created(head=head), started(number, head=head))
    asyncio.run(gathered(store, ended(5), ended(4, status=RunStatus.FAILED)))
    assert timers_of(store) == [(6, "parent", TimerKind.PARENT_ENDED)]


def test_children_in_one_batch_share_a_wave(store: SqlitePersistence) -> None:
    """Children of one parent that end in one batch are all told of there."""
    begin(store)
    for number in (2, 3, 4):
        head = attrs.evolve(header(number), parent_id=run_id())
        stand(store, created(head=head), started(number, head=head))
    asyncio.run(gathered(store, *(ended(number) for number in (2, 3, 4))))
    told = [(1, f"child:{run_id(number)}", TimerKind.CHILD_ENDED) for number in (2, 3, 4)]
    assert sorted(timers_of(store), key=lambda timer: timer[1]) == told
