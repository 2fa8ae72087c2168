"""One run with all there is to read of it, and the questions that invariants ask of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import attrs

from holdfast.codec import digest
from holdfast.entities.definition import Definition
from holdfast.entities.payload import Payload
from holdfast.entities.run import Run
from holdfast.entities.stage import StageInstance, StageKey, StageStatus
from holdfast.errors import BlobMissing, UnknownWorkflow
from holdfast.events import Event, EventType
from holdfast.payloads import text_of
from holdfast.ports.blob_store import BlobStore
from holdfast.ports.definitions import Definitions
from holdfast.ports.persistence import Persistence
from holdfast.ports.queries import RunFilter
from holdfast_testing.invariants.ledger import Observation
from holdfast_testing.invariants.witness import observe

_PAGE = 100

RUN_ENDS = frozenset({EventType.RUN_COMPLETED, EventType.RUN_FAILED, EventType.RUN_CANCELLED})


@attrs.frozen(kw_only=True)
class History:
    """A run at rest."""

    seen: Observation
    #: None if its workflow is not registered here.
    definition: Definition | None
    #: The output texts as they are read now; None where a blob is missing.
    texts: Mapping[StageKey, str | None]
    #: The text of the run's input; None if its blob is missing.
    input: str | None

    @property
    def run(self) -> Run:
        """The run's row."""
        return self.seen.run

    @property
    def events(self) -> tuple[Event, ...]:
        """The run's timeline."""
        return self.seen.events

    @property
    def stages(self) -> Mapping[StageKey, StageInstance]:
        """All stage instances there ever were."""
        return self.seen.stages

    def about(self, key: StageKey, *types: EventType) -> list[Event]:
        """Return the events about a stage instance, of the given types if there are any."""
        return [event for event in self.events if event.key == key and (not types or event.type in types)]

    def of_type(self, *types: EventType) -> list[Event]:
        """Return the events of the given types."""
        return [event for event in self.events if event.type in types]

    def completed(self, stage_id: str, *, generation: int) -> StageInstance | None:
        """Return the instance whose output a stage of *generation* has to see: the newest that is not newer."""
        found = [
            stage
            for key, stage in self.stages.items()
            if key.stage_id == stage_id and key.generation <= generation and stage.status is StageStatus.COMPLETED
        ]
        return max(found, key=lambda stage: stage.key.generation, default=None)

    def redone(self) -> dict[int, tuple[str, ...]]:
        """Return the stages that each generation does again, by generation."""
        return {event.data["generation"]: tuple(event.data["stages"]) for event in self.of_type(EventType.RUN_RERUN)}

    def input_digests(self, key: StageKey, *, until: int) -> set[str]:
        """Return the digests of all inputs that can be made for a stage instance; one for its own generation alone.

        Args:
            key: The stage instance.
            until: The newest generation that outputs are taken from; its own or a later one.
        """
        assert self.definition is not None, "inputs follow from the definition"
        sources = self.definition.stages[key.stage_id].sources
        if not sources:
            return set() if self.input is None else {digest(self.input)}
        choices: list[set[str]] = []
        for source in sources:
            found = [self.completed(source, generation=one) for one in range(key.generation, until + 1)]
            texts = {self.texts[there.key] for there in found if there is not None}
            choices.append({text for text in texts if text is not None})
        return {digest(texts[0] if len(texts) == 1 else f"[{','.join(texts)}]") for texts in product(*choices)}


async def histories(persistence: Persistence, *, definitions: Definitions, blob_store: BlobStore) -> Sequence[History]:
    """Return every run of the store, oldest first."""
    found: list[History] = []
    before: str | None = None
    while page := await persistence.list_runs(RunFilter(), limit=_PAGE, before=before):
        for run in page:
            before = run.id
            seen = await observe(persistence, run.id)
            assert seen is not None, "runs are never deleted"
            found.append(await _history(seen, definitions=definitions, blob_store=blob_store))
    return found[::-1]


async def _history(seen: Observation, *, definitions: Definitions, blob_store: BlobStore) -> History:
    header = seen.run.header
    try:
        definition = definitions.get(header.workflow_id, header.workflow_version)
    except UnknownWorkflow:
        definition = None
    return History(
        seen=seen,
        definition=definition,
        texts={
            key: await _text(stage.output, blob_store=blob_store)
            for key, stage in seen.stages.items()
            if stage.output is not None
        },
        input=await _text(header.input, blob_store=blob_store),
    )


async def _text(payload: Payload, *, blob_store: BlobStore) -> str | None:
    try:
        return await text_of(payload, blob_store=blob_store)
    except BlobMissing:
        return None
