"""Reads of the memory store for decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from holdfast.entities.payload import Artifact, Payload
from holdfast.entities.run import Run
from holdfast.entities.snapshot import RunSnapshot
from holdfast.entities.stage import StageInstance, StageKey
from holdfast_adapters.memory.rows import place
from holdfast_adapters.memory.store import Store


class MemorySnapshots:
    """The Snapshots port in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def find_run(self, run_id: str) -> Run | None:
        """Return the run, if there is one."""
        with self._store.transaction:
            self._store.now()
            row = self._store.runs.get(run_id)
            return None if row is None else row.entity()

    async def find_snapshot(self, run_id: str) -> RunSnapshot | None:
        """Return the run with its live and visible stage instances."""
        with self._store.transaction:
            self._store.now()
            row = self._store.runs.get(run_id)
            if row is None:
                return None
            visible = [stage for _, stage in sorted(row.instances.items()) if not stage.superseded]
            arrivals = {
                gate: arrived
                for (generation, gate), (arrived, arity) in row.gates.items()
                if generation == row.generation and arrived < arity
            }
            stages = tuple(stage.entity() for stage in visible)
            return RunSnapshot(run=row.entity(), stages=stages, arrivals=arrivals)

    async def find_stage(self, key: StageKey) -> StageInstance | None:
        """Return one stage instance, live, done or superseded."""
        with self._store.transaction:
            self._store.now()
            run = self._store.runs.get(key.run_id)
            row = None if run is None else run.instances.get(place(key))
            return None if row is None else row.entity()

    async def get_outputs(self, run_id: str, stage_ids: Sequence[str]) -> Mapping[str, Payload]:
        """Return the visible outputs of the named stages."""
        with self._store.transaction:
            self._store.now()
            run = self._store.runs.get(run_id)
            if run is None:
                return {}
            rows = ((stage_id, run.outputs.get(stage_id)) for stage_id in stage_ids)
            return {stage_id: row.output for stage_id, row in rows if row is not None and row.output is not None}

    async def list_artifacts(self, run_id: str) -> Sequence[Artifact]:
        """Return the run's artifacts by name."""
        with self._store.transaction:
            self._store.now()
            run = self._store.runs.get(run_id)
            return [] if run is None else [run.artifacts[name] for name in sorted(run.artifacts)]

    async def find_checkpoint(self, key: StageKey, *, name: str) -> Payload | None:
        """Return the result that the stage instance keeps under that name."""
        with self._store.transaction:
            self._store.now()
            run = self._store.runs.get(key.run_id)
            return None if run is None else run.checkpoints.get((key, name))
