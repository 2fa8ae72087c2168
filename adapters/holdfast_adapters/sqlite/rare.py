"""Statements of what a plain step does not write, in the order in which a wave executes them.

The order is that of a single change-set: what it settles, what it supersedes, what it answers, what it opens. Where
the order of two change-sets would be another one, the second waits for the next wave. Ends of runs come last, after the
jobs and timers that the same change-sets made.
"""

from __future__ import annotations

from typing import Final

SUPERSEDE: Final = """
    UPDATE stage SET superseded = 1
    WHERE run = ? AND stage_id = ? AND turn >= ? AND superseded = 0
        AND (status IN ('FAILED', 'CANCELLED') OR (? AND status IN ('COMPLETED', 'SKIPPED')))"""
#: Of instances that are done; those that are live need their answers still.
FORGET_WAITS: Final = """
    UPDATE wait SET status = 'CLOSED', text = NULL, digest = NULL, size = NULL, blob = NULL
    WHERE run = ? AND stage_id = ? AND turn >= ? AND status IN ('RESOLVED', 'EXPIRED')
        AND NOT EXISTS (
            SELECT 1 FROM job j
            WHERE j.run = wait.run AND j.stage_id = wait.stage_id AND j.generation = wait.generation
                AND j.turn = wait.turn AND j.item = wait.item
        )"""
#: Keeps the worker as the last holder, and the failure of the last failed attempt unless there is a newer one.
REQUEUE_JOB: Final = """
    UPDATE job
    SET status = ?, epoch = epoch + 1, attempt = ?, failure = coalesce(?, failure), lost = ?, lease_until = NULL,
        delayed = 1, due_at = ?, held_due_at = ?
    WHERE run = ? AND stage_id = ? AND generation = ? AND turn = ? AND item = ?"""
SUSPEND_JOB: Final = """
    UPDATE job
    SET status = 'SUSPENDED', epoch = epoch + 1, attempt = 0, failure = NULL, lost = ?, state = ?, give_up_at = ?,
        lease_until = NULL, delayed = 1, due_at = ?, held_due_at = ?
    WHERE run = ? AND stage_id = ? AND generation = ? AND turn = ? AND item = ?"""
PARK_JOB: Final = """
    UPDATE job
    SET status = ?, epoch = epoch + 1, attempt = 0, failure = NULL, lost = ?, lease_until = NULL,
        delayed = 0, due_at = ?, held_due_at = ?
    WHERE run = ? AND stage_id = ? AND generation = ? AND turn = ? AND item = ?"""
WAKE_JOB: Final = """
    UPDATE job SET status = 'READY', delayed = 0, due_at = ?, held_due_at = ?
    WHERE run = ? AND stage_id = ? AND generation = ? AND turn = ? AND item = ?"""
CLOSE_WAITS: Final = """
    UPDATE wait SET status = 'CLOSED'
    WHERE run = ? AND stage_id = ? AND generation = ? AND turn = ? AND item = ? AND status = 'OPEN'"""
ANSWER_WAIT: Final = """
    UPDATE wait SET status = ?, text = ?, digest = ?, size = ?, blob = ?, actor = ?
    WHERE run = ? AND stage_id = ? AND generation = ? AND turn = ? AND item = ? AND name = ?"""
