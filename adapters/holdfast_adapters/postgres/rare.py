"""Statements of what a plain step does not write, in the order in which a wave executes them.

The order is that of a single change-set: what it settles, what it supersedes, what it answers, what it opens. Where
the order of two change-sets would be another one, the second waits for the next wave. Ends of runs come last, after the
jobs and timers that the same change-sets made.

Where an index holds only some rows of its table, a statement looks its rows up in a query that cannot be flattened
(``OFFSET 0``), for each row of its arrays: the planner would else be free to go through the whole of that index.
"""

from __future__ import annotations

from typing import Final

from holdfast_adapters.postgres.statements import Statement

SUPERSEDE: Final = Statement("""
    UPDATE holdfast.stage s SET superseded = true
    FROM unnest($1::bigint[], $2::text[], $3::integer[], $4::boolean[]) v (run, stage_id, from_turn, completed)
    WHERE s.run = v.run AND s.stage_id = v.stage_id AND s.turn >= v.from_turn AND NOT s.superseded
        AND (s.status IN ('FAILED', 'CANCELLED') OR (v.completed AND s.status IN ('COMPLETED', 'SKIPPED')))""")
#: Of instances that are done; those that are live need their answers still.
FORGET_WAITS: Final = Statement("""
    UPDATE holdfast.wait w SET status = 'CLOSED', text = NULL, digest = NULL, size = NULL, blob = NULL
    FROM (
        SELECT found.id FROM unnest($1::bigint[], $2::text[], $3::integer[]) v (run, stage_id, from_turn)
        CROSS JOIN LATERAL (
            SELECT x.id FROM holdfast.wait x
            WHERE x.run = v.run AND x.stage_id = v.stage_id AND x.turn >= v.from_turn
                AND x.status IN ('RESOLVED', 'EXPIRED')
                AND NOT EXISTS (
                    SELECT 1 FROM holdfast.job j
                    WHERE j.run = x.run AND j.stage_id = x.stage_id AND j.generation = x.generation
                        AND j.turn = x.turn AND j.item = x.item OFFSET 0
                )
            OFFSET 0
        ) found
        OFFSET 0
    ) v
    WHERE w.id = v.id""")
#: Keeps the worker as the last holder, and the failure of the last failed attempt unless there is a newer one.
REQUEUE_JOB: Final = Statement("""
    UPDATE holdfast.job j
    SET status = v.status, epoch = j.epoch + 1, attempt = v.attempt, failure = coalesce(v.failure, j.failure),
        lost = v.lost, lease_until = NULL, due_at = v.due_at, held_due_at = v.held_due_at, ripe = v.ripe
    FROM unnest(
        $1::text[], $2::integer[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::boolean[],
        $8::bigint[], $9::text[], $10::integer[], $11::integer[], $12::integer[]
    ) v (status, attempt, failure, lost, due_at, held_due_at, ripe, run, stage_id, generation, turn, item)
    WHERE j.run = v.run AND j.stage_id = v.stage_id AND j.generation = v.generation AND j.turn = v.turn
        AND j.item = v.item""")
SUSPEND_JOB: Final = Statement("""
    UPDATE holdfast.job j
    SET status = 'SUSPENDED', epoch = j.epoch + 1, attempt = 0, failure = NULL, lost = v.lost, state = v.state,
        give_up_at = v.give_up_at, lease_until = NULL, due_at = v.due_at, held_due_at = v.held_due_at, ripe = v.ripe
    FROM unnest(
        $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::boolean[],
        $7::bigint[], $8::text[], $9::integer[], $10::integer[], $11::integer[]
    ) v (lost, state, give_up_at, due_at, held_due_at, ripe, run, stage_id, generation, turn, item)
    WHERE j.run = v.run AND j.stage_id = v.stage_id AND j.generation = v.generation AND j.turn = v.turn
        AND j.item = v.item""")
