"""Reads of SQLite for decisions."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Any, Final

from holdfast.entities.payload import Artifact, Payload
from holdfast.entities.run import Run
from holdfast.entities.snapshot import RunSnapshot
from holdfast.entities.stage import StageInstance, StageKey
from holdfast_adapters.sqlite import encoding, rows
from holdfast_adapters.sqlite.access import Access
from holdfast_adapters.sqlite.prepared import job_key


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

    _LIST_SINGLETONS: Final = rows.select("""
        SELECT {run}
        FROM run r INDEXED BY run_singleton JOIN run_payload p ON p.run = r.n
        WHERE r.tenant = ? AND r.workflow_id = ? AND r.singleton = ? AND r.finished_at IS NULL""")

    async def list_singletons(self, *, tenant: str, workflow_id: str, key: str) -> Sequence[Run]:
        """Return the live runs of the key in order of creation."""

        def read(connection: sqlite3.Connection, _: int) -> Sequence[Run]:
            found = connection.execute(self._LIST_SINGLETONS, (tenant, workflow_id, key)).fetchall()
            return sorted(map(rows.run, found), key=lambda run: (run.created_at, run.id))

        return await self._access.read(read)

    _LIVE_STAGES: Final = rows.select("""
        SELECT {job} FROM job j WHERE j.run = (SELECT n FROM run WHERE id = ?)""")
    _VISIBLE_STAGES: Final = rows.select("""
        SELECT {stage} FROM stage s
        WHERE s.run = (SELECT n FROM run WHERE id = ?) AND s.superseded = 0""")
    _ARRIVALS: Final = """
        SELECT g.turn, g.gate, g.resolved FROM run r CROSS JOIN gate g ON g.run = r.n AND g.generation = r.generation
        WHERE r.id = ? AND g.done = 0"""

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
                # Of one gate in several turns the last counts.
                arrivals={gate: resolved for _, gate, resolved in sorted(arrivals)},
            )

        return await self._access.read(read)

    _FIND_JOB: Final = rows.select("""
        SELECT {job} FROM job j
        WHERE j.run = (SELECT n FROM run WHERE id = ?) AND j.stage_id = ? AND j.generation = ? AND j.turn = ?
            AND j.item = ?""")
    _FIND_STAGE: Final = rows.select("""
        SELECT {stage} FROM stage s
        WHERE s.run = (SELECT n FROM run WHERE id = ?) AND s.stage_id = ? AND s.generation = ? AND s.turn = ?
            AND s.item = ?""")

    async def find_stage(self, key: StageKey) -> StageInstance | None:
        """Return one stage instance, live, done or superseded."""
        at = (key.run_id, *job_key(key))

        def read(connection: sqlite3.Connection, _: int) -> StageInstance | None:
            # A job may become a record between the two looks, never the other way round.
            live = connection.execute(self._FIND_JOB, at).fetchone()
            if live is not None:
                return rows.live_stage(key.run_id, live)
            done = connection.execute(self._FIND_STAGE, at).fetchone()
            return None if done is None else rows.done_stage(key.run_id, done)

        return await self._access.read(read)

    #: The newest rounds first. A stage in a map has many records of each, of which only that of the item is looked at.
    _NEWEST_ROUND: Final = """
        SELECT s.run, s.generation, s.turn FROM stage s
        WHERE s.run = (SELECT n FROM run WHERE id = ?) AND s.stage_id = ?
        ORDER BY s.generation DESC, s.turn DESC LIMIT 1"""
    _ROUND_BEFORE: Final = """
        SELECT s.run, s.generation, s.turn FROM stage s
        WHERE s.run = ? AND s.stage_id = ? AND (s.generation, s.turn) < (?, ?)
        ORDER BY s.generation DESC, s.turn DESC LIMIT 1"""
    _OUTPUT: Final = """
        SELECT s.output, s.output_digest, s.output_size, s.output_blob FROM stage s
        WHERE s.run = ? AND s.stage_id = ? AND s.generation = ? AND s.turn = ? AND s.item = ?
            AND s.status = 'COMPLETED' AND s.superseded = 0"""

    async def get_outputs(self, run_id: str, stage_ids: Sequence[str], *, item: int = 0) -> Mapping[str, Payload]:
        """Return the visible outputs of the named stages."""

        def read(connection: sqlite3.Connection, _: int) -> Mapping[str, Payload]:
            outputs: dict[str, Payload] = {}
            # What is found in several looks must be of one instant.
            connection.execute("BEGIN")
            try:
                for stage_id in stage_ids:
                    output = self._output(connection, run_id, stage_id=stage_id, item=item)
                    if output is not None:
                        outputs[stage_id] = output
            finally:
                connection.execute("COMMIT")
            return outputs

        return await self._access.read(read)

    def _output(self, connection: sqlite3.Connection, run_id: str, *, stage_id: str, item: int) -> Payload | None:
        at = connection.execute(self._NEWEST_ROUND, (run_id, stage_id)).fetchone()
        while at is not None:
            run, generation, turn = at
            row = connection.execute(self._OUTPUT, (run, stage_id, generation, turn, item)).fetchone()
            output = None if row is None else rows.payload(row)
            if output is not None:
                return output
            at = connection.execute(self._ROUND_BEFORE, (run, stage_id, generation, turn)).fetchone()
        return None

    _ITEM_OUTPUTS: Final = """
        SELECT s.item, CASE WHEN s.status = 'COMPLETED' THEN s.output END,
            CASE WHEN s.status = 'COMPLETED' THEN s.output_digest END, s.output_size, s.output_blob FROM stage s
        WHERE s.run = (SELECT n FROM run WHERE id = ?) AND s.stage_id = ? AND s.generation = ? AND s.turn = ?
            AND s.item > ?
        ORDER BY s.item LIMIT ?"""

    async def list_item_outputs(self, key: StageKey, *, after: int, limit: int) -> Sequence[tuple[int, Payload | None]]:
        """Return item and output of records of the key's stage, generation and turn, in order of item."""
        asked = (key.run_id, key.stage_id, key.generation, key.turn, after, limit)

        def read(connection: sqlite3.Connection, _: int) -> Sequence[tuple[int, Payload | None]]:
            found = connection.execute(self._ITEM_OUTPUTS, asked).fetchall()
            return [(row[0], rows.payload(row[1:])) for row in found]

        return await self._access.read(read)

    _FIND_ITEM: Final = """
        SELECT text, digest, size, blob FROM item
        WHERE run = (SELECT n FROM run WHERE id = ?) AND stage_id = ? AND generation = ? AND turn = ? AND item = ?"""

    async def find_item(self, key: StageKey) -> Payload | None:
        """Return the input of one instance of a map."""

        def read(connection: sqlite3.Connection, _: int) -> Payload | None:
            row = connection.execute(self._FIND_ITEM, (key.run_id, *job_key(key))).fetchone()
            return None if row is None else rows.payload(row)

        return await self._access.read(read)

    _GET_STATE: Final = "SELECT text FROM state WHERE run = (SELECT n FROM run WHERE id = ?)"

    async def get_state(self, run_id: str) -> Mapping[str, Any]:
        """Return the run's state."""

        def read(connection: sqlite3.Connection, _: int) -> Mapping[str, Any]:
            row = connection.execute(self._GET_STATE, (run_id,)).fetchone()
            return {} if row is None else encoding.mapping(row[0])

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
        WHERE run = (SELECT n FROM run WHERE id = ?) AND stage_id = ? AND generation = ? AND turn = ?
            AND item = ? AND name = ?"""

    async def find_checkpoint(self, key: StageKey, *, name: str) -> Payload | None:
        """Return the result that the stage instance keeps under that name."""

        def read(connection: sqlite3.Connection, _: int) -> Payload | None:
            at = (key.run_id, *job_key(key), name)
            row = connection.execute(self._CHECKPOINT, at).fetchone()
            return None if row is None else rows.payload(row)

        return await self._access.read(read)
