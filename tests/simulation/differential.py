"""The same commands on several stores at once: whatever is asked of any of them, all have to say the same.

All companies do the same one thing at a time, chosen by chance and by what the first of them knows. After each thing
everything that their stores were asked and answered is compared, call by call, and now and then all that the stores can
show, so that the first difference is found where it begins.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any, Final, cast

import attrs

from holdfast.command import Command
from holdfast.commands.job_execute import JobExecuted
from holdfast.commands.lease_reap_stale import LeaseReapStale
from holdfast.commands.outbox_flush import OutboxFlush
from holdfast.commands.plugin_replay_dlq import PluginReplayDlq
from holdfast.commands.queue_configure import QueueConfigure
from holdfast.commands.run_claim_pending import RunClaimPending
from holdfast.commands.run_create import RunCreate
from holdfast.commands.run_pause import RunPause
from holdfast.commands.run_rerun_from import RunRerunFrom
from holdfast.commands.run_resume import RunResume
from holdfast.commands.run_retry import RunRetry
from holdfast.commands.run_transition import RunTransition
from holdfast.commands.run_unpause import RunUnpause
from holdfast.commands.stage_poll_suspended import StagePollSuspended
from holdfast.commands.timer_fire_due import TimerFireDue
from holdfast.creating import RunCreated
from holdfast.entities.run import RunStatus
from holdfast.entities.wait import WaitStatus
from holdfast.ports.clock import Clock
from holdfast.ports.persistence import Persistence
from holdfast_testing.faults import Fault
from holdfast_testing.workload import wanted
from tests.simulation.companies import MANY, PROCESSES, Action, Company

#: How often all that the stores can show is compared, in actions.
LOOK_EVERY: Final = 60
#: How far time moves at once, in seconds: within a lease, to its end, past it.
LEAPS: Final = (0.5, 5.0, 31.0, 90.0)

StoreMakers = Mapping[str, Callable[[Clock], Persistence]]


class Difference(AssertionError):
    """Two stores do not say the same."""


class Play:
    """A sequence of actions that one number determines, played on all companies in step."""

    def __init__(self, seed: int, companies: Sequence[Company], *, is_limited: bool) -> None:
        self._chance = random.Random(f"{seed}/differential")
        self._companies = companies
        self._seed = seed
        self._is_limited = is_limited
        self._done: list[str] = []
        self._run_ids: list[str] = []
        #: What clients sent so far.
        self._sent: list[Command[Any]] = []
        #: How often what came of actions, and which events there are.
        self.happened: Counter[str] = Counter()

    async def play(self, length: int) -> None:
        """Do *length* things, then let all that was begun go on for a while.

        Raises:
            Difference: As soon as two stores do not say the same.
        """
        for number in range(1, length + 1):
            for action in await self._choose():
                await self._do(action)
            if number % LOOK_EVERY == 0:
                await self._compare_all()
        for _ in range(length // 8):
            for host in range(PROCESSES):
                await self._do(_work(host))
            await self._do(_maintain(0))
            due = await self._companies[0].store.next_due()
            if due is not None:
                await self._do(_advance(due))
        await self._compare_all()
        store = self._companies[0].store
        for run_id in self._run_ids:
            self.happened.update(event.type.value for event in await store.list_events(run_id, limit=MANY))

    async def _choose(self) -> Sequence[Action]:
        chance, host = self._chance, self._chance.randrange(PROCESSES)
        kind = chance.choices(
            ("send", "fit", "work", "maintain", "message", "command", "leap", "fault"), (20, 10, 40, 9, 5, 6, 6, 4)
        )[0]
        if kind in ("send", "fit"):
            commands = self._commands() if kind == "send" else await self._fitting()
            return [_send(command, host) for command in commands]
        if kind == "command":
            command = self._inner_command()
            return [Action(text=f"{command}", do=lambda company: company.hosts[host].kernel.dispatch(command))]
        if kind == "leap":
            return [_advance(timedelta(seconds=chance.choice(LEAPS)))]
        if kind == "fault":
            fault, after = chance.choice(tuple(Fault)), chance.randrange(12)
            text = f"process {host} will {fault.value} {after} calls later"
            return [Action(text=text, do=lambda company: _plan(company, host, fault=fault, after=after))]
        return [{"work": _work, "maintain": _maintain, "message": _message}[kind](host)]

    def _commands(self) -> Sequence[Command[Any]]:
        """Return what a client sends: something new, something again, or something new and that again at once."""
        chance, sent = self._chance, self._sent
        if sent and chance.random() < 0.15:
            return [chance.choice(sent)]
        now = self._companies[0].world.clock.now()
        commands = wanted(str(len(sent)), self._run_ids[-12:], work=chance, now=now)
        new = [
            attrs.evolve(command, priority=chance.choice((-5, 0, 0, 7))) if isinstance(command, RunCreate) else command
            for command in commands
        ]
        sent.extend(new)
        return [*new, new[-1]] if chance.random() < 0.1 else new

    async def _fitting(self) -> Sequence[Command[Any]]:
        """Return what can be done to a run as it stands: go on, begin again, be answered, be held back."""
        chance, store = self._chance, self._companies[0].store
        if not self._run_ids:
            return []
        run_id, operation_id = chance.choice(self._run_ids), f"fit {len(self._sent)}"
        run = await store.find_run(run_id)
        assert run is not None, "a run that was created is there"
        waits = [wait for wait in await store.list_run_waits(run_id, limit=MANY) if wait.status is WaitStatus.OPEN]
        stages = sorted({stage.key.stage_id for stage in await store.list_stages(run_id)})
        command: Command[Any]
        if run.status is RunStatus.PAUSED:
            command = RunUnpause(run_id=run_id, operation_id=operation_id)
        elif run.status is RunStatus.FAILED and chance.random() < 0.5:
            command = RunRetry(run_id=run_id, operation_id=operation_id)
        elif run.status.is_terminal and stages:
            command = RunRerunFrom(run_id=run_id, from_stage_id=chance.choice(stages), operation_id=operation_id)
        elif waits and chance.random() < 0.8:
            command = RunResume(run_id=run_id, name=chance.choice(waits).name, payload="yes", operation_id=operation_id)
        elif chance.random() < 0.3:
            command = RunPause(run_id=run_id, operation_id=operation_id)
        else:
            return []
        self._sent.append(command)
        return [command]

    def _inner_command(self) -> Command[Any]:
        """Return a command that hosts send, of those that are part of no other action or with other bounds there."""
        chance = self._chance
        run_id = chance.choice(self._run_ids or ["none"])
        if self._is_limited and chance.random() < 0.4:
            return self._limits()
        return chance.choice(
            (
                RunClaimPending(worker="other", max_claims=1),
                StagePollSuspended(worker="other", max_checks=1),
                LeaseReapStale(),
                TimerFireDue(),
                OutboxFlush(max_events=MANY),
                PluginReplayDlq(),
                RunTransition(run_id=run_id),
            )
        )

    def _limits(self) -> QueueConfigure:
        """Return what limits the one queue there is, or lifts its limits."""
        chance = self._chance
        tokens = chance.choice((None, None, 4))
        return QueueConfigure(
            queue="default",
            concurrency=chance.choice((None, None, 2, 5)),
            per_key=chance.choice((None, 1, 2)),
            tokens=tokens,
            period=None if tokens is None else timedelta(seconds=10),
            paused=chance.random() < 0.1,
        )

    async def _do(self, action: Action) -> None:
        self._done.append(action.text)
        first, *others = self._companies
        outcome = await first.do(action)
        self.happened[outcome if isinstance(outcome, str) else type(outcome).__name__] += 1
        if isinstance(outcome, RunCreated) and outcome.run_id not in self._run_ids:
            self._run_ids.append(outcome.run_id)
        for other in others:
            theirs = await other.do(action)
            for mine, note in zip(first.notes, other.notes, strict=False):
                self._same(mine, note, what=f"store call {mine[0]}", other=other)
            self._same(len(first.notes), len(other.notes), what="number of store calls", other=other)
            self._same(outcome, theirs, what="outcome", other=other)

    async def _compare_all(self) -> None:
        # Some stores note only that there are new events, and look whose they are when they are asked for them: until
        # then they say that something is due although its stream is leased.
        await self._do(Action(text="flush", do=lambda company: company.flush()))
        first, *others = self._companies
        mine = await first.show(self._sent)
        for other in others:
            theirs = await other.show(self._sent)
            for part, shown in mine.items():
                self._same(shown, theirs.get(part), what=part, other=other)
            self._same(list(mine), list(theirs), what="parts", other=other)

    def _same(self, mine: object, theirs: object, *, what: str, other: Company) -> None:
        if mine != theirs:
            first = self._companies[0]
            where, one, another = _first_difference(mine, theirs)
            before = "\n".join(
                f"{number}. {text}" for number, text in enumerate(self._done[-12:], len(self._done) - 11)
            )
            raise Difference(
                f"seed {self._seed}: {what} differs after action {len(self._done)}, {self._done[-1]}\n"
                f"at {what}{where}\n{first.name}: {one}\n{other.name}: {another}\nThe actions before:\n{before}"
            )


def _first_difference(one: Any, another: Any) -> tuple[str, object, object]:
    """Return where two answers differ first, as a path, and what stands there."""
    mine, theirs = _parts(one), _parts(another)
    if type(one) is type(another) and mine.keys() == theirs.keys():
        for key, value in mine.items():
            if value != theirs[key]:
                where, this, that = _first_difference(value, theirs[key])
                return f".{key}{where}", this, that
    return "", one, another


def _parts(value: Any) -> dict[Any, Any]:
    """Return the parts of a value by name or place; none for one that is shown as a whole."""
    if isinstance(value, Mapping):
        named: Mapping[Any, Any] = value
        return dict(named)
    if isinstance(value, list | tuple):
        return dict(enumerate(cast(Sequence[Any], value)))
    kind: type[Any] = type(value)
    return attrs.asdict(value, recurse=False) if attrs.has(kind) else {}


def _send(command: Command[Any], host: int) -> Action:
    return Action(text=f"{command}", do=lambda company: company.hosts[host].kernel.dispatch(command))


def _work(host: int) -> Action:
    return Action(text=f"process {host} works", do=lambda company: company.hosts[host].work())


def _maintain(host: int) -> Action:
    return Action(text=f"process {host} maintains", do=lambda company: company.hosts[host].maintain())


def _message(host: int) -> Action:
    return Action(text=f"process {host} takes a message", do=lambda company: _take(company, host))


async def _take(company: Company, host: int) -> object:
    messages = company.world.messages
    executed: JobExecuted | None = await company.hosts[host].take(messages.popleft()) if messages else None
    return None if executed is None else (executed.outcome.value, executed.failure, executed.delay, executed.repeated)


def _advance(leap: timedelta) -> Action:
    async def advance(company: Company) -> None:
        company.world.clock.advance(leap)

    return Action(text=f"advance by {leap}", do=advance)


async def _plan(company: Company, host: int, *, fault: Fault, after: int) -> None:
    company.hosts[host].plan.fail_next(fault, after=after)


async def compare(seed: int, makers: StoreMakers, *, length: int, is_limited: bool = False) -> Counter[str]:
    """Play the sequence of that number on a store of each kind and return how often what happened.

    Args:
        seed: The number.
        makers: Make the stores.
        length: How many actions there are.
        is_limited: Whether the limits of the queue change again and again.

    Raises:
        Difference: As soon as two stores do not say the same.
    """
    async with _opened(makers, is_limited=is_limited) as companies:
        play = Play(seed, companies, is_limited=is_limited)
        await play.play(length)
        return play.happened


@asynccontextmanager
async def _opened(makers: StoreMakers, *, is_limited: bool) -> AsyncGenerator[Sequence[Company]]:
    async with AsyncExitStack() as stack:
        companies: list[Company] = []
        for name, make in makers.items():
            company = Company(name, make, is_limited=is_limited)
            await company.store.open()
            stack.push_async_callback(company.store.close)
            company.man()
            companies.append(company)
        yield companies
