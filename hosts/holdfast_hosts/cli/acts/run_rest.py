"""What is told of a run that waits or is paused while somebody waits for its end."""

from __future__ import annotations

import enum
from collections.abc import Callable
from functools import partial
from typing import Final

import attrs

from holdfast.entities.run import Run, RunStatus
from holdfast.entities.timer import CHILD_PREFIX
from holdfast.entities.wait import Wait, WaitKind
from holdfast_hosts.cli.acts.runs_waits import resume_command
from holdfast_hosts.cli.looking import open_waits_of
from holdfast_hosts.cli.opening import store_now
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import note
from holdfast_hosts.cli.rendering.wait_words import wait_words
from holdfast_hosts.cli.spelling import clean
from holdfast_hosts.waiting import AT_REST
from holdfast_hosts.wiring import Opened

#: So deep children of children are looked at for what they wait for.
DEEPEST: Final = 8


class RunStays(Exception):
    """Raise when only somebody outside can bring the run on; nothing happened to the run."""

    def __init__(self, run: Run, *, why: tuple[str, ...], fix: tuple[str, ...]) -> None:
        self.run, self.why, self.fix = run, why, fix
        super().__init__(f"Run {run.id} waits for somebody.")


@attrs.frozen(kw_only=True)
class Rest:
    """What keeps a run and its children from going on."""

    #: Waits that somebody outside has to answer, of the run and of those it waits for.
    asked: tuple[Wait, ...] = ()
    paused: tuple[str, ...] = ()
    #: Whether it goes on by itself soon: a sleep is under way, or a child executes.
    moves: bool = False
    #: Whether some wait has a limit that may bring it on later.
    limited: bool = False

    def with_child(self, child: Rest) -> Rest:
        """Return what keeps a run from going on that waits for *child* too."""
        return Rest(
            asked=self.asked + child.asked,
            paused=self.paused + child.paused,
            moves=self.moves or child.moves,
            limited=self.limited or child.limited,
        )


class Leaving(enum.Enum):
    """When waiting for a run that waits for somebody ends."""

    #: When the run ends; meanwhile anybody may answer.
    NEVER = "never"
    #: As soon as it waits for nothing but people.
    ASKED = "asked"
    #: As soon as nothing at all can bring it on, for nobody can reach it.
    STUCK = "stuck"


class Attendant:
    """Tells what a run at rest waits for, once each, and ends the waiting if that is asked for.

    Args:
        opened: Where the run is.
        target: The module that defines its workflow, for the commands that are told.
        leaving: When the waiting ends.
        common: The options of the command.
    """

    def __init__(self, opened: Opened, *, target: str, leaving: Leaving, common: Common) -> None:
        self._opened = opened
        self._module = target
        self._leaving = leaving
        self._common = common
        self._told: set[object] = set()

    async def attend(self, run: Run) -> None:
        """Tell what is new.

        Raises:
            RunStays: If the waiting is to end.
        """
        rest = await self._rest(run, depth=0)
        if self._leaves(rest):
            raise RunStays(run, why=self._why(rest), fix=self._fix(rest))
        if self._common.json:
            return
        for wait in rest.asked:
            self._once((wait.key, wait.name, wait.opened_at), partial(self._lines, wait))
        for run_id in rest.paused:
            self._once((run_id, "paused", run.version), partial(self._paused, run_id))

    def _leaves(self, rest: Rest) -> bool:
        if rest.moves or self._leaving is Leaving.NEVER:
            return False
        return self._leaving is Leaving.ASKED or not rest.limited

    async def _rest(self, run: Run, *, depth: int) -> Rest:
        if run.status is RunStatus.PAUSED:
            return Rest(paused=(run.id,))
        if run.status not in AT_REST:
            return Rest(moves=True)
        waits = await open_waits_of(run, self._opened.persistence)
        asked = tuple(wait for wait in waits if wait.kind is WaitKind.PAYLOAD)
        rest = Rest(
            asked=asked,
            moves=not waits or any(wait.kind is WaitKind.SLEEP for wait in waits),
            limited=any(wait.due_at is not None for wait in waits),
        )
        for wait in waits:
            if wait.kind is WaitKind.CHILD:
                rest = rest.with_child(await self._below(wait, depth=depth + 1))
        return rest

    async def _below(self, wait: Wait, *, depth: int) -> Rest:
        child = await self._opened.persistence.find_run(wait.name.removeprefix(CHILD_PREFIX))
        return Rest(moves=True) if child is None or depth > DEEPEST else await self._rest(child, depth=depth)

    def _once(self, what: object, tell: Callable[[], None]) -> None:
        if what not in self._told:
            self._told.add(what)
            tell()

    def _lines(self, wait: Wait) -> None:
        note(f"◷ waits for {clean(wait_words(wait, now=store_now()))}")
        note(f"  → {self._resume(wait)}")

    def _paused(self, run_id: str) -> None:
        note(f"‖ run {run_id} is paused")
        note(f"  → {self._unpause(run_id)}")

    def _resume(self, wait: Wait) -> str:
        return resume_command(wait, common=self._common, module=self._module)

    def _unpause(self, run_id: str) -> str:
        return self._common.command("runs", "unpause", run_id)

    def _why(self, rest: Rest) -> tuple[str, ...]:
        now = store_now()
        waits = tuple(f"It waits for {clean(wait_words(wait, now=now))}." for wait in rest.asked)
        return waits + tuple(f"Run {run_id} is paused." for run_id in rest.paused)

    def _fix(self, rest: Rest) -> tuple[str, ...]:
        return tuple(map(self._resume, rest.asked)) + tuple(map(self._unpause, rest.paused))
