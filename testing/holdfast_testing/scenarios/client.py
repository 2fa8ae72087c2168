"""The client of a scenario: sends its script, and repeats each command under one identity until it is answered."""

from __future__ import annotations

from typing import Any

from holdfast.command import Command
from holdfast.entities.stage import StageKey
from holdfast.entities.wait import WaitStatus
from holdfast.errors import Conflict, Rejected, Unavailable
from holdfast.ports.persistence import Persistence
from holdfast_testing.invariants import Ledger, Violation, identities, observe
from holdfast_testing.scenarios.host import Host
from holdfast_testing.scenarios.scenario import HasEnded, IsOpen, Quiet, Send


async def look_up(command: Command[Any], ledger: Ledger, store: Persistence) -> None:
    """Note in *ledger* what the store says of a command that was not answered."""
    for identity in identities(command):
        tenant, scope, key = identity
        record = await store.find_operation(tenant=tenant, scope=scope, key=key)
        if record is not None:
            ledger.looked_up.setdefault(identity, record)


class Client:
    """Somebody outside who wants things done once, whatever happens to the process that was asked."""

    def __init__(self, script: tuple[Send, ...], ledger: Ledger) -> None:
        self._left = list(script)
        self._ledger = ledger
        #: The answers so far, by the names of the commands.
        self.said: dict[str, Any] = {}

    @property
    def is_done(self) -> bool:
        """Whether every command was answered."""
        return not self._left

    async def act(self, host: Host, *, at_once: bool) -> bool:
        """Send the next command through *host* if its moment has come, and return whether anything was sent.

        Args:
            host: The process that is asked.
            at_once: Whether to wait no longer, because nothing moves any more.

        Raises:
            ProcessDied: If the process dies of it; the command is sent again next time.
        """
        if not self._left or not (at_once or await self._has_come(self._left[0], host.store)):
            return False
        send = self._left[0]
        command = send.command(self.said)
        self._ledger.sent.append(command)
        try:
            result: object = await host.kernel.dispatch(command)
        except Unavailable:
            await look_up(command, self._ledger, host.store)
            return True
        except (Rejected, Conflict) as error:
            result = error
        self._ledger.answer(command, result)
        # Somebody else may have got the answer to the same command while this process stood still.
        if self._left and self._left[0] is send:
            self.said[send.name] = result
            del self._left[0]
        return True

    async def look_up_newest(self, store: Persistence) -> None:
        """Note what the store says of the command that was sent last, to a process that died."""
        if self._ledger.sent:
            await look_up(self._ledger.sent[-1], self._ledger, store)

    async def repeat_all(self, host: Host) -> None:
        """Send every command that has an identity again; nothing may change, and every answer must be the old one."""
        ledger = self._ledger
        after = {run_id: await observe(host.store, run_id) for run_id in ledger.seen}
        for answer in tuple(ledger.answers):
            if not identities(answer.command):
                continue
            before = after
            try:
                result: object = await host.kernel.dispatch(answer.command)
            except (Rejected, Conflict) as error:
                result = error
            after = {run_id: await observe(host.store, run_id) for run_id in ledger.seen}
            same = repr(result) == repr(answer.result)
            if not same or before != after:
                ledger.violations.append(
                    Violation(
                        invariant="I13",
                        promise="a retried command does not repeat",
                        subject=f"{answer.command.type} {identities(answer.command)}",
                        found=f"{answer.result} became {result}" if not same else "the second call changed something",
                    )
                )

    async def _has_come(self, send: Send, store: Persistence) -> bool:
        moment = send.when
        if moment is None:
            return True
        if isinstance(moment, Quiet):
            return False
        run_id = self.said[moment.run].run_id
        if isinstance(moment, HasEnded):
            run = await store.find_run(run_id)
            return run is not None and run.status.is_terminal and run.generation >= moment.generation
        if isinstance(moment, IsOpen):
            waits = await store.list_named_waits(run_id, moment.name)
            return any(wait.status is WaitStatus.OPEN for wait in waits)
        key = StageKey(run_id=run_id, stage_id=moment.stage_id, generation=moment.generation)
        stage = await store.find_stage(key)
        return stage is not None and stage.status is moment.status
