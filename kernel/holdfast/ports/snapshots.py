"""The port that reads what decisions are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from holdfast.entities.payload import Artifact, Payload
from holdfast.entities.run import Run
from holdfast.entities.snapshot import RunSnapshot
from holdfast.entities.stage import StageInstance, StageKey


class Snapshots(Protocol):
    """Reads for decisions; each call is one consistent read that sees every commit acknowledged before it."""

    async def find_run(self, run_id: str) -> Run | None:
        """Return the run, or None if there is none of that id."""
        ...

    async def list_singletons(self, *, tenant: str, workflow_id: str, key: str) -> Sequence[Run]:
        """Return the live runs of the workflow that have the singleton key, in order of creation."""
        ...

    async def find_snapshot(self, run_id: str) -> RunSnapshot | None:
        """Return the run with its live and visible stage instances, or None if there is no such run."""
        ...

    async def find_stage(self, key: StageKey) -> StageInstance | None:
        """Return one stage instance, live, done or superseded, or None if there is none of that key."""
        ...

    async def get_outputs(self, run_id: str, stage_ids: Sequence[str], *, item: int = 0) -> Mapping[str, Payload]:
        """Return the visible outputs of the named stages by stage id, those of *item* for stages within a map.

        Visible is the output of a COMPLETED record that no rerun superseded; of several, that of the highest
        generation, then of the highest turn. Stages without one are left out.
        """
        ...

    async def list_item_outputs(self, key: StageKey, *, after: int, limit: int) -> Sequence[tuple[int, Payload | None]]:
        """Return item and output of at most *limit* records of the key's stage, generation and turn, in order of item.

        Only items above *after* count. The output is None for a record that is not COMPLETED.
        """
        ...

    async def find_item(self, key: StageKey) -> Payload | None:
        """Return the input of one instance of a map, or None if there is none of that key."""
        ...

    async def get_state(self, run_id: str) -> Mapping[str, Any]:
        """Return the run's state as JSON values that nobody else holds; empty if there is none or no such run."""
        ...

    async def list_artifacts(self, run_id: str) -> Sequence[Artifact]:
        """Return the run's artifacts in order of name; empty if there are none or there is no such run."""
        ...

    async def find_checkpoint(self, key: StageKey, *, name: str) -> Payload | None:
        """Return the result that the stage instance keeps under *name*, or None if there is none."""
        ...
