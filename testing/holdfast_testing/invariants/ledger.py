"""What is known outside of the engine: effects of user code, answers to commands, events delivered, rows once seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from holdfast.authoring.context import Context
from holdfast.codec import digest, to_json
from holdfast.command import Command
from holdfast.commands.job_execute import JobExecuted
from holdfast.entities.operation import OperationRecord
from holdfast.entities.run import Run
from holdfast.entities.stage import Lease, StageInstance, StageKey
from holdfast.entities.wait import Wait
from holdfast.errors import HoldfastError
from holdfast.events import Event

#: What makes an operation record unique: tenant, scope, key.
Identity = tuple[str, str, str]


@attrs.frozen(kw_only=True)
class Violation:
    """A promise that was found broken."""

    #: The number of the invariant, such as ``I9``.
    invariant: str
    #: The invariant in a few words.
    promise: str
    #: What it was broken for, such as a run or a stage instance.
    subject: str
    #: What was found.
    found: str

    def __str__(self) -> str:
        return f"{self.invariant} ({self.promise}) is broken for {self.subject}: {self.found}"


@attrs.frozen(kw_only=True)
class Effect:
    """Something that user code did in the world outside."""

    key: StageKey
    idempotency_key: str
    #: The epoch of the lease under which it was done.
    fence: int
    attempt: int
    #: Digest of the canonical text of the input that the body was given; None when it was given none.
    seen: str | None


@attrs.frozen(kw_only=True)
class Undone:
    """Something that user code took back in the world outside."""

    #: The stage instance whose effect it was.
    key: StageKey
    idempotency_key: str
    #: The output that was handed to what took it back.
    output: str


@attrs.frozen(kw_only=True)
class Answer:
    """What a command was answered with; never an error that leaves its outcome open."""

    command: Command[Any]
    result: object


@attrs.frozen(kw_only=True)
class Told:
    """What a worker was told about an attempt under its lease."""

    lease: Lease
    executed: JobExecuted


@attrs.frozen(kw_only=True)
class Observation:
    """A run with everything of it that invariants speak of, as last seen."""

    run: Run
    stages: Mapping[StageKey, StageInstance]
    events: tuple[Event, ...]
    #: By stage instance and name, in the order in which they were opened.
    waits: Mapping[tuple[StageKey, str], Wait] = attrs.field(factory=dict)


class Ledger:
    """Kept outside of the system under test, so that what the system says can be compared with what happened."""

    def __init__(self) -> None:
        self.effects: list[Effect] = []
        #: What was taken back, in order.
        self.undone: list[Undone] = []
        #: Every command that was sent, once for each time.
        self.sent: list[Command[Any]] = []
        self.answers: list[Answer] = []
        self.told: list[Told] = []
        #: The batches that each sink took, in order.
        self.delivered: dict[str, list[tuple[Event, ...]]] = {}
        #: What each run looked like after the newest change of it.
        self.seen: dict[str, Observation] = {}
        #: Digest of each stage instance's output at first sight.
        self.outputs: dict[StageKey, str] = {}
        #: Every lease epoch under which its holder settled the job.
        self.settled: set[tuple[StageKey, int]] = set()
        #: The run versions that commits were told.
        self.versions: set[tuple[str, int]] = set()
        #: Outcomes of operations that a look-up has found.
        self.looked_up: dict[Identity, OperationRecord] = {}
        #: What user code was given for each checkpoint and each answered wait, at first.
        self.kept: dict[tuple[StageKey, str], object] = {}
        #: How many jobs of each limited queue may be leased, by its name: those that were leased when the limit was set
        #: count down to it.
        self.limits: dict[str, int] = {}
        #: What was found broken while the story went on.
        self.violations: list[Violation] = []

    def act(self, ctx: Context[Any], given: object = None) -> str:
        """Record that the body of a stage did something, and return a text that no other attempt returns.

        Args:
            ctx: The body's context.
            given: The input that the body was given, if it takes one.
        """
        key = _key_of(ctx)
        seen = None if given is None else digest(to_json(given))
        self.effects.append(
            Effect(key=key, idempotency_key=ctx.idempotency_key, fence=ctx.fence, attempt=ctx.attempt, seen=seen)
        )
        place = f"{ctx.generation}.{ctx.turn}.{ctx.item}.{ctx.fence}"
        return f"{ctx.stage_id} {place} of {(seen or '')[:8]}"

    def undo(self, ctx: Context[Any], output: str) -> None:
        """Record that what the stage of the context did, and returned as *output*, was taken back."""
        self.undone.append(Undone(key=_key_of(ctx), idempotency_key=ctx.idempotency_key, output=output))

    def keep(self, ctx: Context[Any], name: str, value: object) -> None:
        """Record what the body was given for a checkpoint or a wait: it must be the same for every attempt."""
        key = _key_of(ctx)
        first = self.kept.setdefault((key, name), value)
        if value != first:
            found = f'its "{name}" was {first!r} and is {value!r} for attempt {ctx.attempt}'
            self.violations.append(
                Violation(invariant="I14", promise="acknowledged means durable", subject=str(key), found=found)
            )

    def answer(self, command: Command[Any], result: object) -> None:
        """Record the answer to a command: its result, or the `Rejected` or `Conflict` that it was refused with."""
        self.answers.append(Answer(command=command, result=result))

    def tell(self, lease: Lease, executed: JobExecuted) -> None:
        """Record what a worker was told about its attempt."""
        self.told.append(Told(lease=lease, executed=executed))

    def results(self, command: Command[Any]) -> list[object]:
        """Return the results, refusals aside, that equal commands were answered with."""
        return [
            answer.result
            for answer in self.answers
            if answer.command == command and not isinstance(answer.result, HoldfastError)
        ]


def _key_of(ctx: Context[Any]) -> StageKey:
    """Return the stage instance of a context; loops one within the other are not told apart."""
    return StageKey(
        run_id=ctx.run_id, stage_id=ctx.stage_id, generation=ctx.generation, turn=ctx.turn - 1, item=ctx.item
    )


class LedgerSink:
    """An event sink that writes what it takes into a ledger, and fails as often as it is told to."""

    def __init__(self, ledger: Ledger, *, name: str = "ledger", failures: int = 0) -> None:
        self._name = name
        self._batches = ledger.delivered.setdefault(name, [])
        #: How many of the next batches are refused.
        self.failures = failures

    @property
    def name(self) -> str:
        """The name under which the store remembers how far this sink has read."""
        return self._name

    async def deliver(self, events: Sequence[Event]) -> None:
        """Take the batch, or refuse it as a whole.

        Raises:
            ConnectionError: If it was told to fail.
        """
        if self.failures:
            self.failures -= 1
            raise ConnectionError("the sink was told to fail")
        self._batches.append(tuple(events))
