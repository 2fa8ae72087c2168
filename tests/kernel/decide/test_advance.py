"""Completions commute: whatever the order of siblings, the last one opens the gate, once, with the same step."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast import EventType, Flow, RunStatus, StageStatus, run_sync, stage, workflow
from holdfast.change import Arrival, Committed, Finish, Grant
from holdfast.decide.admit import admit
from holdfast.decide.advance import advance
from holdfast.decide.create import Wanted, create
from holdfast.decide.outcome import Left
from holdfast.decide.route import Keep
from holdfast.entities.stage import Lease
from holdfast.events import NewEvent
from holdfast.ports.work import LeaseRequest
from holdfast_adapters.memory import MemoryPersistence
from holdfast_testing.clock import FakeClock
from tests.kernel.behaviour.flows import line, step
from tests.kernel.decide.made import RUN_ID, header, key, lease, payload, sole
from tests.kernel.watching import LEASE_TTL

KEEP = Keep(grant=Grant(worker="w1", ttl=LEASE_TTL), queues=frozenset({"default"}))


@stage
async def last() -> int:
    """Return something; what the group gave does not matter here."""
    return 0


def group(members: int, *, behind: bool = True) -> Flow[int, Any]:
    """Return a workflow of a parallel group, with a stage behind it if there is one."""
    flow: Flow[Any, Any] = workflow("line", input=int, version="1")
    flow = flow.parallel(*(step(f"m{number}") for number in range(members)))
    return flow.pipe(last) if behind else flow


def test_step_behind_one_stage_follows_in_the_same_change() -> None:
    """A completion in a line readies the next stage in its own step, leased to the worker that stays."""
    definition = line(2).definition()
    change = advance(lease("s1"), definition=definition, output=payload(), edge=sole(definition), keep=KEEP)

    assert change.settle == Finish(status=StageStatus.COMPLETED, output=payload())
    assert (change.step.arrivals, change.rules) == ((), {})
    (job,) = change.step.jobs
    assert (job.key, job.grant) == (key("s2"), KEEP.grant)
    assert [event.type for event in change.step.events] == [EventType.STAGE_COMPLETED, EventType.STAGE_STARTED]
    assert change.step.run is None


def test_last_stage_completes_the_run_in_the_same_change() -> None:
    """The completion of the last stage ends the run and names whose output is the run's."""
    definition = line(2).definition()
    change = advance(lease("s2"), definition=definition, output=payload(), edge=sole(definition, "s2"))

    assert change.step.run is not None
    assert (change.step.run.status, change.step.run.output_of) == (RunStatus.COMPLETED, ("s2",))
    assert change.step.jobs == ()


@given(members=st.integers(2, 6), data=st.data())
def test_arrivals_of_all_siblings_carry_the_same_step(members: int, data: st.DataObject) -> None:
    """Whichever sibling completes, at whatever attempt and epoch, its arrival is the same as that of any other."""
    definition = group(members).definition()
    changes = [
        advance(
            lease(f"m{number}", attempt=data.draw(st.integers(1, 9)), epoch=data.draw(st.integers(1, 9))),
            definition=definition,
            output=payload(str(number)),
            edge=sole(definition, f"m{number}"),
        )
        for number in range(members)
    ]

    assert [change.step.arrivals for change in changes] == [
        (Arrival(gate="last", source=f"m{number}"),) for number in range(members)
    ]
    (rule, *others) = [change.rules["last"] for change in changes]
    assert all(attrs.evolve(other, opens=rule.opens) == rule for other in others)
    assert rule.arity == members
    assert [[job.key for job in each.opens.jobs] for each in (rule, *others)] == [[key("last")]] * members
    assert all(change.step.run is None and change.step.jobs == () for change in changes)


def _started(definition_flow: Flow[int, Any], members: int) -> tuple[MemoryPersistence, dict[str, Lease]]:
    clock = FakeClock()
    store = MemoryPersistence(clock=clock)
    definition = definition_flow.definition()
    run_sync(store.open())
    made = create(header(), Wanted())
    run_sync(store.commit((made,)))
    (pending,) = run_sync(store.list_pending(limit=1, known=frozenset({("line", "1")})))
    run_sync(store.commit((admit(pending, definition=definition),)))
    known = frozenset({("line", "1")})
    leases = run_sync(store.lease(LeaseRequest(worker="w1", limit=members, ttl=LEASE_TTL, known=known)))
    return store, {one.key.stage_id: one for one in leases}


def _order_independent(store: MemoryPersistence) -> object:
    run = run_sync(store.find_run(RUN_ID))
    assert run is not None
    stages = {stage.key: (stage.status, stage.output) for stage in run_sync(store.list_stages(RUN_ID))}
    events = sorted((event.type.value, str(event.key)) for event in run_sync(store.list_events(RUN_ID, limit=999)))
    return run.status, run.version, run.output_of, stages, events


@pytest.mark.parametrize("behind", [True, False], ids=["join", "end"])
@pytest.mark.parametrize("together", [True, False], ids=["one commit", "many commits"])
def test_completions_commute(behind: bool, together: bool) -> None:
    """For every order of four siblings the last one opens the gate, and the run comes to the same state."""
    flow = group(4, behind=behind)
    results: list[object] = []
    for order in itertools.permutations(range(4)):
        store, leases = _started(flow, 4)
        changes = [
            advance(
                leases[f"m{number}"],
                definition=flow.definition(),
                output=payload(str(number)),
                edge=sole(flow.definition(), f"m{number}"),
            )
            for number in order
        ]
        if together:
            outcomes: Sequence[object] = run_sync(store.commit(changes))
        else:
            outcomes = [run_sync(store.commit((change,)))[0] for change in changes]
        followed = [len(outcome.steps) for outcome in outcomes if isinstance(outcome, Committed)]
        assert followed == [0, 0, 0, 1]
        results.append(_order_independent(store))

    assert len(results) == 24
    assert all(result == results[0] for result in results)


@given(members=st.integers(2, 5))
def test_one_job_of_an_opened_group_is_kept(members: int) -> None:
    """A worker that stays gets the first job behind a gate that it can take, and no second one."""
    flow: Flow[Any, Any] = line(1).parallel(*(step(f"m{number}") for number in range(members)))
    definition = flow.definition()
    change = advance(lease("s1"), definition=definition, output=payload(), edge=sole(definition), keep=KEEP)
    deaf = Keep(grant=KEEP.grant, queues=frozenset({"other"}))
    other = advance(lease("s1"), definition=definition, output=payload(), edge=sole(definition), keep=deaf)

    assert [job.grant is not None for job in change.step.jobs] == [True, *[False] * (members - 1)]
    assert not any(job.grant for job in other.step.jobs)


def test_what_an_attempt_left_is_told_before_its_end() -> None:
    """Progress that a heartbeat did not take is told before the completion, and metrics go with the record."""
    told = NewEvent(type=EventType.STAGE_PROGRESS, key=key("s1"), data={"done": 1})
    left = Left(events=(told,), metrics={"tokens": 2.0})
    definition = line(1).definition()
    change = advance(lease("s1"), definition=definition, output=payload(), edge=sole(definition), left=left)

    assert change.step.events[0] is told
    assert change.step.events[1].type is EventType.STAGE_COMPLETED
    assert isinstance(change.settle, Finish)
    assert change.settle.metrics == {"tokens": 2.0}
