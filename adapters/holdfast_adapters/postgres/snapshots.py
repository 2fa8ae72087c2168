"""Reads of Postgres for decisions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from holdfast.entities.payload import Artifact, Payload
from holdfast.entities.run import Run
from holdfast.entities.snapshot import RunSnapshot
from holdfast.entities.stage import StageInstance, StageKey
from holdfast_adapters.postgres import encoding, rows
from holdfast_adapters.postgres.access import Access
from holdfast_adapters.postgres.prepared import job_key
from holdfast_adapters.postgres.statements import Call, Statement

#: Around queries that must tell of one instant.
BEGIN_SNAPSHOT: Final[Call] = (Statement("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"), ())
END_SNAPSHOT: Final[Call] = (Statement("COMMIT"), ())


class PostgresSnapshots:
    """The Snapshots port on Postgres."""

    _access: Access

    _FIND_RUN: Final = Statement(
        rows.select("""
        SELECT {run}
        FROM holdfast.run r {payload}
        WHERE r.id = $1::text""")
    )

    async def find_run(self, run_id: str) -> Run | None:
        """Return the run, if there is one."""
        (found,) = await self._access.read((self._FIND_RUN, (run_id,)))
        return rows.run(found[0]) if found else None

    _LIST_SINGLETONS: Final = Statement(
        rows.select("""
        SELECT {run}
        FROM unnest(ARRAY[false, true]) queued (up)
        CROSS JOIN LATERAL (
            SELECT * FROM holdfast.run x
            WHERE x.tenant = $1::text AND x.workflow_id = $2::text AND x.singleton = $3::text
                AND x.singleton IS NOT NULL AND x.finished_at IS NULL AND NOT x.held AND NOT queued.up
            UNION ALL
            SELECT * FROM holdfast.run x
            WHERE x.tenant = $1::text AND x.workflow_id = $2::text AND x.singleton = $3::text
                AND x.singleton IS NOT NULL AND x.finished_at IS NULL AND x.held AND queued.up
        ) r
        {payload}
        ORDER BY r.created_at, r.id""")
    )

    async def list_singletons(self, *, tenant: str, workflow_id: str, key: str) -> Sequence[Run]:
        """Return the live runs of the workflow that have the singleton key, in order of creation."""
        (found,) = await self._access.read((self._LIST_SINGLETONS, (tenant, workflow_id, key)))
        return [rows.run(row) for row in found]

    _LIVE_STAGES: Final = Statement(
        rows.select("""
        SELECT {job} FROM holdfast.job j WHERE j.run = (SELECT n FROM holdfast.run WHERE id = $1::text)""")
    )
    _VISIBLE_STAGES: Final = Statement(
        rows.select("""
        SELECT {stage} FROM holdfast.stage s
        WHERE s.run = (SELECT n FROM holdfast.run WHERE id = $1::text) AND NOT s.superseded""")
    )
    _ARRIVALS: Final = Statement("""
        SELECT g.turn, g.gate, g.resolved
        FROM holdfast.run r
        CROSS JOIN LATERAL (
            SELECT * FROM holdfast.gate x WHERE x.run = r.n AND x.generation = r.generation AND NOT x.done OFFSET 0
        ) g
        WHERE r.id = $1::text""")

    async def find_snapshot(self, run_id: str) -> RunSnapshot | None:
        """Return the run with its live and visible stage instances."""
        at = (run_id,)
        _, run, live, done, arrivals, _ = await self._access.read(
            BEGIN_SNAPSHOT,
            (self._FIND_RUN, at),
            (self._LIVE_STAGES, at),
            (self._VISIBLE_STAGES, at),
            (self._ARRIVALS, at),
            END_SNAPSHOT,
        )
        if not run:
            return None
        stages = [rows.live_stage(run_id, row) for row in live] + [rows.done_stage(run_id, row) for row in done]
        return RunSnapshot(
            run=rows.run(run[0]),
            stages=tuple(sorted(stages, key=lambda stage: stage.key)),
            # Of one gate in several turns the last counts.
            arrivals={gate: resolved for _, gate, resolved in sorted(arrivals)},
        )

    #: One query, because a job may become a record between two.
    _FIND_STAGE: Final = Statement(
        rows.select("""
        SELECT j.run IS NOT NULL, {job}, {stage}
        FROM holdfast.run r
        LEFT JOIN LATERAL (
            SELECT * FROM holdfast.job x
            WHERE x.run = r.n AND x.stage_id = $2::text AND x.generation = $3::integer AND x.turn = $4::integer
                AND x.item = $5::integer OFFSET 0
        ) j ON true
        LEFT JOIN LATERAL (
            SELECT * FROM holdfast.stage x
            WHERE x.run = r.n AND x.stage_id = $2::text AND x.generation = $3::integer AND x.turn = $4::integer
                AND x.item = $5::integer OFFSET 0
        ) s ON true
        WHERE r.id = $1::text AND (j.run IS NOT NULL OR s.run IS NOT NULL)""")
    )

    async def find_stage(self, key: StageKey) -> StageInstance | None:
        """Return one stage instance, live, done or superseded."""
        (found,) = await self._access.read((self._FIND_STAGE, (key.run_id, *job_key(key))))
        if not found:
            return None
        is_live, *row = found[0]
        if is_live:
            return rows.live_stage(key.run_id, tuple(row[: rows.JOB_WIDTH]))
        return rows.done_stage(key.run_id, tuple(row[rows.JOB_WIDTH :]))

    #: The newest round that has one. Rounds are found one by one, each with a look at the end of an index: a stage in a
    #: map has many records of each, of which only that of the item is looked at.
    _GET_OUTPUTS: Final = Statement("""
        SELECT wanted.id, s.output, s.output_digest, s.output_size, s.output_blob
        FROM holdfast.run r
        CROSS JOIN unnest($2::text[]) wanted (id)
        CROSS JOIN LATERAL (
            WITH RECURSIVE round (generation, turn) AS (
                (
                    SELECT f.generation, f.turn FROM holdfast.stage f
                    WHERE f.run = r.n AND f.stage_id = wanted.id
                    ORDER BY f.generation DESC, f.turn DESC LIMIT 1
                )
                UNION ALL
                SELECT before.generation, before.turn
                FROM round
                CROSS JOIN LATERAL (
                    SELECT b.generation, b.turn FROM holdfast.stage b
                    WHERE b.run = r.n AND b.stage_id = wanted.id
                        AND (b.generation, b.turn) < (round.generation, round.turn)
                    ORDER BY b.generation DESC, b.turn DESC LIMIT 1
                ) before
            )
            SELECT found.*
            FROM round
            CROSS JOIN LATERAL (
                SELECT o.output, o.output_digest, o.output_size, o.output_blob FROM holdfast.stage o
                WHERE o.run = r.n AND o.stage_id = wanted.id AND o.generation = round.generation
                    AND o.turn = round.turn AND o.item = $3::integer
                    AND o.status = 'COMPLETED' AND NOT o.superseded AND o.output_digest IS NOT NULL
                LIMIT 1
            ) found
            LIMIT 1
        ) s
        WHERE r.id = $1::text""")

    async def get_outputs(self, run_id: str, stage_ids: Sequence[str], *, item: int = 0) -> Mapping[str, Payload]:
        """Return the visible outputs of the named stages."""
        wanted = list(dict.fromkeys(stage_ids))
        (found,) = await self._access.read((self._GET_OUTPUTS, (run_id, wanted, item)))
        outputs = {row[0]: rows.payload(row[1:]) for row in found}
        return {stage_id: output for stage_id in wanted if (output := outputs.get(stage_id)) is not None}

    _ITEM_OUTPUTS: Final = Statement("""
        SELECT s.item, CASE WHEN s.status = 'COMPLETED' THEN s.output END,
            CASE WHEN s.status = 'COMPLETED' THEN s.output_digest END, s.output_size, s.output_blob
        FROM holdfast.stage s
        WHERE s.run = (SELECT n FROM holdfast.run WHERE id = $1::text) AND s.stage_id = $2::text
            AND s.generation = $3::integer AND s.turn = $4::integer AND s.item > $5::integer
        ORDER BY s.item LIMIT $6::bigint""")

    async def list_item_outputs(self, key: StageKey, *, after: int, limit: int) -> Sequence[tuple[int, Payload | None]]:
        """Return item and output of records of the key's stage, generation and turn, in order of item."""
        asked = (key.run_id, key.stage_id, key.generation, key.turn, after, limit)
        (found,) = await self._access.read((self._ITEM_OUTPUTS, asked))
        return [(row[0], rows.payload(row[1:])) for row in found]

    _FIND_ITEM: Final = Statement("""
        SELECT text, digest, size, blob FROM holdfast.item
        WHERE run = (SELECT n FROM holdfast.run WHERE id = $1::text) AND stage_id = $2::text
            AND generation = $3::integer AND turn = $4::integer AND item = $5::integer""")

    async def find_item(self, key: StageKey) -> Payload | None:
        """Return the input of one instance of a map."""
        (found,) = await self._access.read((self._FIND_ITEM, (key.run_id, *job_key(key))))
        return rows.payload(found[0]) if found else None

    _GET_STATE: Final = Statement("""
        SELECT text FROM holdfast.state WHERE run = (SELECT n FROM holdfast.run WHERE id = $1::text)""")

    async def get_state(self, run_id: str) -> Mapping[str, Any]:
        """Return the run's state."""
        (found,) = await self._access.read((self._GET_STATE, (run_id,)))
        return encoding.mapping(found[0][0]) if found else {}

    _LIST_ARTIFACTS: Final = Statement("""
        SELECT name, blob, digest, size, media_type FROM holdfast.artifact
        WHERE run = (SELECT n FROM holdfast.run WHERE id = $1::text) ORDER BY name""")

    async def list_artifacts(self, run_id: str) -> Sequence[Artifact]:
        """Return the run's artifacts by name."""
        (found,) = await self._access.read((self._LIST_ARTIFACTS, (run_id,)))
        return [rows.artifact(row) for row in found]

    _CHECKPOINT: Final = Statement("""
        SELECT text, digest, size, blob FROM holdfast.checkpoint
        WHERE run = (SELECT n FROM holdfast.run WHERE id = $1::text) AND stage_id = $2::text
            AND generation = $3::integer AND turn = $4::integer AND item = $5::integer AND name = $6::text""")

    async def find_checkpoint(self, key: StageKey, *, name: str) -> Payload | None:
        """Return the result that the stage instance keeps under that name."""
        (found,) = await self._access.read((self._CHECKPOINT, (key.run_id, *job_key(key), name)))
        return rows.payload(found[0]) if found else None