PARK_JOB: Final = Statement("""
    UPDATE holdfast.job j
    SET status = v.status, epoch = j.epoch + 1, attempt = 0, failure = NULL, lost = v.lost, lease_until = NULL,
        due_at = v.due_at, held_due_at = v.held_due_at, ripe = v.ripe
    FROM unnest(
        $1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::boolean[],
        $6::bigint[], $7::text[], $8::integer[], $9::integer[], $10::integer[]
    ) v (status, lost, due_at, held_due_at, ripe, run, stage_id, generation, turn, item)
    WHERE j.run = v.run AND j.stage_id = v.stage_id AND j.generation = v.generation AND j.turn = v.turn
        AND j.item = v.item""")
WAKE_JOB: Final = Statement("""
    UPDATE holdfast.job j SET status = 'READY', due_at = v.due_at, held_due_at = v.held_due_at, ripe = v.ripe
    FROM unnest(
        $1::bigint[], $2::bigint[], $3::boolean[],
        $4::bigint[], $5::text[], $6::integer[], $7::integer[], $8::integer[]
    ) v (due_at, held_due_at, ripe, run, stage_id, generation, turn, item)
    WHERE j.run = v.run AND j.stage_id = v.stage_id AND j.generation = v.generation AND j.turn = v.turn
        AND j.item = v.item""")
CLOSE_WAITS: Final = Statement("""
    UPDATE holdfast.wait w SET status = 'CLOSED'
    FROM (
        SELECT found.id
        FROM unnest($1::bigint[], $2::text[], $3::integer[], $4::integer[], $5::integer[])
            v (run, stage_id, generation, turn, item)
        CROSS JOIN LATERAL (
            SELECT x.id FROM holdfast.wait x
            WHERE x.run = v.run AND x.stage_id = v.stage_id AND x.generation = v.generation AND x.turn = v.turn
                AND x.item = v.item AND x.status = 'OPEN' OFFSET 0
        ) found
        OFFSET 0
    ) v
    WHERE w.id = v.id""")
ANSWER_WAIT: Final = Statement("""
    UPDATE holdfast.wait w
    SET status = v.status, text = v.text, digest = v.digest, size = v.size, blob = v.blob, actor = v.actor
    FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::bigint[], $5::text[], $6::text[],
        $7::bigint[], $8::text[], $9::integer[], $10::integer[], $11::integer[], $12::text[]
    ) v (status, text, digest, size, blob, actor, run, stage_id, generation, turn, item, name)
    WHERE w.run = v.run AND w.stage_id = v.stage_id AND w.generation = v.generation AND w.turn = v.turn
        AND w.item = v.item AND w.name = v.name""")
#: One that is opened anew takes the place of the answered one, behind those opened before.
OPEN_WAIT: Final = Statement("""
    INSERT INTO holdfast.wait (
        run, stage_id, generation, turn, item, name, kind, status, reason, opened_at, due_at, text, digest, size, blob,
        actor
    )
    SELECT * FROM unnest(
        $1::bigint[], $2::text[], $3::integer[], $4::integer[], $5::integer[], $6::text[], $7::text[], $8::text[],
        $9::text[], $10::bigint[], $11::bigint[], $12::text[], $13::text[], $14::bigint[], $15::text[], $16::text[]
    )
    ON CONFLICT (run, stage_id, turn, item, generation, name) DO UPDATE
    SET id = excluded.id, kind = excluded.kind, status = excluded.status, reason = excluded.reason,
        opened_at = excluded.opened_at, due_at = excluded.due_at, text = excluded.text, digest = excluded.digest,
        size = excluded.size, blob = excluded.blob, actor = excluded.actor""")
DROP_MESSAGE: Final = Statement("""
    DELETE FROM holdfast.message m USING unnest($1::bigint[], $2::text[]) v (run, name)
    WHERE m.run = v.run AND m.name = v.name""")
KEEP_MESSAGE: Final = Statement("""
    INSERT INTO holdfast.message (run, name, text, digest, size, blob, actor, at)
    SELECT * FROM unnest(
        $1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[], $7::text[], $8::bigint[]
    )
    ON CONFLICT (run, name) DO UPDATE
    SET text = excluded.text, digest = excluded.digest, size = excluded.size, blob = excluded.blob,
        actor = excluded.actor, at = excluded.at""")
KEEP_TOKEN: Final = Statement("""
    INSERT INTO holdfast.token (hash, run, name, expires_at)
    SELECT * FROM unnest($1::text[], $2::bigint[], $3::text[], $4::bigint[])
    ON CONFLICT (hash) DO UPDATE SET run = excluded.run, name = excluded.name, expires_at = excluded.expires_at""")
