"""Runs that share a singleton key: who of them goes on, and who is next.

Decisions about one key come one after the other: each holds its advisory lock until it ends. The locks are taken behind
those of all runs and in order of their hashes, so that nobody waits in a circle; `test_singles` shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import attrs

from holdfast.entities.run import RunStatus
from holdfast.errors import SingletonTaken, UnusableTransaction
from holdfast_adapters.postgres import rows
from holdfast_adapters.postgres.prepared import Prepared
from holdfast_adapters.postgres.runstate import HOLDS, SINGLETON, RunState
from holdfast_adapters.postgres.statements import Call, Statement
from holdfast_adapters.postgres.wire import Rows

#: Tenant, workflow id and key.
SingleKey = tuple[str, str, str]

_PENDING: Final = RunStatus.PENDING.value
#: "Sing" in ASCII, mixed into the hashes.
_SEED: Final = 0x53696E67

#: Runs that are there, by id, and runs to be, each with its key.
_WANTED: Final = """
    SELECT r.id, r.tenant, r.workflow_id, r.singleton
    FROM unnest($1::text[]) v (id)
    CROSS JOIN LATERAL (SELECT * FROM holdfast.run x WHERE x.id = v.id OFFSET 0) r
    UNION ALL
    SELECT * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[])"""
LOCK_SINGLES: Final = Statement(
    rows.select(
        """
    SELECT pg_advisory_xact_lock(k.hash), current_setting('transaction_isolation')
    FROM (
        SELECT DISTINCT hashtextextended(w.tenant || E'\\n' || w.workflow_id || E'\\n' || w.singleton, {seed}) AS hash
        FROM ({wanted}) w (id, tenant, workflow_id, singleton)
        ORDER BY 1 OFFSET 0
    ) k""",
        wanted=_WANTED,
        seed=str(_SEED),
    )
)
_OF_KEY: Final = """
    o.tenant = w.tenant AND o.workflow_id = w.workflow_id AND o.singleton = w.singleton AND o.singleton IS NOT NULL
        AND o.finished_at IS NULL"""
#: Of each key the live run that is not held, and the oldest one that is, which may be an older one.
FIND_SINGLES: Final = Statement(
    rows.select(
        """
    SELECT w.id, w.tenant, w.workflow_id, w.singleton, active.id, held.id,
        active.id IS NOT NULL AND (held.id IS NULL OR (active.created_at, active.id) < (held.created_at, held.id))
    FROM ({wanted}) w (id, tenant, workflow_id, singleton)
    LEFT JOIN LATERAL (
        SELECT o.id, o.created_at FROM holdfast.run o WHERE {of_key} AND NOT o.held
        ORDER BY o.created_at, o.id LIMIT 1
    ) active ON true
    LEFT JOIN LATERAL (
        SELECT o.id, o.created_at FROM holdfast.run o WHERE {of_key} AND o.held
        ORDER BY o.created_at, o.id LIMIT 1
    ) held ON true""",
        wanted=_WANTED,
        of_key=_OF_KEY,
    )
)
#: The next run of each key of which none goes on. Its row is not touched, so that nobody has to lock it: that it is
#: live, held and has no timer yet changes under the lock of the key alone.
PASS_TURN: Final = Statement(
    rows.select(
        """
    INSERT INTO holdfast.timer (run, id, kind, due_at)
    SELECT next.n, 'start', 'RUN_START', w.at
    FROM (
        SELECT DISTINCT ON (r.tenant, r.workflow_id, r.singleton) r.tenant, r.workflow_id, r.singleton, v.at
        FROM unnest($1::bigint[], $2::bigint[]) v (at, run)
        CROSS JOIN LATERAL (SELECT * FROM holdfast.run x WHERE x.n = v.run OFFSET 0) r
        ORDER BY r.tenant, r.workflow_id, r.singleton OFFSET 0
    ) w
    CROSS JOIN LATERAL (
        SELECT o.n FROM holdfast.run o
        WHERE {of_key} AND o.held
            AND NOT EXISTS (SELECT 1 FROM holdfast.timer t WHERE t.run = o.n AND t.id = 'start' OFFSET 0)
        ORDER BY o.created_at, o.id LIMIT 1
    ) next
    WHERE NOT EXISTS (SELECT 1 FROM holdfast.run o WHERE {of_key} AND NOT o.held OFFSET 0)""",
        of_key=_OF_KEY,
    )
)

#: Around statements that read the first rows of an index in its order, which connections that write forbid. What was
#: set before is set again, because the transaction may be the application's.
_ORDERLY: Final = Statement("""
    SELECT set_config('holdfast.indexscan', current_setting('enable_indexscan'), true),
        set_config('holdfast.bitmapscan', current_setting('enable_bitmapscan'), true),
        set_config('enable_indexscan', 'on', true), set_config('enable_bitmapscan', 'off', true)""")
_AS_BEFORE: Final = Statement("""
    SELECT set_config('enable_indexscan', current_setting('holdfast.indexscan'), true),
        set_config('enable_bitmapscan', current_setting('holdfast.bitmapscan'), true)""")


def orderly(*calls: Call) -> list[Call]:
    """Return *calls* with what lets them read the first rows of an index in its order."""
    return [(_ORDERLY, ()), *calls, (_AS_BEFORE, ())]


@attrs.frozen
class Single:
    """A singleton key as it stands while a change-set of one of its runs is judged."""

    key: SingleKey
    #: The live run that is not held.
    active: str | None
    #: The oldest live run.
    oldest: str | None

    def refusal(self, change: Prepared, run: RunState | None) -> SingletonTaken | None:
        """Return why the change-set may not stand, or None if it may.

        Args:
            change: What is judged.
            run: Its run, None for one that is to be created.
        """
        create, patch = change.change.create, change.change.step.run
        taken: str | None = None
        if run is None:
            taken = None if create is None or create.queues_up else self.oldest
        elif patch is not None and not patch.ends and (run.is_over or run.status == _PENDING):
            taken = self.active if self.active != run.id else None
        return None if taken is None else SingletonTaken(self.key[2], run_id=taken)


def ask_singles(changes: Iterable[Prepared], runs: Mapping[str, tuple[Any, ...]]) -> list[Call]:
    """Return what locks and finds the keys that *changes* concern; nothing if they concern none.

    Args:
        changes: The change-sets of a wave.
        runs: Their runs as rows of `RUN_STATE`, locked.
    """
    there: dict[str, None] = {}
    new: dict[str, tuple[str, str, str, str]] = {}
    for change in changes:
        if change.moves:
            row, create = runs.get(change.run_id), change.change.create
            if row is not None:
                if row[HOLDS] & SINGLETON:
                    there[change.run_id] = None
            elif create is not None and create.singleton is not None:
                header = create.header
                new[header.id] = (header.id, header.tenant, header.workflow_id, create.singleton)
    if not there and not new:
        return []
    wanted: Sequence[Any] = (list(there), *(zip(*new.values(), strict=True) if new else ((), (), (), ())))
    return orderly((LOCK_SINGLES, wanted), (FIND_SINGLES, wanted))


def take_singles(found: Sequence[Rows]) -> dict[str, Single]:
    """Return the keys that the calls of `ask_singles` found, by run id.

    Raises:
        UnusableTransaction: If the transaction does not see what was done while it waited for the locks.
    """
    _, locked, keys, _ = found
    if any(level != "read committed" for _, level in locked):
        raise UnusableTransaction(
            "Singleton keys are decided on by what others have committed just now.",
            fix="Begin the transaction at the isolation level READ COMMITTED.",
        )
    singles: dict[str, Single] = {}
    for run_id, tenant, workflow_id, key, active, held, active_is_oldest in keys:
        oldest = active if active_is_oldest else held
        singles[run_id] = Single(key=(tenant, workflow_id, key), active=active, oldest=oldest)
    return singles