#: One that is opened anew takes the place of the answered one, behind those opened before.
OPEN_WAIT: Final = """
    INSERT OR REPLACE INTO wait (
        run, stage_id, generation, turn, item, name, kind, status, reason, opened_at, due_at, text, digest, size, blob,
        actor
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
DROP_MESSAGE: Final = "DELETE FROM message WHERE run = ? AND name = ?"
KEEP_MESSAGE: Final = """
    INSERT OR REPLACE INTO message (run, name, text, digest, size, blob, actor, at) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"""
KEEP_TOKEN: Final = "INSERT OR REPLACE INTO token (hash, run, name, expires_at) VALUES (?, ?, ?, ?)"
#: A key is free again unless it has a result.
FREE_KEY: Final = """
    DELETE FROM keyed
    WHERE run = ? AND holder = ? AND generation = ? AND turn = ? AND item = ? AND digest IS NULL"""
SET_KEY: Final = """
    INSERT OR REPLACE INTO keyed (
        tenant, workflow_id, stage_id, key, fingerprint, run, holder, generation, turn, item, text, digest, size, blob
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
SET_STATE: Final = "INSERT OR REPLACE INTO state (run, text) VALUES (?, ?)"
SET_ARTIFACT: Final = """
    INSERT OR REPLACE INTO artifact (run, name, blob, digest, size, media_type) VALUES (?, ?, ?, ?, ?, ?)"""
KEEP_CHECKPOINT: Final = """
    INSERT INTO checkpoint (run, stage_id, generation, turn, item, name, text, digest, size, blob)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (run, stage_id, generation, turn, item, name) DO NOTHING"""
INSERT_ANNOTATION: Final = """
    INSERT INTO annotation (run, at, name, value, stage_id, generation, turn, item, attempt, actor)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
INSERT_LOG: Final = """
    INSERT INTO log (run, stage_id, generation, turn, item, attempt, level, message, data, at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
#: The jobs of a run that is PAUSED leave the indexes by which work is found, and come back with it.
HOLD_JOBS: Final = """
    UPDATE job SET held_due_at = due_at, due_at = NULL WHERE run = ? AND due_at IS NOT NULL"""
LET_JOBS: Final = """
    UPDATE job SET due_at = held_due_at, held_due_at = NULL WHERE run = ? AND held_due_at IS NOT NULL"""
#: The epochs of cancelled jobs count as lost: whoever held one did not settle it.
CANCEL_JOBS: Final = """
    INSERT INTO stage (
        run, stage_id, generation, turn, item, status, attempt, max_attempts, epoch, worker, started_at, finished_at,
        lost, via, depth, origin
    )
    SELECT run, stage_id, generation, turn, item, 'CANCELLED', attempt, max_attempts, epoch, worker, started_at, ?,
        json_insert(coalesce(lost, '[]'), '$[#]', epoch), via, depth, origin
    FROM job WHERE run = ?"""
DROP_JOBS: Final = "DELETE FROM job WHERE run = ?"
DROP_TIMERS: Final = "DELETE FROM timer WHERE run = ?"
DROP_GATES: Final = "DELETE FROM gate WHERE run = ?"
CLOSE_RUN_WAITS: Final = "UPDATE wait SET status = 'CLOSED' WHERE run = ? AND status = 'OPEN'"
FREE_RUN_KEYS: Final = "DELETE FROM keyed WHERE run = ? AND digest IS NULL"
#: The parent and the children of a run that ends are told by timers that are due at once.
TELL_PARENT: Final = """
    INSERT OR REPLACE INTO timer (run, id, kind, due_at)
    SELECT n, ?, 'CHILD_ENDED', ? FROM run
    WHERE id = ? AND status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')"""
TELL_CHILDREN: Final = """
    INSERT OR REPLACE INTO timer (run, id, kind, due_at)
    SELECT n, ?, 'PARENT_ENDED', ? FROM run INDEXED BY run_parent
    WHERE parent = ? AND status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')"""
#: The end of a run passes the turn of its singleton key on, unless one of the others goes on already: to the oldest of
#: those that are held, those that have a start of their own aside.
PASS_TURN: Final = """
    INSERT OR REPLACE INTO timer (run, id, kind, due_at)
    SELECT h.n, 'start', 'RUN_START', ?
    FROM run e CROSS JOIN run h INDEXED BY run_singleton ON h.tenant = e.tenant AND h.workflow_id = e.workflow_id
        AND h.singleton = e.singleton AND h.finished_at IS NULL AND h.held = 1
    WHERE e.n = ?
        AND NOT EXISTS (
            SELECT 1 FROM run o INDEXED BY run_singleton
            WHERE o.tenant = e.tenant AND o.workflow_id = e.workflow_id AND o.singleton = e.singleton
                AND o.finished_at IS NULL AND o.held = 0
        )
        AND NOT EXISTS (SELECT 1 FROM timer t WHERE t.run = h.n AND t.kind = 'RUN_START')
    ORDER BY h.created_at, h.id LIMIT 1"""

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
    SET_KEY,
    SET_STATE,
    SET_ARTIFACT,
    KEEP_CHECKPOINT,
    INSERT_ANNOTATION,
    INSERT_LOG,
    HOLD_JOBS,
    LET_JOBS,
    CANCEL_JOBS,
    DROP_JOBS,
    DROP_TIMERS,
    DROP_GATES,
    CLOSE_RUN_WAITS,
    FREE_RUN_KEYS,
    TELL_PARENT,
    TELL_CHILDREN,
    PASS_TURN,
)