#: A key is free again unless it has a result.
FREE_KEY: Final = Statement("""
    DELETE FROM holdfast.keyed k
    USING (
        SELECT found.*
        FROM unnest($1::bigint[], $2::text[], $3::integer[], $4::integer[], $5::integer[])
            v (run, holder, generation, turn, item)
        CROSS JOIN LATERAL (
            SELECT x.tenant, x.workflow_id, x.stage_id, x.key FROM holdfast.keyed x
            WHERE x.run = v.run AND x.holder = v.holder AND x.generation = v.generation AND x.turn = v.turn
                AND x.item = v.item AND x.digest IS NULL OFFSET 0
        ) found
        OFFSET 0
    ) v
    WHERE k.tenant = v.tenant AND k.workflow_id = v.workflow_id AND k.stage_id = v.stage_id AND k.key = v.key""")
#: A key that nobody was seen to hold. Of two transactions that take it at once one violates its uniqueness, and looks
#: again: an upsert here would give it to both.
TAKE_KEY: Final = Statement("""
    INSERT INTO holdfast.keyed (
        tenant, workflow_id, stage_id, key, fingerprint, run, holder, generation, turn, item, text, digest, size, blob
    )
    SELECT * FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::integer[],
        $9::integer[], $10::integer[], $11::text[], $12::text[], $13::bigint[], $14::text[]
    )""")
#: A key that is the holder's already.
KEEP_KEY: Final = Statement("""
    UPDATE holdfast.keyed k
    SET fingerprint = v.fingerprint, run = v.run, holder = v.holder, generation = v.generation, turn = v.turn,
        item = v.item, text = v.text, digest = v.digest, size = v.size, blob = v.blob
    FROM unnest(
        $1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bigint[], $7::text[], $8::integer[],
        $9::integer[], $10::integer[], $11::text[], $12::text[], $13::bigint[], $14::text[]
    ) v (
        tenant, workflow_id, stage_id, key, fingerprint, run, holder, generation, turn, item, text, digest, size, blob
    )
    WHERE k.tenant = v.tenant AND k.workflow_id = v.workflow_id AND k.stage_id = v.stage_id AND k.key = v.key""")
SET_STATE: Final = Statement("""
    INSERT INTO holdfast.state (run, text) SELECT * FROM unnest($1::bigint[], $2::text[])
    ON CONFLICT (run) DO UPDATE SET text = excluded.text""")
SET_ARTIFACT: Final = Statement("""
    INSERT INTO holdfast.artifact (run, name, blob, digest, size, media_type)
    SELECT * FROM unnest($1::bigint[], $2::text[], $3::text[], $4::text[], $5::bigint[], $6::text[])
    ON CONFLICT (run, name) DO UPDATE
    SET blob = excluded.blob, digest = excluded.digest, size = excluded.size, media_type = excluded.media_type""")
KEEP_CHECKPOINT: Final = Statement("""
    INSERT INTO holdfast.checkpoint (run, stage_id, generation, turn, item, name, text, digest, size, blob)
    SELECT * FROM unnest(
        $1::bigint[], $2::text[], $3::integer[], $4::integer[], $5::integer[], $6::text[], $7::text[], $8::text[],
        $9::bigint[], $10::text[]
    )
    ON CONFLICT (run, stage_id, generation, turn, item, name) DO NOTHING""")
INSERT_ANNOTATION: Final = Statement("""
    INSERT INTO holdfast.annotation (run, at, name, value, stage_id, generation, turn, item, attempt, actor)
    SELECT * FROM unnest(
        $1::bigint[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::integer[], $7::integer[], $8::integer[],
        $9::integer[], $10::text[]
    )""")
INSERT_LOG: Final = Statement("""
    INSERT INTO holdfast.log (run, stage_id, generation, turn, item, attempt, level, message, data, at)
    SELECT * FROM unnest(
        $1::bigint[], $2::text[], $3::integer[], $4::integer[], $5::integer[], $6::integer[], $7::text[], $8::text[],
        $9::text[], $10::bigint[]
    )""")
