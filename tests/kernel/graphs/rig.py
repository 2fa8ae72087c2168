"""A run on the kernel beside the same run in the reference interpreter: compared at every commit, in any order."""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Coroutine
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final, cast

import attrs

from holdfast.change import Change, Finish, Grant, Requeue
from holdfast.codec import to_json
from holdfast.command import Command
from holdfast.commands.job_execute import JobExecute, JobExecuted
from holdfast.commands.lease_reap_stale import LeaseReapStale
from holdfast.commands.run_claim_pending import RunClaimPending
from holdfast.commands.run_create import RunCreate
from holdfast.commands.run_rerun_from import RunRerunFrom
from holdfast.commands.run_retry import RunRetry
from holdfast.decide.derive import derive
from holdfast.decide.route import Keep
from holdfast.driving import run_sync
from holdfast.entities.definition import Definition
from holdfast.entities.graph import turns
from holdfast.entities.stage import Lease, StageInstance, StageKey, StageStatus
from holdfast.errors import IllegalTransition, Unavailable
from holdfast.events import Event, EventType, fold
from holdfast.payloads import run_output
from holdfast.ports.executor import BodyCall
from holdfast.ports.persistence import Persistence
from holdfast.ports.work import LeaseRequest
from holdfast_testing.clock import FakeClock
from holdfast_testing.faults import Fault, FaultPlan, ProcessDied, faulty
from holdfast_testing.harness import Harness
from tests.kernel.graphs.compiled import compiled
from tests.kernel.graphs.generations import rerun, retried
from tests.kernel.graphs.interpreter import Interpreter
from tests.kernel.graphs.plans import At, Plan, Script
from tests.kernel.graphs.stores import Pause, stopping, watched

INPUT: Final = {"the": "input"}
_TTL: Final = timedelta(seconds=30)
#: A run that takes more turns of the driver than this goes round in circles.
_MOST: Final = 5_000


class Mishap(Exception):
    """Raised by a body because the script says so."""


@attrs.define(kw_only=True)
class Hand:
    """A worker with a job in its hands."""

    lease: Lease
    steps: Coroutine[Any, Any, JobExecuted]
    #: Whether it stopped before a commit.
    at_commit: bool = False


