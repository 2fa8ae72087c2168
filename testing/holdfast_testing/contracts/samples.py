"""What the persistence contracts commit: small runs, jobs and change-sets, and the moves most tests begin with."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

import attrs

from holdfast.change import (
    ACTIVE,
    PENDING,
    ZERO,
    Arrival,
    Change,
    Committed,
    Fence,
    Finish,
    Grant,
    NewJob,
    NewRun,
    NewTimer,
    NewWait,
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
from holdfast.entities.keyed import KeyScope
from holdfast.entities.operation import OPERATION_SCOPE, OperationRecord
from holdfast.entities.payload import Artifact, Payload
from holdfast.entities.run import TERMINAL_RUN, Failure, Run, RunHeader, RunStatus
from holdfast.entities.snapshot import RunSnapshot
from holdfast.entities.stage import Lease, StageInstance, StageKey, StageStatus
from holdfast.entities.timer import TimerKind
from holdfast.entities.wait import Wait, WaitKind, WaitStatus
from holdfast.events import Event, EventType, NewEvent, fold
from holdfast.ports.persistence import Persistence
from holdfast.ports.queries import RunFilter
from holdfast.ports.work import LeaseRequest
from holdfast.traces import Answer, NewMessage, Reservation, Supersede

#: How long leases are granted for unless a test says otherwise.
TTL: Final = timedelta(seconds=30)
SECOND: Final = timedelta(seconds=1)
HOUR: Final = timedelta(hours=1)
MANY: Final = 10_000
WORKFLOW: Final = "review"
VERSION: Final = "1.0.0"
KNOWN: Final = frozenset({(WORKFLOW, VERSION)})
SINK: Final = "log"


def run_id(number: int = 1) -> str:
    """Return the id of the *number*-th run; ids ascend as UUIDv7 ids made one after another do."""
    return f"01940000-0000-7000-8000-{number:012d}"


def key(stage_id: str = "a", *, run: int = 1, generation: int = 1, turn: int = 0, item: int = 0) -> StageKey:
    """Return the key of a stage instance of the *run*-th run."""
    return StageKey(run_id=run_id(run), stage_id=stage_id, generation=generation, turn=turn, item=item)


def payload(text: str = "null") -> Payload:
    """Return inline *text* with its true digest and size."""
    raw = text.encode()
    return Payload(text=text, digest=hashlib.sha256(raw).hexdigest(), size=len(raw))


def failure(message: str = "it broke") -> Failure:
    """Return a failure of stage a with every field set."""
    return Failure(code="STAGE_ERROR", message=message, error="builtins.ValueError", stage_id="a", trace="a line\n")


def header(number: int = 1, *, workflow: str = WORKFLOW, version: str = VERSION, priority: int = 5) -> RunHeader:
    """Return the header of the *number*-th run."""
    return RunHeader(
        id=run_id(number),
        tenant="acme",
        workflow_id=workflow,
        workflow_version=version,
        priority=priority,
        input=payload('{"doc":17}'),
        config='{"a":{"depth":3}}',
    )


def created(number: int = 1, *, head: RunHeader | None = None, idempotency_key: str | None = None) -> Change:
    """Return the change-set that creates the *number*-th run with its first event."""
    new = NewRun(header=head or header(number), idempotency_key=idempotency_key)
    return Change(
        run_id=new.header.id, create=new, step=Step(events=(NewEvent(type=EventType.RUN_CREATED, data={"n": number}),))
    )


def job(
    at: StageKey | None = None,
    *,
    head: RunHeader | None = None,
    queue: str = "default",
    delay: timedelta = ZERO,
    grant: Grant | None = None,
) -> NewJob:
    """Return a new job of three attempts at most; its workflow and priority are those of *head*."""
    at = at or key()
    head = head or header()
    return NewJob(
        key=at,
        workflow_id=head.workflow_id,
        workflow_version=head.workflow_version,
        queue=queue,
        priority=head.priority,
        max_attempts=3,
        delay=delay,
        grant=grant,
    )


def started(
    number: int = 1,
    *,
    jobs: Sequence[NewJob] | None = None,
    timers: Sequence[NewTimer] = (),
    head: RunHeader | None = None,
) -> Change:
    """Return the change-set that makes the *number*-th run RUNNING with *jobs*, by default one of stage a."""
    jobs = (job(key(run=number), head=head),) if jobs is None else jobs
    events = (NewEvent(type=EventType.RUN_STARTED), *(ready_event(new.key) for new in jobs))
    step = Step(run=RunPatch(status=RunStatus.RUNNING), jobs=tuple(jobs), timers=tuple(timers), events=events)
    return Change(run_id=run_id(number), require=PENDING, step=step)


def ready_event(at: StageKey) -> NewEvent:
    """Return the event that a job became ready."""
    return NewEvent(type=EventType.STAGE_READY, key=at)


def progress(number: int = 1, *, at: StageKey | None = None, text: str = "on it") -> NewEvent:
    """Return an event that moves nothing."""
    return NewEvent(type=EventType.STAGE_PROGRESS, key=at or key(run=number), data={"message": text})


def noted(number: int = 1, *, require: Require = ACTIVE, events: int = 1) -> Change:
    """Return a change-set that only appends *events* events to a run."""
    told = tuple(progress(number, text=f"step {n}") for n in range(events))
    return Change(run_id=run_id(number), require=require, step=Step(events=told))


def deadline(name: str = "deadline", *, delay: timedelta = HOUR) -> NewTimer:
    """Return a timer."""
    return NewTimer(id=name, kind=TimerKind.RUN_DEADLINE, delay=delay)


def artifact(name: str = "report", *, blob: str = "blob-1") -> Artifact:
    """Return an artifact."""
    return Artifact(name=name, blob=blob, digest="d" * 64, size=12, media_type="application/json")


def operation(
    name: str = "op-1", *, tenant: str = "acme", scope: str = OPERATION_SCOPE, result: str = '{"run":1}'
) -> OperationRecord:
    """Return an operation record about the first run."""
    return OperationRecord(
        tenant=tenant, scope=scope, key=name, command="run.create", fingerprint="f" * 64, result=result, run_id=run_id()
    )


def fence(lease: Lease, *, expired: bool = False) -> Fence:
    """Return the fence of a lease."""
    return Fence(key=lease.key, epoch=lease.epoch, expired=expired)


def settled(
    lease: Lease, settle: Finish | Requeue | Suspend | Park, *, step: Step | None = None, expired: bool = False
) -> Change:
    """Return the change-set that settles *lease* so, with one event unless *step* is given."""
    step = Step(events=(progress(at=lease.key),)) if step is None else step
    return Change(run_id=lease.key.run_id, fence=fence(lease, expired=expired), settle=settle, step=step)


def completed(lease: Lease, *, output: str = "null", step: Step | None = None) -> Change:
    """Return the change-set that completes the leased stage."""
    told = NewEvent(type=EventType.STAGE_COMPLETED, key=lease.key, data={"attempt": lease.attempt})
    finish = Finish(status=StageStatus.COMPLETED, output=payload(output))
    return settled(lease, finish, step=Step(events=(told,)) if step is None else step)


def ended(number: int = 1, *, status: RunStatus = RunStatus.CANCELLED, output_of: tuple[str, ...] = ()) -> Change:
    """Return the change-set that ends a RUNNING run whatever its jobs do."""
    kind = {
        RunStatus.COMPLETED: EventType.RUN_COMPLETED,
        RunStatus.FAILED: EventType.RUN_FAILED,
        RunStatus.CANCELLED: EventType.RUN_CANCELLED,
    }[status]
    why = failure() if status is RunStatus.FAILED else None
    patch = RunPatch(status=status, output_of=output_of, failure=why)
    return Change(run_id=run_id(number), step=Step(run=patch, events=(NewEvent(type=kind),)))


def rerun(number: int = 1, *, generation: int = 2, supersede: tuple[str, ...] = ("a",)) -> Change:
    """Return the change-set that does the ended run again from the first of the superseded stages."""
    new = job(key(supersede[0], run=number, generation=generation))
    return Change(
        run_id=run_id(number),
        require=Require(statuses=TERMINAL_RUN),
        step=Step(
            run=RunPatch(status=RunStatus.RUNNING, generation=generation),
            jobs=(new,),
            events=(NewEvent(type=EventType.RUN_RERUN, data={"generation": generation}), ready_event(new.key)),
        ),
        supersede=tuple(Supersede(stage_id=stage_id) for stage_id in supersede),
    )


def moved(number: int = 1, *, status: RunStatus, require: Require = ACTIVE) -> Change:
    """Return the change-set that moves a run and nothing else."""
    return Change(run_id=run_id(number), require=require, step=Step(run=RunPatch(status=status)))


def gate_rule(
    gate: str = "g", *, arity: int | None = 2, generation: int = 1, turn: int = 0, opens: Step | None = None
) -> Rule:
    """Return the rule of a gate that readies stage c when it opens, unless *opens* says otherwise."""
    new = job(key("c", generation=generation, turn=turn))
    opens = Step(jobs=(new,), events=(ready_event(new.key),)) if opens is None else opens
    return Rule(gate=gate, generation=generation, turn=turn, arity=arity, opens=opens)


def rule_id(rule: Rule) -> str:
    """Return the id under which the samples put a rule into a change-set."""
    return f"rule {rule.gate} {rule.generation} {rule.turn}"


def rules(*given: Rule) -> dict[str, Rule]:
    """Return the rules by id."""
    return {rule_id(rule): rule for rule in given}


def reach(rule: Rule, resolution: Resolution = Resolution.TAKEN, *, source: str | None = None) -> Arrival:
    """Return the arrival of an edge at the gate of the rule."""
    return Arrival(gate=rule_id(rule), resolution=resolution, source=source)


def reaching(change: Change, *given: Rule) -> Change:
    """Return *change* with a TAKEN edge into the gate of each of the rules added to it, in order."""
    arrivals = (*change.step.arrivals, *(reach(rule) for rule in given))
    step = attrs.evolve(change.step, arrivals=arrivals)
    return attrs.evolve(change, step=step, rules={**change.rules, **rules(*given)})


def made(outcome: Committed | Refusal) -> list[str]:
    """Return the stages that the arrivals of a change-set made live, in order; it must stand."""
    assert isinstance(outcome, Committed), outcome
    return [new.key.stage_id for step in outcome.steps for new in step.jobs]


def new_wait(name: str = "w", *, kind: WaitKind = WaitKind.PAYLOAD, timeout: timedelta | None = None) -> NewWait:
    """Return a wait to be opened."""
    return NewWait(name=name, kind=kind, timeout=timeout, reason=f"for {name}")


def parked(lease: Lease, *names: str) -> Change:
    """Return the change-set that parks the leased job until one of the waits is answered, by default w."""
    waits = tuple(new_wait(name) for name in names or ("w",))
    told = tuple(
        NewEvent(type=EventType.STAGE_WAITING, key=lease.key, data={"name": new.name, "kind": new.kind.value})
        for new in waits
    )
    return settled(lease, Park(waits=waits), step=Step(events=told))


def wait_for(persistence: Persistence, *names: str, at: StageKey | None = None) -> None:
    """Lease a job and park it until one of the waits is answered, by default w."""
    stand(persistence, parked(take(persistence, at), *names))


def answered(name: str = "w", *, at: StageKey | None = None, text: str = '"yes"') -> Change:
    """Return the change-set that answers a wait of an instance."""
    at = at or key()
    answer = Answer(key=at, name=name, status=WaitStatus.RESOLVED, payload=payload(text), actor="user:7")
    told = NewEvent(type=EventType.STAGE_RESUMED, key=at, data={"name": name})
    return Change(run_id=at.run_id, answers=(answer,), step=Step(events=(told,)))


def expired(name: str = "w", *, at: StageKey | None = None) -> Change:
    """Return the change-set that ends a wait whose limit was reached."""
    at = at or key()
    answer = Answer(key=at, name=name, status=WaitStatus.EXPIRED)
    told = NewEvent(type=EventType.STAGE_WAIT_EXPIRED, key=at, data={"name": name})
    return Change(run_id=at.run_id, answers=(answer,), step=Step(events=(told,)))


def sent(name: str = "w", *, number: int = 1, text: str = '"early"', require: Require = ACTIVE) -> Change:
    """Return the change-set that keeps a payload for a wait which is not open yet."""
    message = NewMessage(name=name, payload=payload(text), actor="user:8")
    return Change(run_id=run_id(number), require=require, messages=(message,))


def scope(name: str = "k") -> KeyScope:
    """Return where a key is unique."""
    return KeyScope(tenant="acme", workflow_id=WORKFLOW, stage_id="a", key=name)


def reserved(lease: Lease, *, name: str = "k", output: str | None = None) -> Change:
    """Return the change-set that takes a key for the leased job, or completes it and keeps its result under it."""
    result = None if output is None else payload(output)
    reservation = Reservation(scope=scope(name), fingerprint="f" * 64, output=result)
    change = noted(int(lease.key.run_id[-12:])) if output is None else completed(lease, output=output)
    return attrs.evolve(change, fence=fence(lease), reservation=reservation)


def wanted(
    *,
    limit: int = MANY,
    worker: str = "w1",
    known: frozenset[tuple[str, str]] = KNOWN,
    queues: frozenset[str] = frozenset({"default"}),
    statuses: frozenset[StageStatus] = frozenset({StageStatus.READY, StageStatus.SUSPENDED}),
) -> LeaseRequest:
    """Return a request for leases of `TTL`."""
    return LeaseRequest(worker=worker, limit=limit, ttl=TTL, known=known, queues=queues, statuses=statuses)


def commit(persistence: Persistence, *changes: Change) -> list[Committed | Refusal]:
    """Commit *changes* in one call and return their outcomes."""
    return list(run_sync(persistence.commit(changes)))


def stand(persistence: Persistence, *changes: Change) -> Committed:
    """Commit *changes* one after another, all of which must stand, and return the last outcome."""
    last = Committed(version=0)
    for change in changes:
        (outcome,) = commit(persistence, change)
        assert isinstance(outcome, Committed), outcome
        last = outcome
    return last


def refuse(persistence: Persistence, change: Change) -> Refusal:
    """Commit *change*, which must be refused, and return why."""
    (outcome,) = commit(persistence, change)
    assert not isinstance(outcome, Committed)
    return outcome


def begin(persistence: Persistence, *stage_ids: str, run: int = 1) -> None:
    """Create and start a run with a ready job for each stage, by default for stage a."""
    jobs = [job(key(stage_id, run=run)) for stage_id in stage_ids or ("a",)]
    stand(persistence, created(run), started(run, jobs=jobs))


def take(persistence: Persistence, at: StageKey | None = None, *, worker: str = "w1", ttl: timedelta = TTL) -> Lease:
    """Lease one job, which must be eligible."""
    lease = run_sync(persistence.lease_one(at or key(), worker=worker, ttl=ttl))
    assert lease is not None
    return lease


def take_all(persistence: Persistence, request: LeaseRequest | None = None) -> list[Lease]:
    """Lease what *request* asks for, by default everything."""
    return list(run_sync(persistence.lease(request or wanted())))


def suspended(persistence: Persistence, *, delay: timedelta = SECOND, give_up_after: timedelta = HOUR) -> None:
    """Begin the first run and suspend its stage a."""
    begin(persistence)
    settle = Suspend(state=payload('{"batch":"b1"}'), delay=delay, give_up_after=give_up_after)
    stand(persistence, settled(take(persistence), settle))


def the_run(persistence: Persistence, number: int = 1) -> Run:
    """Return a run that must exist."""
    run = run_sync(persistence.find_run(run_id(number)))
    assert run is not None
    return run


def the_stage(persistence: Persistence, at: StageKey | None = None) -> StageInstance:
    """Return a stage instance that must exist."""
    stage = run_sync(persistence.find_stage(at or key()))
    assert stage is not None
    return stage


def the_wait(persistence: Persistence, name: str = "w", *, at: StageKey | None = None) -> Wait:
    """Return the wait of that name of a stage instance, which must exist."""
    at = at or key()
    (wait,) = [
        wait
        for wait in run_sync(persistence.list_run_waits(at.run_id, limit=MANY))
        if (wait.key, wait.name) == (at, name)
    ]
    return wait


def the_snapshot(persistence: Persistence, number: int = 1) -> RunSnapshot:
    """Return the snapshot of a run that must exist."""
    snapshot = run_sync(persistence.find_snapshot(run_id(number)))
    assert snapshot is not None
    return snapshot


def events_of(persistence: Persistence, number: int = 1) -> list[Event]:
    """Return all events of a run."""
    return list(run_sync(persistence.list_events(run_id(number), limit=MANY)))


def check_fold(persistence: Persistence, number: int = 1) -> None:
    """Assert that folding the events of a run gives the statuses of its rows."""
    folded = fold(events_of(persistence, number))
    snapshot = the_snapshot(persistence, number)
    assert folded.status is snapshot.run.status
    assert folded.stages == {stage.key: stage.status for stage in snapshot.stages}


def timers_of(persistence: Persistence) -> list[tuple[int, str, TimerKind]]:
    """Return run number, id and kind of the timers that are due."""
    timers = run_sync(persistence.list_due_timers(limit=MANY))
    return [(int(timer.run_id[-12:]), timer.id, timer.kind) for timer in timers]


def everything(persistence: Persistence, *numbers: int) -> object:
    """Return all that the port tells without changing anything, for comparing before and after."""
    return (
        run_sync(persistence.list_runs(RunFilter(), limit=MANY)),
        run_sync(persistence.list_pending(limit=MANY, known=KNOWN)),
        run_sync(persistence.list_expired(limit=MANY)),
        run_sync(persistence.list_due_timers(limit=MANY)),
        run_sync(persistence.next_due()),
        run_sync(persistence.list_orphans(limit=MANY)),
        run_sync(persistence.list_live_versions()),
        run_sync(persistence.count()),
        [_all_of(persistence, number) for number in numbers or (1,)],
    )


def _all_of(persistence: Persistence, number: int) -> object:
    at = run_id(number)
    return (
        run_sync(persistence.find_snapshot(at)),
        run_sync(persistence.list_stages(at)),
        run_sync(persistence.list_events(at, limit=MANY)),
        run_sync(persistence.list_logs(at, limit=MANY)),
        run_sync(persistence.list_annotations(at, limit=MANY)),
        run_sync(persistence.list_artifacts(at)),
        run_sync(persistence.find_checkpoint(key("a", run=number), name="n")),
        run_sync(persistence.get_outputs(at, ("a", "b", "c", "d"))),
        run_sync(persistence.list_item_outputs(key("a", run=number), after=-1, limit=MANY)),
        run_sync(persistence.find_item(key("a", run=number))),
        run_sync(persistence.get_state(at)),
        run_sync(persistence.list_run_waits(at, limit=MANY)),
        run_sync(persistence.list_named_waits(at, "w")),
        run_sync(persistence.find_message(at, "w")),
    )
