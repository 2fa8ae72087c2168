"""The port that reads what decisions are made from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from holdfast.entities.payload import Artifact, Payload
from holdfast.entities.run import Run
from holdfast.entities.snapshot import RunSnapshot
from holdfast.entities.stage import StageInstance, StageKey


class Snapshots(Protocol):
    """Reads for decisions; each call is one consistent read that sees every commit acknowledged before it."""

    async def find_run(self, run_id: str) -> Run | None:
        """Return the run, or None if there is none of that id."""
        ...

    async def find_snapshot(self, run_id: str) -> RunSnapshot | None:
        """Return the run with its live and visible stage instances, or None if there is no such run."""
        ...

    async def find_stage(self, key: StageKey) -> StageInstance | None:
        """Return one stage instance, live, done or superseded, or None if there is none of that key."""
        ...

    async def get_outputs(self, run_id: str, stage_ids: Sequence[str]) -> Mapping[str, Payload]:
        """Return the visible outputs of the named stages by stage id.

        Visible is the output of a COMPLETED record that no rerun superseded. Stages without one are left out.
        """
        ...

    async def list_artifacts(self, run_id: str) -> Sequence[Artifact]:
        """Return the run's artifacts in order of name; empty if there are none or there is no such run."""
        ...

    async def find_checkpoint(self, key: StageKey, *, name: str) -> Payload | None:
        """Return the result that the stage instance keeps under *name*, or None if there is none."""
        ...
