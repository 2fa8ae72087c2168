"""What a stage's function is given besides its input: identity, config, earlier outputs, and ways to leave a trace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from math import isfinite
from typing import TYPE_CHECKING, Any, Generic, Literal, ParamSpec, Protocol, TypeVar, overload

import attrs
from typing_extensions import TypeVar as DefaultTypeVar

from holdfast.authoring.pausing import Pausing, Steps
from holdfast.authoring.watch import Watch
from holdfast.authoring.writing import Writing
from holdfast.codec import from_json, to_json
from holdfast.entities.definition import Definition, StageSpec
from holdfast.entities.graph import turns
from holdfast.entities.payload import Artifact
from holdfast.entities.run import storable
from holdfast.entities.stage import Lease
from holdfast.errors import InvalidInput, OutputMissing
from holdfast.events import EventType, NewEvent
from holdfast.naming import check_name
from holdfast.ports.clock import Clock
from holdfast.traces import NewAnnotation, NewLog

if TYPE_CHECKING:
    from holdfast.authoring.stage import Stage

C = DefaultTypeVar("C", default=None)
T = TypeVar("T")
P = ParamSpec("P")

Level = Literal["debug", "info", "warning", "error"]

#: Data of a log line or of progress above this many bytes are left out.
MAX_TRACE = 16_384
#: Values of annotations above this many bytes are refused.
MAX_ANNOTATION = 65_536


class Services:
    """The objects that the application offers to its stages, found by their type."""

    __slots__ = ("_by_type",)

    def __init__(self, services: Mapping[type[Any], object] | None = None) -> None:
        self._by_type = dict(services or {})

    def __getitem__(self, kind: type[T]) -> T:
        """Return the service registered under *kind*.

        Raises:
            LookupError: If there is none; the message names those there are.
        """
        try:
            found = self._by_type[kind]
        except KeyError:
            there = ", ".join(sorted(known.__name__ for known in self._by_type)) or "none"
            raise LookupError(
                f"No service {kind.__name__} was given to the kernel. Given: {there}. "
                f"Pass services={{{kind.__name__}: …}} where the kernel is made."
            ) from None
        return found  # type: ignore[return-value]  # the mapping is keyed by the type of its value


class Artifacts(Protocol):
    """How the context reaches the blob store."""

    async def save(self, lease: Lease, name: str, value: object) -> Artifact:
        """Store the value as a blob of this attempt."""
        ...

    async def load(self, lease: Lease, name: str, pending: Mapping[str, Artifact]) -> Any:
        """Return the value of an artifact of the run, those of this attempt included."""
        ...


def _plain(value: Any, *, what: str, limit: int | None = None) -> Any:
    """Return *value* as JSON values that nobody else holds, or say at once that it has no JSON form or is too large."""
    text = to_json(value, what=what)
    if limit is not None and len(text) > limit:
        raise InvalidInput(
            what, [f"it is {len(text):,} bytes; the limit is {limit:,}. Use ctx.save() for large values"]
        )
    return from_json(text, what=what)


def _small(data: Mapping[str, Any], *, what: str) -> Any:
    """Return *data* as JSON values, or a note if it is large: a trace must not fail the work it tells of."""
    text = to_json(data, what=what)
    if len(text) > MAX_TRACE:
        return {"omitted": f"{len(text):,} bytes; the limit is {MAX_TRACE:,}"}
    return from_json(text, what=what)


@attrs.frozen(kw_only=True)
class Surroundings:
    """What all contexts of one kernel share."""

    clock: Clock
    services: Services
    artifacts: Artifacts
    #: Drives an awaitable from a sync stage; the host knows how.
    block_on: Callable[[Awaitable[Any]], Any]


@attrs.frozen(kw_only=True)
class Attempt:
    """One attempt of one stage instance, as the context sees it."""

    lease: Lease
    spec: StageSpec
    definition: Definition
    #: Canonical texts of the outputs that the stage may see, by stage id.
    outputs: Mapping[str, str]
    watch: Watch
    surroundings: Surroundings
    steps: Steps
    #: Canonical text of the run's input; None if it is large and nobody declared that it is needed.
    run_input: str | None = None
    #: The run's state when the attempt began; nobody else holds it.
    state: Mapping[str, Any] = attrs.field(factory=dict)
    #: What the wait was answered with that the stage returned before.
    resume: Any = None
    #: Whether the wait that the stage returned before reached its limit.
    timed_out: bool = False
    #: When the attempt times out by the host's clock; None without a timeout.
    deadline: datetime | None


class Context(Pausing, Writing, Generic[C]):
    """The view that one attempt of a stage has of its run.

    Attributes:
        config: The stage's config, typed by the annotation ``Context[Config]``.
        attempt: Which try this is, from 1.
        fence: The lease's epoch; hand it to systems that can refuse stale writers.
    """

    __slots__ = ("_at", "_lease", "_steps", "_watch", "config")

    def __init__(self, at: Attempt, *, config: C) -> None:
        self.config = config
        self._at = at
        self._lease = at.lease
        self._steps = at.steps
        self._watch = at.watch

    @property
    def input(self) -> Any:
        """The run's input, typed as the workflow declares it.

        Raises:
            OutputMissing: If it is too large for its row and the workflow has no state; take it as the stage's input.
        """
        text = self._at.run_input
        if text is None:
            reason = "which is large; take it as the input of the first stage, or make the workflow with state=True"
            raise OutputMissing("the run's input", asked_by=self.stage_id, available=(), reason=reason)
        return self._at.definition.input.decode(text, what="input of the run")

    @property
    def state(self) -> Mapping[str, Any]:
        """The run's state as it was when this attempt began; ``Ok(output, patch=…)`` changes it."""
        return self._at.state

    @property
    def resume(self) -> Any:
        """What somebody resumed the run with, after this stage returned ``Wait``; None before, and after its limit."""
        return self._at.resume

    @property
    def timed_out(self) -> bool:
        """Whether the wait that this stage returned reached its limit."""
        return self._at.timed_out

    @property
    def run_id(self) -> str:
        """The run's id."""
        return self._lease.key.run_id

    @property
    def tenant(self) -> str:
        """The tenant that the run belongs to."""
        return self._lease.run.tenant

    @property
    def workflow_id(self) -> str:
        """The workflow's id."""
        return self._lease.run.workflow_id

    @property
    def workflow_version(self) -> str:
        """The workflow version that the run is pinned to."""
        return self._lease.run.workflow_version

    @property
    def stage_id(self) -> str:
        """The stage's id."""
        return self._lease.key.stage_id

    @property
    def stage_number(self) -> int:
        """The stage's position in definition order, from 1."""
        return self._at.spec.index + 1

    @property
    def generation(self) -> int:
        """1 at first; rises with every rerun of the run."""
        return self._lease.key.generation

    @property
    def turn(self) -> int:
        """Which turn of the innermost loop around the stage this is, from 1; 1 outside of loops."""
        nest = self._at.definition.graph.nests.get(self.stage_id, ())
        return 1 + (turns(self._lease.key.turn, depth=len(nest))[-1] if nest else 0)

    @property
    def item(self) -> int:
        """The index within a map; 0 outside of maps."""
        return self._lease.key.item

    @property
    def attempt(self) -> int:
        """Which try this is, from 1; for a poll, which poll since the last one that went well."""
        return self._lease.attempt

    @property
    def fence(self) -> int:
        """The lease's epoch, which rises on every grant."""
        return self._lease.epoch

    @property
    def idempotency_key(self) -> str:
        """A key that is equal across attempts and retries, unique to the stage instance; hand it to payment APIs."""
        key = self._lease.key
        turn = f":{key.turn}" if key.turn else ""
        return f"{key.run_id}:{key.stage_id}:{self._lease.origin}:{key.item}{turn}"

    @property
    def deadline(self) -> datetime | None:
        """When this attempt times out by the host's clock; None without a timeout."""
        return self._at.deadline

    @property
    def cancelled(self) -> bool:
        """Whether the lease is known to be lost or the worker is told to stop; nothing the attempt does will count."""
        return self._watch.cancelled

    @property
    def services(self) -> Services:
        """The objects that the application offers to its stages, found by their type."""
        return self._at.surroundings.services

    def output(self, stage: Stage[Any, T]) -> T:
        """Return the output of an earlier stage that is this one's source or is declared in its `needs`.

        A poll sees only what is declared in `needs`.

        Raises:
            OutputMissing: If the stage did not declare it.
        """
        found: T = self.require(stage.id)
        return found

    def outputs(self, stage: Stage[Any, T]) -> list[T]:
        """Return the outputs of a stage that was mapped over items, in their order, as `output` does for others.

        Raises:
            OutputMissing: If the stage did not declare it.
        """
        found: list[T] = self.require(stage.id)
        return found

    def require(self, stage_id: str) -> Any:
        """Return the output of the stage of that id, as `output` does.

        Raises:
            OutputMissing: If the stage did not declare it.
        """
        stage_id = self._at.definition.giving(stage_id)
        text = self._at.outputs.get(stage_id)
        if text is None:
            known = stage_id in self._at.definition.stages
            reason = "which it does not declare in needs=[…]" if known else "which is no stage of the workflow"
            raise OutputMissing(stage_id, asked_by=self.stage_id, available=tuple(self._at.outputs), reason=reason)
        return self._at.definition.stages[stage_id].output.decode(text, what=f'output of stage "{stage_id}"')

    def optional(self, stage_id: str) -> Any | None:
        """Return the output of the stage of that id, or None if there is none to see."""
        return self.require(stage_id) if self._at.definition.giving(stage_id) in self._at.outputs else None

    def log(self, message: str, /, *, level: Level = "info", **data: Any) -> None:
        """Write a line to the run's log; stored with the next heartbeat, at the latest with the attempt's outcome."""
        self._watch.logs.append(
            NewLog(
                key=self._lease.key,
                attempt=self._lease.attempt,
                level=level,
                message=storable(message),
                data=_small(data, what="data of the log line"),
                at=self._at.surroundings.clock.now(),
            )
        )

    def progress(self, done: float, total: float | None = None, message: str = "", **details: Any) -> None:
        """Tell how far the stage is; becomes a `stage.progress` event with the next heartbeat."""
        told = {"attempt": self._lease.attempt, "done": done, "total": total, "message": storable(message)}
        data = {**_plain(told, what="progress"), **_small(details, what="details of the progress")}
        self._watch.events.append(NewEvent(type=EventType.STAGE_PROGRESS, key=self._lease.key, data=data))

    def annotate(self, name: str, value: Any, *, actor: str | None = None) -> None:
        """Note who or why on this stage instance; committed with the attempt's outcome, whatever it is."""
        check_name("annotation name", name)
        check_name("actor", actor)
        plain = _plain(value, what=f'annotation "{name}"', limit=MAX_ANNOTATION)
        self._watch.annotations.append(
            NewAnnotation(name=name, value=plain, key=self._lease.key, attempt=self._lease.attempt, actor=actor)
        )

    def metric(self, name: str, value: float) -> None:
        """Set a number that is kept with the stage instance when it ends."""
        check_name("metric name", name)
        number = float(value)
        if not isfinite(number):
            raise InvalidInput(f'metric "{name}"', ["NaN and infinities have no JSON form"])
        self._watch.metrics[name] = number

    async def save(self, name: str, value: object) -> Artifact:
        """Store *value* (bytes, or anything JSON can hold) as an artifact of the run.

        It becomes visible to later stages when this attempt's outcome is committed; another attempt's blob is never
        overwritten.

        Raises:
            InvalidInput: If the value has no JSON form.
            Unavailable: If the blob store cannot be reached.
        """
        check_name("artifact name", name)
        artifact = await self._at.surroundings.artifacts.save(self._lease, name, value)
        self._watch.artifacts[name] = artifact
        return artifact

    async def load(self, name: str) -> Any:
        """Return the value of an artifact of this run: bytes as bytes, anything else as JSON values.

        Raises:
            ArtifactNotFound: If no artifact of that name was saved by this attempt or committed in the run.
            BlobMissing: If its blob is gone.
        """
        return await self._at.surroundings.artifacts.load(self._lease, name, self._watch.artifacts)

    @overload
    async def once(self, key: str, function: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    @overload
    async def once(self, key: str, function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T: ...
    async def once(self, key: str, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call *function* and keep what it returns under *key*; a later attempt gets that and does not call it again.

        A crash between the call and the commit of its result makes a later attempt call it again, so hand
        `idempotency_key` on where that matters. Calls at the same time are safe as long as their keys differ.

        Args:
            key: Unique within the stage.
            function: Sync or async; its return annotation says how the result is written, plain JSON if it has none.
            args: Handed to the function.
            kwargs: Handed to the function.

        Raises:
            InvalidInput: If the key is not fit, is in use at this moment, or the result has no JSON form.
            PayloadTooLarge: If the result is above the limit.
            LeaseLost: If the lease is lost; the stage should not catch it.
        """
        check_name("checkpoint key", key)
        if key.startswith("~"):
            raise InvalidInput("checkpoint key", ['it begins with "~", as those of the kernel do'])
        under_way = self._watch.under_way
        if key in under_way:
            raise InvalidInput("checkpoint key", [f'"{key}" is in use by another call at this moment'])
        under_way.add(key)
        try:
            return await self._steps.once(key, function, args=args, kwargs=kwargs)
        finally:
            under_way.discard(key)

    def block_on(self, awaitable: Awaitable[T]) -> T:
        """Wait for *awaitable* from a sync stage, such as ``ctx.block_on(ctx.save("report", data))``."""
        waited: T = self._at.surroundings.block_on(awaitable)
        return waited
