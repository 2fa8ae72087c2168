"""The memory store undoes everything when an operation breaks off at any of its lines."""

from __future__ import annotations

import sys
from collections.abc import Callable, Coroutine
from datetime import timedelta
from types import CodeType, FrameType
from typing import Any, Final

import attrs
import pytest

from holdfast.change import (
    PENDING,
    ZERO,
    Change,
    Committed,
    Finish,
    Grant,
    NewGate,
    NewItems,
    Requeue,
    Require,
    RunPatch,
    Step,
    Suspend,
)
from holdfast.driving import run_sync
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageStatus
from holdfast.ports.outbox import Delivery
from holdfast.ports.work import LeaseRef
from holdfast.traces import NewAnnotation, NewLog, NewToken, Supersede
from holdfast_adapters.memory import MemoryPersistence
from holdfast_testing.clock import START, FakeClock
from holdfast_testing.contracts.samples import (
    HOUR,
    MANY,
    SECOND,
    SINK,
    TTL,
    answered,
    artifact,
    begin,
    created,
    deadline,
    ended,
    everything,
    failure,
    fence,
    gate_rule,
    header,
    job,
    key,
    moved,
    new_wait,
    noted,
    operation,
    parked,
    payload,
    progress,
    reach,
    reaching,
    rerun,
    reserved,
    rules,
    run_id,
    sent,
    settled,
    stand,
    started,
    take,
    the_stage,
    wait_for,
    wanted,
)

RUNS: Final = (1, 2, 3, 5, 9)


class Broken(BaseException):
    """What breaks an operation off; like an interrupt, no ordinary error."""


