"""The compiled workflow: what every authoring style is turned into and what decide functions read."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import cached_property
from typing import Any, Protocol

import attrs

from holdfast.entities.retry import Retry


class PayloadType(Protocol):
    """Turns values of one declared type into canonical JSON text and back; pure and thread-safe."""

    @property
    def name(self) -> str:
        """The type as a person would write it, such as ``list[str]``."""
        ...

    def encode(self, value: object, *, what: str) -> str:
        """Return *value* as canonical JSON text that is known to decode into the declared type.

        Args:
            what: What the value is, for the error, such as ``output of stage "split"``.

        Raises:
            InvalidInput: If the value does not fit the type or has no canonical JSON form.
        """
        ...

    def decode(self, text: str, *, what: str) -> Any:
        """Return the typed value that *text* stands for.

        Raises:
            InvalidInput: If the text is not JSON or does not fit the type.
        """
        ...

    def json_schema(self) -> Mapping[str, Any]:
        """Return the JSON schema of the type."""
        ...


class Calling(enum.Enum):
    """How the body of a stage is called."""

    ASYNC = "async"
    SYNC = "sync"


@attrs.frozen(kw_only=True)
class Body:
    """One function of a stage and how it wants to be called."""

    function: Callable[..., Any]
    calling: Calling
    #: Whether the function takes the stage's input, or the state of a poll, as its first argument.
    takes_input: bool
    #: Whether the function takes the context as its second argument.
    takes_context: bool
    #: The source line that errors point at, as ``file:line``.
    source: str


@attrs.frozen(kw_only=True)
class Polling:
    """The second half of a batch stage: how a suspended instance is polled until done."""

    body: Body
    #: The type of the state that `submit` returned, called the reference of the external work.
    state: PayloadType
    every: timedelta
    give_up_after: timedelta


@attrs.frozen(kw_only=True, eq=False)
class StageSpec:
    """One stage of a compiled workflow."""

    id: str
    #: Position in definition order, from 0.
    index: int
    #: Execution group, from 1; stages of one group run in parallel.
    group: int
    #: What is called when the stage executes; for a batch stage its submit function.
    body: Body
    #: Present for a batch stage only.
    polling: Polling | None
    input: PayloadType
    output: PayloadType
    config: PayloadType | None
    #: Where the input comes from: () is the run's input, one id its output, several ids a JSON array of outputs.
    sources: tuple[str, ...]
    #: Further stages whose outputs the context offers; all of them are ancestors.
    needs: tuple[str, ...]
    retry: Retry
    #: Limit of one attempt; None for no limit but the lease.
    timeout: timedelta | None
    queue: str


@attrs.frozen(kw_only=True)
class Gate:
    """A point that opens once all of its sources are completed and then readies its targets.

    A gate of one source opens at once. A gate without targets ends the run.
    """

    id: str
    sources: tuple[str, ...]
    targets: tuple[str, ...]


@attrs.frozen(kw_only=True, eq=False, slots=False)
class Definition:
    """A compiled workflow, identified by (id, version); immutable."""

    id: str
    version: str
    description: str
    input: PayloadType
    #: The type of the run's output: of the last stage, or a tuple when the last group is parallel.
    output: PayloadType
    #: Stages by id, in definition order.
    stages: Mapping[str, StageSpec]
    #: Execution groups in order, each a tuple of stage ids in definition order.
    groups: tuple[tuple[str, ...], ...]
    #: Limit of the whole run, a durable timer; None for no limit.
    timeout: timedelta | None

    @cached_property
    def name(self) -> str:
        """The workflow and its version as one word, such as ``review@1.0.0``."""
        return f"{self.id}@{self.version}"

    @cached_property
    def entry(self) -> tuple[str, ...]:
        """The stages that are ready as soon as a run is admitted."""
        return self.groups[0]

    @cached_property
    def final(self) -> tuple[str, ...]:
        """The stages whose outputs are the output of the run."""
        return self.groups[-1]

    @cached_property
    def gates(self) -> tuple[Gate, ...]:
        """All gates, one behind each execution group."""
        following = (*self.groups[1:], ())
        return tuple(
            Gate(id=f"g{number}", sources=group, targets=targets)
            for number, (group, targets) in enumerate(zip(self.groups, following, strict=True), 1)
        )

    @cached_property
    def gates_behind(self) -> Mapping[str, tuple[Gate, ...]]:
        """The gates that each stage feeds, by stage id."""
        return {stage_id: tuple(gate for gate in self.gates if stage_id in gate.sources) for stage_id in self.stages}

    def previous(self, stage_id: str) -> str | None:
        """Return the stage before *stage_id* in definition order; None for the first."""
        index = self.stages[stage_id].index
        return tuple(self.stages)[index - 1] if index else None

    def from_stage_on(self, stage_id: str) -> tuple[str, ...]:
        """Return every stage of the execution group of *stage_id* and of all later groups."""
        first = self.stages[stage_id].group
        return tuple(spec.id for spec in self.stages.values() if spec.group >= first)