class Rig:
    """One run, the workers that execute it, and the interpreter that knows what they must do."""

    def __init__(
        self,
        plan: Plan,
        script: Script,
        *,
        seed: int,
        persistence: Persistence,
        clock: FakeClock,
        definition: Definition | None = None,
    ) -> None:
        self.plan = plan
        self.script = script
        self.definition = compiled(plan) if definition is None else definition
        self.order = random.Random(seed)
        self.clock = clock
        self.store = persistence
        self.faults = FaultPlan()
        self.trouble = self.order.choice((0.0, 0.05, 0.2))
        ports = stopping(faulty(watched(persistence, self), self.faults), before_commit=self.stop)
        self.harness = Harness(persistence=ports, clock=clock, executor=self)
        self.harness.registry.add(self.definition)
        self.model = Interpreter(plan, script, INPUT)
        self.models = {1: self.model}
        #: Who is moving now; None while no worker does.
        self.hand: Hand | None = None
        self.broken: AssertionError | None = None
        self.calls: Counter[tuple[StageKey, int]] = Counter()
        self.events: list[Event] = []
        #: What was skipped when last looked at.
        self.skipped: set[At] = set()
        command = RunCreate(workflow_id=self.definition.id, version="1", input=INPUT)
        self.run_id = ""
        self.run_id = self.harness.dispatch(command).run_id

    async def stop(self) -> None:
        """Let somebody else go first, if it is a worker that is about to commit."""
        if self.hand is not None:
            self.hand.at_commit = True
            await Pause()

    # The executor of the kernel.

    async def run(self, call: BodyCall) -> Any:
        """Play the body of the stage that is being executed."""
        assert self.hand is not None
        lease = self.hand.lease
        at, model = self.at(lease.key), self.models[lease.key.generation]
        # What is raised here is the failure of a stage; whoever drives has to raise it again.
        try:
            assert at in model.begun, f"{at} is executed and nothing led to it"
            assert at not in model.remembered, f"{at} is executed again"
            # A worker that has lost its lease may see what came after; nothing that it does is ever committed.
            there = run_sync(self.store.find_stage(lease.key))
            if there is not None and there.epoch == lease.epoch:
                assert call.arguments == (model.begun[at],), f"{at} was given {call.arguments}, not {model.begun[at]}"
            assert lease.attempt <= self.plan.nodes[at.stage].attempts, f"{at} has attempt {lease.attempt}"
        except AssertionError as error:
            self.broken = error
            raise
        self.calls[lease.key, lease.attempt] += 1
        await Pause()
        if self.script.fails(at, lease.key.generation, lease.attempt):
            raise Mishap(f"{at}, attempt {lease.attempt}")
        return self.script.gives(at, lease.key.generation, call.arguments[0])

    async def rest(self) -> None:
        """Return at once: bodies that are played start no tasks."""

    def at(self, key: StageKey) -> At:
        """Return the instance as the interpreter names it."""
        return At(key.stage_id, turns(key.turn, depth=len(self.plan.loops(key.stage_id))), key.item)

    # What the kernel does.

    def hear(self, change: Change) -> None:
        """Tell the interpreter what became of a job, and check that this is what had to."""
        fence, settled, model = change.fence, change.settle, self.model
        if fence is None or settled is None:
            return
        at = self.at(fence.key)
        attempt = self._attempt(change)
        expected = model.outcome(at, attempt=attempt, lost=fence.expired)
        if isinstance(settled, Requeue):
            assert expected == "AGAIN", f"{at} goes on after attempt {attempt}; it should be {expected}"
            return
        assert isinstance(settled, Finish)
        assert settled.status.value == expected, f"{at} is {settled.status} by attempt {attempt}, not {expected}"
        if expected == "FAILED":
            model.failed(at)
            return
        output = model.completed(at)
        assert settled.output is not None
        assert settled.output.text == to_json(output, what="output"), f"{at} gave {settled.output.text}, not {output}"

    def _attempt(self, change: Change) -> int:
        assert change.fence is not None
        told = [event for event in change.step.events if event.key == change.fence.key and "attempt" in event.data]
        return int(told[0].data["attempt"])

    def compare(self) -> None:
        """Compare the stored run with the interpreter, and with its own events."""
        if not self.run_id:
            return
        snapshot = run_sync(self.store.find_snapshot(self.run_id))
        assert snapshot is not None
        self.events += run_sync(self.store.list_events(self.run_id, after=len(self.events), limit=10_000))
        model = self.model
        if snapshot.run.status.value == "PENDING":
            return
        assert snapshot.run.generation == model.generation
        assert snapshot.run.status.value == model.status, (
            f"{snapshot.run.status}, not {model.status}: {snapshot.run.failure}"
        )
        newest = {self.at(one.key): one for one in sorted(snapshot.stages, key=lambda one: one.key.generation)}
        live = {at for at, one in newest.items() if not one.status.is_terminal}
        assert live == set(model.live), _difference("live", live, model.live)
        for status in ("COMPLETED", "FAILED", "SKIPPED"):
            there = {at for at, one in newest.items() if one.status.value == status and _counts(one, at, model)}
            expected = {at for at, one in model.done.items() if one.status == status}
            if status == "FAILED":
                # A tolerated failure inside of what is kept may be forgotten when its stage is done again elsewhere.
                expected = {at for at in expected if at in model.begun or at in there}
            if status == "SKIPPED" and model.code == "TOO_MANY_FAILED":
                # The join that fails the run is not the last one that would have heard of the failure.
                assert self.skipped <= there
                expected &= there
            assert there == expected, _difference(status, there, expected)
            if status == "SKIPPED":
                self.skipped = there
        assert derive(snapshot, definition=self.definition) is None
        assert run_sync(self.store.list_orphans(limit=1)) == []
        folded = fold(self.events)
        assert folded.status is snapshot.run.status
        rows = {one.key: one.status for one in run_sync(self.store.list_stages(self.run_id))}
        assert folded.stages == rows

    def finish(self) -> None:
        """Check what can be told only of a run that has ended."""
        run = run_sync(self.store.find_run(self.run_id))
        assert run is not None
        model = self.model
        assert run.status.value == model.status
        if model.code is not None:
            assert run.failure is not None
            assert run.failure.code == model.code
        text = run_sync(
            run_output(
                run.output_of,
                run_id=self.run_id,
                persistence=self.store,
                blob_store=self.harness.blob_store,
            )
        )
        assert (None if text is None else json.loads(text)) == model.output
        stages = run_sync(self.store.list_stages(self.run_id))
        for one in stages:
            begun = [event for event in self.events if event.key == one.key and event.type in _BEGINS]
            first = [event for event in begun if event.type is EventType.STAGE_READY] or begun[:1]
            assert len(first) == (one.status is not StageStatus.SKIPPED), f"{one.key} began {len(first)} times"
            is_body = self.plan.nodes[one.key.stage_id].kind == "body"
            at = self.at(one.key)
            if one.status is StageStatus.COMPLETED and is_body and at not in self.models[one.key.generation].remembered:
                assert self.calls[one.key, one.attempt] == 1
        assert all(count == 1 for count in self.calls.values())

    # What drives it.

    def drive(self) -> None:
        """Let workers execute whatever there is until the run has ended."""
        hands: list[Hand] = []
        most = self.order.randint(1, 4)
        for _ in range(_MOST):
            if self.model.status != "RUNNING" and (not hands or self.order.random() < 0.2):
                break
            takes = not hands or (len(hands) < most and self.order.random() < 0.7)
            fresh = self._take(most - len(hands)) if takes else []
            hands += [self._begin(lease) for lease in fresh]
            if hands and (not fresh or self.order.random() < 0.6):
                self._move(hands)
            elif not hands and self.model.status == "RUNNING":
                self._wait()
        else:
            raise AssertionError("the run goes round in circles")
        for hand in hands:
            hand.steps.close()
        self.finish()

    def _take(self, limit: int) -> list[Lease]:
        self.harness.dispatch(LeaseReapStale())
        claim = RunClaimPending(worker="w", max_claims=1, keep_queues=self.order.choice((frozenset(), _QUEUES)))
        leases = list(self.harness.dispatch(claim).leases)
        request = LeaseRequest(worker="w", limit=limit, ttl=_TTL, known=self.harness.registry.known())
        return [*leases, *run_sync(self.harness.transport.dequeue(request))]

    def _begin(self, lease: Lease, command: JobExecute | None = None) -> Hand:
        if command is None:
            keep = self.order.choice((None, Keep(grant=_GRANT, queues=_QUEUES)))
            command = JobExecute(job=lease.key, worker="w", lease=lease, keep=keep)
        return Hand(lease=lease, steps=self.harness.kernel.dispatch(command))

    def _move(self, hands: list[Hand]) -> None:
        """Let one worker go on to where it stops next, or let it die."""
        hand = hands.pop(self.order.randrange(len(hands)))
        is_trouble = self.order.random() < self.trouble
        if is_trouble and self.order.random() < 0.3:
            hand.steps.close()
            return
        if is_trouble and hand.at_commit:
            self.faults.fail_next(self.order.choice(list(Fault)))
        self.hand, hand.at_commit = hand, False
        try:
            hand.steps.send(None)
            if self.broken is not None:
                raise self.broken
        except StopIteration as stop:
            executed: JobExecuted = stop.value
            following = executed.next
            if following is not None:
                assert following.lease is not None
                hands.append(self._begin(following.lease, following))
        except (ProcessDied, Unavailable):
            self.faults.is_dead = False
        else:
            hands.append(hand)
        finally:
            self.hand = None
        if self.trouble and self.order.random() < 0.03:
            self.clock.advance(_TTL + timedelta(seconds=1))

    def _wait(self) -> None:
        due = run_sync(self.store.next_due())
        assert due is not None, "the run lives and nothing is due"
        self.clock.advance(due)

    # Again.

    def again(self) -> bool:
        """Retry or rerun the ended run and return whether that was possible."""
        if self.model.status == "FAILED" and self.order.random() < 0.5:
            self._go_on(RunRetry(run_id=self.run_id), retried(self.model))
            return True
        stage = self.order.choice([one for one in self.plan.nodes if "~" not in one])
        model = rerun(self.model, stage)
        command = RunRerunFrom(run_id=self.run_id, from_stage_id=stage)
        if model is None:
            with suppress(IllegalTransition):
                self.harness.dispatch(command)
                raise AssertionError(f"a rerun from {stage} begins nothing")
            return False
        self._go_on(command, model)
        return True

    def _go_on(self, command: RunRetry | RunRerunFrom, model: Interpreter) -> None:
        self.model = self.models[model.generation] = model
        self.skipped = set()
        self.harness.dispatch(cast("Command[Any]", command))
        self.drive()


_BEGINS: Final = frozenset({EventType.STAGE_READY, EventType.STAGE_STARTED})
_QUEUES: Final = frozenset({"default"})
_GRANT: Final = Grant(worker="w", ttl=_TTL)


def _counts(one: StageInstance, at: At, model: Interpreter) -> bool:
    """Return whether the record says anything of the present generation.

    What was skipped before may be open again, and what is taken as it is completes anew.
    """
    is_open = one.status is StageStatus.SKIPPED or at in model.remembered
    return one.key.generation == model.generation or not is_open or at in model.done


def _difference(what: str, there: Any, expected: Any) -> str:
    more = ", ".join(sorted(map(str, set(there) - set(expected))))
    less = ", ".join(sorted(map(str, set(expected) - set(there))))
    return f"{what}: {more or 'nothing'} too much, {less or 'nothing'} missing"