class Breaker:
    """A trace function that raises when the *at*-th line below a port's method is about to run."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, frame: FrameType, event: str, arg: object) -> Any:
        return self._line if _is_watched(frame.f_code) else None

    def _line(self, frame: FrameType, event: str, arg: object) -> Any:
        if event == "line":
            self.left -= 1
            if self.left == 0:
                raise Broken
        return self._line


def _is_watched(code: CodeType) -> bool:
    folder, _, module = code.co_filename.rpartition("/")
    if not folder.endswith("holdfast_adapters/memory") or module == "undo.py":
        return False
    # A port's method itself only enters and leaves the transaction; between these two no line could be undone.
    return module not in {"journal.py", "work.py", "outbox.py", "retention.py"} or code.co_name.startswith("_")


def prepared() -> MemoryPersistence:
    """Return a store in which every operation below has something to do."""
    clock = FakeClock()
    store = MemoryPersistence(clock=clock)
    begin(store, "a", "b", "c", "poll")
    begin(store, "a", "b", run=2)
    begin(store, run=3)
    begin(store, "a", "b", run=5)
    stand(store, ended(5))
    stand(store, Change(run_id=run_id(), step=Step(timers=(deadline(),), events=(progress(),))))
    state = Suspend(state=payload("1"), delay=SECOND, give_up_after=HOUR)
    stand(store, settled(take(store, key("poll")), state))
    stand(store, reaching(noted(), gate_rule(arity=3)))
    stand(store, attrs.evolve(noted(), artifacts=(artifact("old"),), operations=(operation("old"),)))
    take(store, key("a"))
    take(store, key("b"))
    streams = run_sync(store.lease_streams(sink=SINK, limit=MANY, events=MANY, ttl=TTL))
    parked = Delivery(run_id=run_id(3), sink=SINK, epoch=streams[2].epoch, position=1, failures=3, parked=True)
    run_sync(store.settle_streams([parked]))
    stand(store, created(4))
    clock.advance("1s")
    return store


def commits(store: MemoryPersistence) -> Coroutine[Any, Any, object]:
    """Commit change-sets that between them write whatever can be written."""
    behind = gate_rule("behind", arity=1, opens=Step(skips=(key("left out"),)))
    opens = Step(jobs=(job(key("d")),), events=(progress(text="gate"),), arrivals=(reach(behind),))
    gate = gate_rule(arity=3, opens=opens)
    laden = attrs.evolve(
        Change(
            run_id=run_id(),
            fence=fence(_lease(store, "a")),
            settle=Finish(status=StageStatus.COMPLETED, output=payload("2"), metrics={"n": 1.0}),
            step=Step(
                jobs=(job(key("e"), grant=Grant(worker="w", ttl=TTL)), job(key("f"), delay=HOUR)),
                timers=(deadline(), deadline("second")),
                events=(progress(text="own"),),
                arrivals=(reach(gate, source="a"), reach(gate)),
            ),
            rules=rules(gate, behind),
        ),
        artifacts=(artifact("old", blob="new"), artifact("new")),
        annotations=(NewAnnotation(name="who", value={"deep": [1]}),),
        logs=(NewLog(key=key(), attempt=1, level="info", message="", data={}, at=START),),
        operations=(operation("new"),),
    )
    retried = settled(_lease(store, "b"), Requeue(delay=SECOND, attempt=1, failure=failure()))
    waiting = Change(run_id=run_id(3), step=Step(run=RunPatch(status=RunStatus.PAUSED), timers=(deadline(),)))
    return store.commit(
        [
            attrs.evolve(created(9), operations=(operation("nine"),)),
            laden,
            noted(9, require=Require(statuses=frozenset({RunStatus.COMPLETED}))),
            noted(9, require=PENDING),
            retried,
            ended(1, status=RunStatus.COMPLETED, output_of=("a",)),
            rerun(1),
            rerun(5, supersede=("a", "b")),
            waiting,
            ended(2),
        ]
    )


def prepared_to_wait() -> MemoryPersistence:
    """Return a store in which runs wait, hold keys, are held and have relatives."""
    clock = FakeClock()
    store = MemoryPersistence(clock=clock)
    begin(store, "a", "b", "c", "due", "later")
    for name in "ab":
        wait_for(store, "w", name, at=key(name))
    stand(store, answered("a"), reserved(take(store, key("c"))), sent("early"))
    stand(store, Change(run_id=run_id(), step=Step(items=NewItems(key=key("m"), payloads=(payload("0"),)))))
    family = [created(head=attrs.evolve(header(number), parent_id=run_id(1))) for number in (2, 3)]
    stand(store, *family, started(2), attrs.evolve(noted(), patch={"n": 1}))
    begin(store, run=5)
    wait_for(store, at=key(run=5))
    new = created(9)
    assert new.create is not None
    stand(store, attrs.evolve(new, create=attrs.evolve(new.create, held=True)))
    run_sync(store.lease_streams(sink=SINK, limit=MANY, events=MANY, ttl=TTL))
    clock.advance("1s")
    return store


def waits(store: MemoryPersistence) -> Coroutine[Any, Any, object]:
    """Commit change-sets that open and answer waits and lay out what is to come, also while the run is PAUSED."""
    lease = attrs.evolve(_lease(store, "c"), worker="w1")
    begins = attrs.evolve(job(key("g")), waits=(new_wait("early"), new_wait("more")))
    adds = Step(
        jobs=(begins, job(key("h"), grant=Grant(worker="w1", ttl=TTL)), job(key("m", item=1))),
        skips=(key("left out", item=2),),
        gates=(NewGate(gate="map", generation=1, turn=0, arity=2),),
        items=NewItems(key=key("m", item=1), payloads=(payload("1"), payload("2"))),
        timers=(deadline(),),
        cancels=("deadline",),
    )
    token = NewToken(hash="1" * 64, name="w", lifetime=HOUR)
    return store.commit(
        [
            attrs.evolve(answered("b", at=key("b")), tokens=(token,), messages=sent("x").messages, patch={"n": None}),
            Change(run_id=run_id(), step=adds),
            moved(status=RunStatus.PAUSED),
            attrs.evolve(parked(lease, "x", "y"), patch={"m": {"deep": 1}}),
            moved(status=RunStatus.RUNNING),
            reserved(attrs.evolve(lease, key=key("h"), epoch=1), name="second", output="1"),
        ]
    )


def moves(store: MemoryPersistence) -> Coroutine[Any, Any, object]:
    """Commit change-sets that close runs and all they have, tell their relatives, and let them go on."""
    undo = RunPatch(status=RunStatus.COMPENSATING, failure=failure())
    kept = (job(key("a~undo"), grant=Grant(worker="w1", ttl=TTL)), job(key("b~undo"), delay=HOUR))
    return store.commit(
        [
            answered(at=key(run=5)),
            moved(status=RunStatus.PAUSED),
            Change(run_id=run_id(), step=Step(run=undo, jobs=kept, timers=(deadline("kept"),))),
            ended(2),
            ended(status=RunStatus.FAILED),
            attrs.evolve(rerun(), supersede=(Supersede(stage_id="a"), Supersede(stage_id="b", completed=False))),
            rerun(2),
            moved(9, status=RunStatus.PENDING, require=PENDING),
        ]
    )


def _lease(store: MemoryPersistence, name: str) -> Any:
    stage = the_stage(store, key(name))
    assert stage.worker is not None
    return attrs.evolve(
        SAMPLE_LEASE, key=stage.key, epoch=stage.epoch, attempt=stage.attempt, worker=stage.worker, status=stage.status
    )


def _sample_lease() -> Any:
    store = MemoryPersistence(clock=FakeClock())
    begin(store)
    return take(store)


SAMPLE_LEASE: Final = _sample_lease()


def extends(store: MemoryPersistence) -> Coroutine[Any, Any, object]:
    """Extend two leases and one that is lost."""
    refs = [LeaseRef(key=key(name), epoch=1) for name in ("a", "lost", "b")]
    return store.extend(refs, ttl=HOUR)


def settles(store: MemoryPersistence) -> Coroutine[Any, Any, object]:
    """Settle a stream as delivered in part and one as parked."""
    taken = Delivery(run_id=run_id(1), sink=SINK, epoch=1, position=2, delay=timedelta(seconds=5))
    parked = Delivery(run_id=run_id(2), sink=SINK, epoch=1, position=0, failures=9, parked=True, error="down")
    return store.settle_streams([taken, parked])


OPERATIONS: Final[dict[str, Callable[[MemoryPersistence], Coroutine[Any, Any, object]]]] = {
    "commit": commits,
    "waits": waits,
    "moves": moves,
    "lease": lambda store: store.lease(wanted()),
    "lease_one": lambda store: store.lease_one(key("c"), worker="w", ttl=TTL),
    "extend": extends,
    "list_expired": lambda store: store.list_expired(limit=MANY),
    "list_pending": lambda store: store.list_pending(limit=MANY, known=frozenset({("review", "1.0.0")})),
    "lease_streams": lambda store: store.lease_streams(sink=SINK, limit=MANY, events=MANY, ttl=TTL),
    "lease_streams of a new sink": lambda store: store.lease_streams(sink="new", limit=2, events=5, ttl=TTL),
    "settle_streams": settles,
    "replay_parked": lambda store: store.replay_parked(sink=SINK, limit=MANY),
}


#: What the store is prepared with for an operation; `prepared` unless it is named here.
PREPARED: Final[dict[str, Callable[[], MemoryPersistence]]] = {
    "waits": prepared_to_wait,
    "moves": prepared_to_wait,
}


def seen(store: MemoryPersistence) -> object:
    """Return all that the store tells now and would tell two hours later."""
    clock = store._store.clock
    assert isinstance(clock, FakeClock)
    now = clock.now()
    before = everything(store, *RUNS)
    clock.advance(2 * HOUR)
    after = everything(store, *RUNS)
    clock.set(now)
    return before, after


def told(store: MemoryPersistence) -> object:
    """Return all that is seen, and what a lease and a delivery of everything would get.

    The last two change the store, so that also the inner order of what waits is compared.
    """
    return (
        seen(store),
        run_sync(store.find_operation(tenant="acme", scope="operation", key="nine")),
        run_sync(store.find_token("1" * 64)),
        _keys(store),
        run_sync(store.lease(wanted())),
        run_sync(store.lease_streams(sink=SINK, limit=MANY, events=MANY, ttl=TTL)),
        run_sync(store.replay_parked(sink=SINK, limit=MANY)),
        run_sync(store.lease_streams(sink=SINK, limit=MANY, events=MANY, ttl=TTL)),
        seen(store),
    )


def _keys(store: MemoryPersistence) -> object:
    """Return who holds which key, without taking one."""
    return dict(store._store.keys)


def broken_off(coroutine: Coroutine[Any, Any, object], *, at: int) -> bool:
    """Drive *coroutine* and return whether it was broken off at that line, rather than being done before."""
    before = sys.gettrace()
    sys.settrace(Breaker(at))
    try:
        run_sync(coroutine)
    except Broken:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_broken_operation_leaves_nothing_behind(name: str) -> None:
    """Whatever line an operation breaks off at, the store tells what it told before, and it can be repeated."""
    operate, prepare = OPERATIONS[name], PREPARED.get(name, prepared)
    untouched = seen(prepare())
    whole = prepare()
    # Refusals are errors, which are equal only to themselves.
    outcome = repr(run_sync(operate(whole)))
    done = told(whole)
    line = 1
    while broken_off(operate(store := prepare()), at=line):
        assert seen(store) == untouched, f"broken off at line event {line}"
        assert repr(run_sync(operate(store))) == outcome, f"broken off at line event {line}"
        assert told(store) == done, f"broken off at line event {line}"
        line += 1
    assert line > 5


def test_every_change_of_a_failing_call_is_undone() -> None:
    """A change-set that cannot be applied takes the others of its call with it: nobody learned that they stood."""
    store = prepared()
    before = everything(store, *RUNS)
    twice = Change(run_id=run_id(), step=Step(jobs=(job(key("a")),)))
    with pytest.raises(AssertionError, match="exists already"):
        run_sync(store.commit([created(9), noted(), twice]))
    assert everything(store, *RUNS) == before


@pytest.mark.parametrize("value", [object(), {1: "one"}, {"deep": [START]}, {"a", "b"}, b"bytes"])
def test_what_is_not_json_is_refused(value: object) -> None:
    """A value that no database could store as JSON raises, and nothing is written."""
    store = prepared()
    before = everything(store, *RUNS)
    with pytest.raises(TypeError, match=r"is no (JSON value|name of a JSON member)"):
        run_sync(store.commit([attrs.evolve(noted(), annotations=(NewAnnotation(name="who", value=value),))]))
    assert everything(store, *RUNS) == before


@pytest.mark.parametrize(("name", "refused"), [("commit", 1), ("waits", 0), ("moves", 0)])
def test_the_sample_changes_stand(name: str, refused: int) -> None:
    """The change-sets that the rollback is shown with are really applied, all but those that are meant not to be."""
    store = PREPARED.get(name, prepared)()
    outcomes = run_sync(OPERATIONS[name](store))
    assert isinstance(outcomes, list)
    assert [outcome for outcome in outcomes if not isinstance(outcome, Committed)] == outcomes[2 : 2 + refused]


def test_the_prepared_store_has_something_of_everything() -> None:
    """The sample the rollback is shown with really leaves something in each of the agendas."""
    store = prepared()
    counts = run_sync(store.count())
    assert (counts.ready, counts.leased, counts.suspended, counts.parked) == (4, 2, 1, 1)
    assert counts.undelivered == 4
    assert run_sync(store.next_due()) == ZERO
