"""One run with all there is to read of it, and the questions that invariants ask of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import attrs

from holdfast.entities.definition import Definition
from holdfast.entities.graph import Edge, Way
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
RUN_BEGINS_AGAIN = frozenset({EventType.RUN_RERUN, EventType.RUN_RETRIED})
STAGE_ENDS = frozenset({EventType.STAGE_COMPLETED, EventType.STAGE_FAILED, EventType.STAGE_SKIPPED})


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
        """Return the newest instance of the stage, of *generation* or an older one, that has completed."""
        found = [
            stage
            for key, stage in self.stages.items()
            if key.stage_id == stage_id and key.generation <= generation and stage.status is StageStatus.COMPLETED
        ]
        return max(found, key=lambda stage: stage.key, default=None)

    def redone(self) -> dict[int, Event]:
        """Return the event by which each generation but the first began, by generation."""
        return {event.data["generation"]: event for event in self.of_type(*RUN_BEGINS_AGAIN)}

    def began(self, key: StageKey) -> Event | None:
        """Return the event by which the stage instance came to be."""
        return next(iter(self.about(key)), None)

    def ended(self, key: StageKey) -> Event | None:
        """Return the event by which the stage instance ended, if it did so by itself."""
        return next(iter(self.about(key, *STAGE_ENDS)), None)

    def leading(self, source: str, key: StageKey) -> list[StageInstance]:
        """Return the completed instances of *source* whose taken edges lead to the instance *key*, the newest last."""
        graph = self.known.graph
        found: list[StageInstance] = []
        for at, stage in self.stages.items():
            is_early = at.generation <= key.generation
            if at.stage_id != source or stage.status is not StageStatus.COMPLETED or not is_early:
                continue
            edge = self.taken(stage)
            if edge is None or key.stage_id not in edge.targets or not self.beside(at, key):
                continue
            if graph.turn(Way(edge=edge, target=key.stage_id), turn=at.turn) == key.turn:
                found.append(stage)
        return sorted(found, key=lambda stage: stage.key)

    def taken(self, stage: StageInstance) -> Edge | None:
        """Return the edge that was taken behind a completed instance; None if none could be."""
        if stage.edge is None:
            return next(iter(self.known.graph.outgoing[stage.key.stage_id]), None)
        return self.known.edge.get(stage.edge)

    def beside(self, one: StageKey, other: StageKey) -> bool:
        """Return whether the instances are of one item of a map, or not both within it."""
        stages = self.known.stages
        within = stages[one.stage_id].within
        return within is None or within != stages[other.stage_id].within or one.item == other.item

    @property
    def known(self) -> Definition:
        """The run's workflow, which has to be registered here."""
        assert self.definition is not None, "only runs of known workflows are asked about their edges"
        return self.definition


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
