"""Waits as change-sets open, answer and close them, and the keys that instances hold."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from holdfast.change import NewWait
from holdfast.entities.keyed import KeyedResult, KeyScope
from holdfast.entities.stage import StageKey
from holdfast.entities.wait import Message, Wait, WaitStatus
from holdfast.events import EventType
from holdfast.traces import Answer, NewMessage, NewToken, Reservation
from holdfast_adapters.memory.rows import EventRow, InstanceRow, RunRow, TokenRow, WaitPlace
from holdfast_adapters.memory.writes import Writes


class Waiting(Writes):
    """What instances wait for and what they have to themselves."""

    __slots__ = ("_early",)

    #: Events of waits that took a message, to be told behind those of the step.
    _early: list[EventRow]

    def _open_waits(self, run: RunRow, row: InstanceRow, waits: Iterable[NewWait]) -> bool:
        """Open the waits that the instance does not have and return whether it may go on: one of them is not OPEN."""
        goes_on = False
        for new in waits:
            wait = run.waits.get((row.place, new.name))
            if wait is None or (new.anew and wait.status is not WaitStatus.OPEN):
                wait = self._open(run, row, new)
            elif wait.status is not WaitStatus.OPEN:
                self._tell_early(row, new)
            goes_on = goes_on or wait.status is not WaitStatus.OPEN
        return goes_on

    def _tell_early(self, row: InstanceRow, new: NewWait) -> None:
        self._early.append((EventType.STAGE_RESUMED, self.now, row.key, {"name": new.name, "early": True}))

    def _open(self, run: RunRow, row: InstanceRow, new: NewWait) -> Wait:
        at = (row.place, new.name)
        message: Message | None = run.messages.get(new.name)
        wait = Wait(
            key=row.key,
            name=new.name,
            kind=new.kind,
            status=WaitStatus.OPEN if message is None else WaitStatus.RESOLVED,
            payload=None if message is None else message.payload,
            reason=new.reason,
            actor=None if message is None else message.actor,
            opened_at=self.now,
            due_at=None if new.timeout is None else self.now + new.timeout,
        )
        # One that is opened anew comes behind those that were opened meanwhile.
        number = self._store.stamp()
        self._drop(run.waits, at)
        self._put(row.own_waits(), new.name, number)
        self._put(run.named.setdefault(new.name, {}), row.place, number)
        self._put(run.waits, at, wait)
        if message is None:
            self._put(run.open_waits, at, None)
        else:
            self._drop(run.messages, new.name)
            self._tell_early(row, new)
        return wait

    def _end_wait(self, run: RunRow, at: WaitPlace, answer: Answer) -> None:
        ended = attrs.evolve(run.waits[at], status=answer.status, payload=answer.payload, actor=answer.actor)
        self._put(run.waits, at, ended)
        self._drop(run.open_waits, at)

    def _close_wait(self, run: RunRow, at: WaitPlace) -> None:
        closed = attrs.evolve(run.waits[at], status=WaitStatus.CLOSED, payload=None)
        self._put(run.waits, at, closed)
        self._drop(run.open_waits, at)
        place, name = at
        self._drop(run.named[name], place)

    def _keep_message(self, run: RunRow, new: NewMessage) -> None:
        message = Message(run_id=run.header.id, name=new.name, payload=new.payload, actor=new.actor, at=self.now)
        self._put(run.messages, new.name, message)

    def _keep_token(self, run: RunRow, new: NewToken) -> None:
        row = TokenRow(run_id=run.header.id, name=new.name, expires_at=self.now + new.lifetime)
        self._put(self._store.tokens, new.hash, row)

    def _reserve(self, run: RunRow, row: InstanceRow, reservation: Reservation) -> None:
        scope = reservation.scope
        if reservation.output is not None:
            self._drop(run.keys, scope)
        elif row.status.is_terminal:
            # It ended with the same change-set, so that nobody would free the key any more.
            return
        else:
            self._put(run.keys, scope, row.key)
            self._put(row.own_keys(), scope, None)
        result = KeyedResult(
            scope=scope, fingerprint=reservation.fingerprint, holder=row.key, output=reservation.output
        )
        self._put(self._store.keys, scope, result)

    def _free(self, run: RunRow, scope: KeyScope, *, holder: StageKey) -> None:
        """Free a key without a result, unless another generation of its holder has taken it since."""
        if run.keys.get(scope) == holder:
            self._drop(run.keys, scope)
            self._drop(self._store.keys, scope)
