"""What happens inside a stage: its steps are journalled, its waits and children remembered, and it parks itself.

A stage that cannot go on is left by `Parked` and called again from its beginning once it can. Whatever it did under a
name is found again then, so the names, not the order of the calls, are its memory.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import lru_cache
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final, Never, get_type_hints

import attrs

from holdfast.authoring.pausing import Child, addressed
from holdfast.authoring.watch import Watch
from holdfast.change import ZERO, Change, Fence, NewWait, Step
from holdfast.codec import JsonType, digest, from_json, payload_type
from holdfast.command import Ports
from holdfast.creating import ChildOf, create_run
from holdfast.entities.definition import Definition, PayloadType
from holdfast.entities.payload import Payload
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import Lease, StageKey
from holdfast.entities.timer import CHILD_PREFIX
from holdfast.entities.wait import Wait, WaitKind, WaitStatus
from holdfast.errors import (
    ChildFailed,
    CommitUnknown,
    DefinitionError,
    InvalidInput,
    UnknownWait,
    WaitTimedOut,
)
from holdfast.events import EventType, NewEvent
from holdfast.payloads import attempt_prefix, child_result, keep, text_of
from holdfast.ports.executor import Parked
from holdfast.settling import checked
from holdfast.traces import NewCheckpoint, NewToken

if TYPE_CHECKING:
    from holdfast.authoring.flow import Flow

#: Functions whose result types are remembered; a stage calls few.
_REMEMBERED: Final = 512


class JournalledSteps:
    """Steps, waits and children of one attempt."""

    __slots__ = ("_definition", "_lease", "_ports", "_prefix", "_waits", "_watch")

    def __init__(self, lease: Lease, ports: Ports, *, definition: Definition, watch: Watch, prefix: str = "") -> None:
        self._lease = lease
        self._ports = ports
        self._definition = definition
        self._watch = watch
        #: What stands before the names of everything that is journalled.
        self._prefix = prefix
        self._waits: dict[str, Wait] | None = None

    def within(self, name: str) -> JournalledSteps:
        """Return the steps of one part of the attempt, whose names do not meet those of its other parts."""
        return JournalledSteps(
            self._lease, self._ports, definition=self._definition, watch=self._watch, prefix=f"{name}/"
        )

    @property
    def _name_giver(self) -> StageKey:
        """The instance under whose name checkpoints are kept: what a retry of the run does again, it goes on with."""
        key, origin = self._lease.key, self._lease.origin
        return key if key.generation == origin else attrs.evolve(key, generation=origin)

    async def once(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        tells: Callable[[Any], NewEvent] | None = None,
    ) -> Any:
        """Return the kept result of the step, or call *function* and keep what it returns.

        The fact that *tells* makes of a new result is committed with it: whoever finds the result need not tell it.
        """
        name = self._prefix + name
        what = f'checkpoint "{name}" of stage "{self._lease.key.stage_id}"'
        kind = _result_type(function)
        found = await self._ports.persistence.find_checkpoint(self._name_giver, name=name)
        if found is None:
            if self._watch.parking:
                # Another task of the body is parking the stage: what begins now would be done again.
                raise Parked
            value = function(*args, **kwargs)
            if isawaitable(value):
                value = await value
            told = () if tells is None else (tells(value),)
            found = await self._keep(name, kind.encode(value, what=what), what=what, told=told)
        # Read back even when it is new, so that the first attempt sees exactly what later ones will.
        return kind.decode(await text_of(found, blob_store=self._ports.blob_store), what=what)

    async def _keep(self, name: str, text: str, *, what: str, told: tuple[NewEvent, ...] = ()) -> Payload:
        ports, lease = self._ports, self._lease
        prefix = attempt_prefix(lease.key, epoch=lease.epoch)
        result = await keep(text, prefix=prefix, what=what, blob_store=ports.blob_store, settings=ports.settings)
        checkpoint = NewCheckpoint(key=self._name_giver, name=name, result=result)
        await self._commit(self._fenced(checkpoints=(checkpoint,), step=Step(events=told)), what=what)
        return result

    def _fenced(self, **written: Any) -> Change:
        key = self._lease.key
        return Change(run_id=key.run_id, fence=Fence(key=key, epoch=self._lease.epoch), **written)

    async def _commit(self, change: Change, *, what: str) -> None:
        """Commit something that can be committed twice: the first of its name stands, and it is the same.

        Facts would be told twice; with some, an unknown outcome is looked up first.
        """
        unknown: CommitUnknown | None = None
        for _ in range(self._ports.settings.commit_tries):
            try:
                checked((await self._ports.persistence.commit((change,)))[0])
            except CommitUnknown as error:
                unknown = error
                if change.step.events and await self._stands(change):
                    return
            else:
                return
        raise CommitUnknown(f"{what} could not be committed or looked up") from unknown

    async def _stands(self, change: Change) -> bool:
        (checkpoint,) = change.checkpoints
        return await self._ports.persistence.find_checkpoint(checkpoint.key, name=checkpoint.name) is not None

    async def sleep(self, name: str, duration: timedelta) -> None:
        """Return if the sleep is over, else park the stage until it is."""
        if duration > ZERO:
            await self._answered(NewWait(name=f"sleep:{self._prefix}{name}", kind=WaitKind.SLEEP, timeout=duration))

    async def wait_for(
        self,
        name: str,
        *,
        item: str | None,
        timeout: timedelta | None,  # noqa: ASYNC109 - it is durable: the store keeps it, no task
        reason: str,
    ) -> Any:
        """Return the payload of the wait, else park the stage until there is one."""
        spec = self._definition.stages[self._lease.key.stage_id]
        kind = spec.waits.get(name)
        if kind is None:
            fix = f'stage "{spec.id}" does not declare it; write @stage(waits={{"{name}": …}})'
            raise InvalidInput("name of a wait", [f'"{name}": {fix}'])
        wait = await self._answered(
            NewWait(name=self._address(name, item=item), kind=WaitKind.PAYLOAD, timeout=timeout, reason=reason)
        )
        if wait.payload is None:
            raise WaitTimedOut(wait.name)
        text = await text_of(wait.payload, blob_store=self._ports.blob_store)
        return kind.decode(text, what=f'payload of the wait "{wait.name}"')

    def _address(self, name: str, *, item: str | None) -> str:
        spec = self._definition.stages[self._lease.key.stage_id]
        return addressed(name, item=item, mapped_item=None if spec.within is None else self._lease.key.item)

    async def _answered(self, new: NewWait) -> Wait:
        """Return the wait once it is not open any more, else park the stage."""
        # Another task may park the stage while this one looks: what it then waits for belongs to the same parking.
        under_way, at = self._watch.under_way, f"~wait:{self._prefix}{new.name}"
        under_way.add(at)
        self._watch.asked[new.name] = None
        try:
            wait = (await self.waits()).get(new.name)
            is_open = wait is None or wait.status in {WaitStatus.OPEN, WaitStatus.CLOSED}
            if is_open:
                self._watch.parking[new.name] = new
        finally:
            under_way.discard(at)
        if wait is None or is_open:
            await self._park(new)
        return wait

    async def waits(self) -> dict[str, Wait]:
        """Return the waits that the stage has had, by name."""
        if self._waits is None:
            found = await self._ports.persistence.list_waits(self._lease.key, since=self._lease.origin)
            self._waits = {wait.name: wait for wait in found}
        return self._waits

    async def _park(self, new: NewWait) -> Never:
        self._watch.asked[new.name] = None
        self._watch.parking[new.name] = new
        # Other tasks of the body get the chance to say what they wait for, so that all of it is open at once.
        await self._ports.executor.rest()
        raise Parked

    async def quiet(self) -> None:
        """Return when no other task of the parked body has a step under way; what it does is journalled before."""
        while self._watch.under_way and not self._watch.cancelled:
            await self._ports.executor.rest()

    async def token(self, name: str, *, item: str | None, lifetime: timedelta) -> str:
        """Return a new right to answer the wait."""
        waiting = self._definition.waiting
        if name not in waiting:
            raise UnknownWait(name, workflow=self._definition.name, known=sorted(waiting))
        within = waiting[name][0].within is not None
        address = addressed(name, item=item, mapped_item=self._lease.key.item if within else None)
        token = self._ports.ids.token()
        new = NewToken(hash=digest(token), name=address, lifetime=lifetime)
        await self._commit(self._fenced(tokens=(new,)), what=f'the token of the wait "{address}"')
        return token

    async def start(self, name: str, flow: Flow[Any, Any], input: Any) -> Child[Any]:
        """Return the child run of that name, which is started unless it was before."""
        definition = flow.definition()
        run_id = await self._begun(name, definition, input, at=f"~child:{name}")
        for generation in range(self._lease.origin + 1, self._lease.key.generation + 1):
            # What was cancelled with the run that is retried now, or since, is done again as the stage itself is.
            there = await self._ports.persistence.find_run(run_id)
            if there is not None and there.status is not RunStatus.CANCELLED:
                break
            run_id = await self._begun(name, definition, input, at=f"child.{generation}:{name}")
        return Child(run_id=run_id, output=definition.output)

    async def _begun(self, name: str, definition: Definition, input: Any, *, at: str) -> str:
        """Return the id of the child run that is journalled *at* a name, which is started unless it was before."""
        lease = self._lease

        async def begin() -> str:
            parent = ChildOf(
                parent_id=lease.key.run_id,
                tenant=lease.run.tenant,
                priority=lease.run.priority,
                concurrency_key=lease.run.concurrency_key,
            )
            place = f"{lease.key.stage_id}/{lease.origin}.{lease.key.turn}.{lease.key.item}"
            key = f"{lease.key.run_id}/{place}/{self._prefix}{at}"
            return await create_run(definition, input, parent=parent, idempotency_key=key, ports=self._ports)

        def started(run_id: str) -> NewEvent:
            told = {"name": name, "child": run_id, "workflow": definition.name}
            return NewEvent(type=EventType.STAGE_CHILD_STARTED, key=lease.key, data=told)

        run_id: str = await self.once(at, begin, args=(), kwargs={}, tells=started)
        return run_id

    async def result(self, child: Child[Any]) -> Any:
        """Return the output of the child run, else park the stage until it has ended."""
        new = NewWait(name=f"{CHILD_PREFIX}{child.run_id}", kind=WaitKind.CHILD)
        told = await self._told(new.name) or await self._found(child.run_id)
        if told is None:
            await self._park(new)
        if told["status"] != "COMPLETED":
            failure: dict[str, Any] = told["failure"] or {}
            raise ChildFailed(
                child.run_id,
                status=told["status"],
                failure_code=failure.get("code"),
                message=failure.get("message", ""),
            )
        return child.output.decode(told["output"], what=f"output of child run {child.run_id}")

    async def _told(self, name: str) -> Any:
        """Return what the wait for a child was answered with; None if it was not, or a retry has made that void."""
        wait = (await self.waits()).get(name)
        if wait is None or wait.payload is None:
            return None
        told = from_json(await text_of(wait.payload, blob_store=self._ports.blob_store), what="result of a child")
        is_void = wait.key != self._lease.key and told["status"] != "COMPLETED"
        return None if is_void else told

    async def _found(self, run_id: str) -> Any:
        """Return how the child has ended, if it has: while this run had failed, nobody was there to be told."""
        ports = self._ports
        run = await ports.persistence.find_run(run_id)
        if run is None or not run.status.is_terminal:
            return None
        text = await child_result(run, persistence=ports.persistence, blob_store=ports.blob_store)
        return from_json(text, what="result of a child")


@lru_cache(maxsize=_REMEMBERED)
def _result_type(function: Callable[..., Any]) -> PayloadType:
    """Return the type that *function* says it returns, plain JSON if it does not say."""
    target = getattr(function, "__func__", function)
    if not hasattr(target, "__annotations__"):
        return JsonType()
    try:
        returned = get_type_hints(target).get("return", Any)
        name = getattr(target, "__qualname__", repr(target))
        return payload_type(returned, what=f"the result of {name}", source=getattr(target, "__module__", ""))
    except (NameError, DefinitionError):
        return JsonType()
