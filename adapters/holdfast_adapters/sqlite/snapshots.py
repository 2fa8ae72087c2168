"""Reads of SQLite for decisions."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from holdfast.entities.payload import Artifact, Payload
from holdfast.entities.run import Run
from holdfast.entities.snapshot import RunSnapshot
from holdfast.entities.stage import StageInstance, StageKey
from holdfast_adapters.sqlite import rows
from holdfast_adapters.sqlite.access import Access


class SqliteSnapshots:
    """The Snapshots port on SQLite."""

    _access: Access

    _FIND_RUN: Final = rows.select("""
        SELECT {run}
        FROM run r JOIN run_payload p ON p.run = r.n
        WHERE r.id = ?""")

    async def find_run(self, run_id: str) -> Run | None:
        """Return the run, if there is one."""

        def read(connection: sqlite3.Connection, _: int) -> Run | None:
            row = connection.execute(self._FIND_RUN, (run_id,)).fetchone()
            return None if row is None else rows.run(row)

        return await self._access.read(read)

    _LIVE_STAGES: Final = rows.select("""
        SELECT {job} FROM job j WHERE j.run = (SELECT n FROM run WHERE id = ?)""")
    _VISIBLE_STAGES: Final = rows.select("""
        SELECT {stage} FROM stage s
        WHERE s.run = (SELECT n FROM run WHERE id = ?) AND s.superseded = 0""")
    _ARRIVALS: Final = """
        SELECT g.gate, g.count FROM run r JOIN gate g ON g.run = r.n AND g.generation = r.generation
        WHERE r.id = ? AND g.count < g.arity"""

    async def find_snapshot(self, run_id: str) -> RunSnapshot | None:
        """Return the run with its live and visible stage instances."""

        def read(connection: sqlite3.Connection, _: int) -> RunSnapshot | None:
            # One transaction, so that all of it is of one instant.
            connection.execute("BEGIN")
            try:
                run = connection.execute(self._FIND_RUN, (run_id,)).fetchone()
                live = connection.execute(self._LIVE_STAGES, (run_id,)).fetchall()
                done = connection.execute(self._VISIBLE_STAGES, (run_id,)).fetchall()
                arrivals = connection.execute(self._ARRIVALS, (run_id,)).fetchall()
            finally:
                connection.execute("COMMIT")
            if run is None:
                return None
            stages = [rows.live_stage(run_id, row) for row in live] + [rows.done_stage(run_id, row) for row in done]
            return RunSnapshot(
                run=rows.run(run),
                stages=tuple(sorted(stages, key=lambda stage: stage.key)),
                arrivals=dict(arrivals),
            )

        return await self._access.read(read)

    _FIND_JOB: Final = rows.select("""
        SELECT {job} FROM job j
        WHERE j.run = (SELECT n FROM run WHERE id = ?) AND j.stage_id = ? AND j.generation = ? AND j.item = ?""")
    _FIND_STAGE: Final = rows.select("""
        SELECT {stage} FROM stage s
        WHERE s.run = (SELECT n FROM run WHERE id = ?) AND s.stage_id = ? AND s.generation = ? AND s.item = ?""")

    async def find_stage(self, key: StageKey) -> StageInstance | None:
        """Return one stage instance, live, done or superseded."""
        at = (key.run_id, key.stage_id, key.generation, key.item)

        def read(connection: sqlite3.Connection, _: int) -> StageInstance | None:
            # A job may become a record between the two looks, never the other way round.
            live = connection.execute(self._FIND_JOB, at).fetchone()
            if live is not None:
                return rows.live_stage(key.run_id, live)
            done = connection.execute(self._FIND_STAGE, at).fetchone()
            return None if done is None else rows.done_stage(key.run_id, done)

        return await self._access.read(read)

    #: In order of generation, so that the newest wins where an earlier one is visible as well.
    _OUTPUT: Final = """
        SELECT s.output, s.output_digest, s.output_size, s.output_blob FROM stage s
        WHERE s.run = (SELECT n FROM run WHERE id = ?) AND s.stage_id = ?
            AND s.status = 'COMPLETED' AND s.superseded = 0
        ORDER BY s.generation DESC, s.item DESC LIMIT 1"""

    async def get_outputs(self, run_id: str, stage_ids: Sequence[str]) -> Mapping[str, Payload]:
        """Return the visible outputs of the named stages."""

        def read(connection: sqlite3.Connection, _: int) -> Mapping[str, Payload]:
            outputs: dict[str, Payload] = {}
            for stage_id in stage_ids:
                row = connection.execute(self._OUTPUT, (run_id, stage_id)).fetchone()
                output = None if row is None else rows.payload(row)
                if output is not None:
                    outputs[stage_id] = output
            return outputs

        return await self._access.read(read)

    _LIST_ARTIFACTS: Final = """
        SELECT name, blob, digest, size, media_type FROM artifact
        WHERE run = (SELECT n FROM run WHERE id = ?) ORDER BY name"""

    async def list_artifacts(self, run_id: str) -> Sequence[Artifact]:
        """Return the run's artifacts by name."""

        def read(connection: sqlite3.Connection, _: int) -> Sequence[Artifact]:
            return [rows.artifact(row) for row in connection.execute(self._LIST_ARTIFACTS, (run_id,)).fetchall()]

        return await self._access.read(read)

    _CHECKPOINT: Final = """
        SELECT text, digest, size, blob FROM checkpoint
        WHERE run = (SELECT n FROM run WHERE id = ?) AND stage_id = ? AND generation = ? AND item = ? AND name = ?"""

    async def find_checkpoint(self, key: StageKey, *, name: str) -> Payload | None:
        """Return the result that the stage instance keeps under that name."""

        def read(connection: sqlite3.Connection, _: int) -> Payload | None:
            at = (key.run_id, key.stage_id, key.generation, key.item, name)
            row = connection.execute(self._CHECKPOINT, at).fetchone()
            return None if row is None else rows.payload(row)

        return await self._access.read(read)