#: The jobs of a run that is PAUSED leave the indexes by which work is found, and come back with it.
HOLD_JOBS: Final = Statement("""
    UPDATE holdfast.job SET held_due_at = due_at, due_at = NULL WHERE run = ANY($1::bigint[]) AND due_at IS NOT NULL""")
LET_JOBS: Final = Statement("""
    UPDATE holdfast.job SET due_at = held_due_at, held_due_at = NULL
    WHERE run = ANY($1::bigint[]) AND held_due_at IS NOT NULL""")
#: The epochs of cancelled jobs count as lost: whoever held one did not settle it.
CANCEL_JOBS: Final = Statement("""
    WITH gone AS (
        DELETE FROM holdfast.job j USING unnest($1::bigint[], $2::bigint[]) v (at, run) WHERE j.run = v.run
        RETURNING j.*, v.at
    )
    INSERT INTO holdfast.stage (
        run, stage_id, generation, turn, item, status, attempt, max_attempts, epoch, worker, started_at, finished_at,
        lost, via, depth, origin
    )
    SELECT run, stage_id, generation, turn, item, 'CANCELLED', attempt, max_attempts, epoch, worker, started_at, at,
        coalesce(rtrim(lost, ']') || ',', '[') || epoch || ']', via, depth, origin
    FROM gone""")
DROP_TIMERS: Final = Statement("DELETE FROM holdfast.timer WHERE run = ANY($1::bigint[])")
DROP_GATES: Final = Statement("DELETE FROM holdfast.gate WHERE run = ANY($1::bigint[])")
CLOSE_RUN_WAITS: Final = Statement("""
    UPDATE holdfast.wait SET status = 'CLOSED' WHERE run = ANY($1::bigint[]) AND status = 'OPEN'""")
FREE_RUN_KEYS: Final = Statement("DELETE FROM holdfast.keyed WHERE run = ANY($1::bigint[]) AND digest IS NULL")
#: The parent and the children of a run that ends are told by timers that are due at once. Nobody else can end the one
#: or the other meanwhile: whoever may end a run, or makes one with a parent, has locked the parent.
TELL_PARENT: Final = Statement("""
    INSERT INTO holdfast.timer (run, id, kind, due_at)
    SELECT r.n, v.id, 'CHILD_ENDED', v.due_at
    FROM unnest($1::text[], $2::bigint[], $3::text[]) v (id, due_at, parent)
    JOIN holdfast.run r ON r.id = v.parent
    WHERE r.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')
    ON CONFLICT (run, id) DO UPDATE SET kind = excluded.kind, due_at = excluded.due_at""")
TELL_CHILDREN: Final = Statement("""
    INSERT INTO holdfast.timer (run, id, kind, due_at)
    SELECT r.n, v.id, 'PARENT_ENDED', v.due_at
    FROM unnest($1::text[], $2::bigint[], $3::text[]) v (id, due_at, parent)
    CROSS JOIN LATERAL (
        SELECT x.n FROM holdfast.run x
        WHERE x.parent = v.parent AND x.status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED') OFFSET 0
    ) r
    ORDER BY r.n
    ON CONFLICT (run, id) DO UPDATE SET kind = excluded.kind, due_at = excluded.due_at""")

#: Executed before instances that are skipped become records, which are not meant.
FIRST: Final = (SUPERSEDE, FORGET_WAITS)
THEN: Final = (
    REQUEUE_JOB,
    SUSPEND_JOB,
    PARK_JOB,
    WAKE_JOB,
    CLOSE_WAITS,
    ANSWER_WAIT,
    OPEN_WAIT,
    DROP_MESSAGE,
    KEEP_MESSAGE,
    KEEP_TOKEN,
    FREE_KEY,
    TAKE_KEY,
    KEEP_KEY,
    SET_STATE,
    SET_ARTIFACT,
    KEEP_CHECKPOINT,
    INSERT_ANNOTATION,
    INSERT_LOG,
    HOLD_JOBS,
    LET_JOBS,
    CANCEL_JOBS,
    DROP_TIMERS,
    DROP_GATES,
    CLOSE_RUN_WAITS,
    FREE_RUN_KEYS,
    TELL_PARENT,
    TELL_CHILDREN,
)
