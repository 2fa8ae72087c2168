"""Reads of the memory store for decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from holdfast.entities.payload import Artifact, Payload
from holdfast.entities.run import Run
from holdfast.entities.snapshot import RunSnapshot
from holdfast.entities.stage import StageInstance, StageKey, StageStatus
from holdfast_adapters.memory.owning import owned
from holdfast_adapters.memory.rows import place, slot
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

    async def list_singletons(self, *, tenant: str, workflow_id: str, key: str) -> Sequence[Run]:
        """Return the live runs of the key in order of creation."""
        with self._store.transaction:
            self._store.now()
            return [row.entity() for row in self._store.singles.of((tenant, workflow_id, key))]

    async def find_snapshot(self, run_id: str) -> RunSnapshot | None:
        """Return the run with its live and visible stage instances."""
        with self._store.transaction:
            self._store.now()
            row = self._store.runs.get(run_id)
            if row is None:
                return None
            visible = [stage for _, stage in sorted(row.instances.items()) if not stage.superseded]
            # Of one gate in several turns the last counts.
            arrivals = {
                gate: state.resolved
                for (generation, _, gate), state in sorted(row.gates.items(), key=lambda item: item[0])
                if generation == row.generation and not state.done
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

    async def get_outputs(self, run_id: str, stage_ids: Sequence[str], *, item: int = 0) -> Mapping[str, Payload]:
        """Return the visible outputs of the named stages."""
        with self._store.transaction:
            self._store.now()
            run = self._store.runs.get(run_id)
            if run is None:
                return {}
            rows = ((stage_id, run.outputs.get(slot(stage_id, item))) for stage_id in stage_ids)
            return {stage_id: row.output for stage_id, row in rows if row is not None and row.output is not None}

    async def list_item_outputs(self, key: StageKey, *, after: int, limit: int) -> Sequence[tuple[int, Payload | None]]:
        """Return item and output of records of the key's stage, generation and turn, in order of item."""
        with self._store.transaction:
            self._store.now()
            run = self._store.runs.get(key.run_id)
            found: list[tuple[int, Payload | None]] = []
            if run is None:
                return found
            group = (key.stage_id, key.generation, key.turn)
            item, top = max(after + 1, 0), run.tops.get(group, 0)
            while item <= top and len(found) < limit:
                row = run.instances.get((*group, item))
                if row is not None and row.status.is_terminal:
                    found.append((item, row.output if row.status is StageStatus.COMPLETED else None))
                item += 1
            return found

    async def find_item(self, key: StageKey) -> Payload | None:
        """Return the input of one instance of a map."""
        with self._store.transaction:
            self._store.now()
            run = self._store.runs.get(key.run_id)
            return None if run is None else run.items.get(place(key))

    async def get_state(self, run_id: str) -> Mapping[str, Any]:
        """Return the run's state."""
        with self._store.transaction:
            self._store.now()
            run = self._store.runs.get(run_id)
            return {} if run is None else owned(run.state)

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
