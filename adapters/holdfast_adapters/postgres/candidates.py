"""Which jobs may be leased, and in what order: the queries by which a claim finds them."""

from __future__ import annotations

from typing import Any, Final

from holdfast_adapters.postgres import rows
from holdfast_adapters.postgres.flow import leases_of
from holdfast_adapters.postgres.runstate import RUN_STATE, RUN_WIDTH, TENANT
from holdfast_adapters.postgres.statements import Statement
from holdfast_adapters.postgres.turns import walk

#: A row of `DUE_JOBS`.
Candidate = tuple[Any, ...]

#: Whether anything of the queues is due at all, before each kind of job is looked for; and whether jobs are to ripen.
SOMETHING_DUE: Final = Statement(
    rows.select("""
    SELECT
        EXISTS (
            SELECT 1 FROM unnest($2::text[]) wanted (name)
            CROSS JOIN LATERAL (
                SELECT 1 FROM holdfast.job j
                WHERE j.due_at IS NOT NULL AND j.queue = wanted.name AND j.due_at <= {now} LIMIT 1
            ) due
        ),
        EXISTS (SELECT 1 FROM holdfast.job j WHERE j.due_at IS NOT NULL AND NOT j.ripe AND j.due_at <= {now})""")
)
#: At most so many jobs ripen before a claim; when more have become due since the last one, the longest due do.
RIPENING: Final = 10_000
#: Jobs that somebody writes just now are passed over, and this is a transaction of its own that waits for nothing and
#: touches nothing else: it needs no lock of their runs, and whoever waits for it waits for a moment.
RIPEN: Final = Statement(
    rows.select("""
    UPDATE holdfast.job SET ripe = true WHERE ctid = ANY(ARRAY(
        SELECT j.ctid FROM holdfast.job j WHERE j.due_at IS NOT NULL AND NOT j.ripe AND j.due_at <= {now}
        ORDER BY j.due_at LIMIT $2::bigint FOR UPDATE SKIP LOCKED
    ))""")
)

#: What a grant needs: whether there are jobs of others too that are not told of, and for how many leases the limits of
#: the queue have room in all and for the tenant and key; then the job's weight, order and key, the run as it stands,
#: the lease to be.
_GRANTED: Final = """
    {more}, {room}, {room_of_key}, j.weight, j.priority, j.due_at, j.run, j.stage_id, j.generation, j.turn, j.item,
    {state}, {lease}, {header}"""
#: Where they stand, behind the instant.
MORE_AT, ROOM_AT, WEIGHT_AT, PRIORITY_AT, DUE_AT, KEY_AT, RUN_AT = 1, 2, 4, 5, 6, 7, 12
OWNER_AT: Final = RUN_AT + TENANT
LEASE_AT: Final = RUN_AT + RUN_WIDTH


def _granted(*, more: str = "false", room: str = "0", room_of_key: str = "0") -> str:
    return rows.select(_GRANTED, state=RUN_STATE, more=more, room=room, room_of_key=room_of_key)


#: How many leases the limits of a queue q leave room for, at most *limit*, and how many those of a tenant and key.
_ROOM: Final = """CASE WHEN q.paused THEN 0 ELSE greatest(0, least({limit}, q.concurrency - CASE
            WHEN q.concurrency IS NOT NULL THEN {leases} END)) END"""
_ROOM_OF_KEY: Final = """greatest(0, least({limit}, {queue}.per_key - CASE
            WHEN {queue}.per_key IS NOT NULL THEN {leases} END))"""


def _room(limit: str) -> str:
    return rows.select(_ROOM, limit=limit, leases=leases_of("q.name", up_to="q.concurrency"))


def _room_of_key(queue: str, *, limit: str, tenant: str, key: str) -> str:
    of_key = f"AND l.tenant = {tenant} AND l.flow_key = {key}"
    leases = leases_of(f"{queue}.name", up_to=f"{queue}.per_key", more=of_key)
    return rows.select(_ROOM_OF_KEY, limit=limit, queue=queue, leases=leases)


_OF_KIND: Final = """holdfast.job x
                    WHERE x.due_at IS NOT NULL AND x.ripe AND x.workflow_id = kind.workflow_id
                        AND x.workflow_version = kind.workflow_version AND x.queue = queue.name
                        AND x.status = wanted.status"""
_OF_LEVEL: Final = _OF_KIND + " AND x.priority = level.priority"

#: Queues without limits. Nobody sets any before the transaction ends.
_FREE: Final = """
        SELECT named.name FROM unnest($4::text[]) named (name)
        WHERE NOT EXISTS (SELECT 1 FROM holdfast.queue q WHERE q.name = named.name OFFSET 0) OFFSET 0"""
#: Queues with limits, which are locked, and how much room these leave.
_LIMITED: Final = rows.select(
    """
        SELECT q.name, q.per_key, {room} AS room
        FROM unnest($4::text[]) named (name)
        CROSS JOIN LATERAL (SELECT * FROM holdfast.queue y WHERE y.name = named.name OFFSET 0) q
        OFFSET 0""",
    room=_room("$6::bigint"),
)
_ROOM_OF_OWNER: Final = rows.select(
    """
        CROSS JOIN LATERAL (SELECT {room} AS room OFFSET 0) of_key""",
    room=_room_of_key("queue", limit="queue.room", tenant="tenant.name", key="key.name"),
)

#: Tenants and keys in the order of their turns.
_IN_TURN: Final = rows.select(
    """
        CROSS JOIN LATERAL {tenants} tenant
        CROSS JOIN LATERAL (
            SELECT coalesce((
                SELECT told.low FROM unnest($9::text[], $10::text[]) told (tenant, low) WHERE told.tenant = tenant.name
            ), '') AS low OFFSET 0
        ) turn
        CROSS JOIN LATERAL {keys} key""",
    tenants=walk("tenant", where=_OF_LEVEL, low="$7::text", last="$8::text"),
    keys=walk("flow_key", where=_OF_LEVEL + " AND x.tenant = tenant.name", low="turn.low", last="$8::text"),
)
#: The first tenant and key alone, and whether there are more. Where all jobs are one tenant's and of one key, which is
#: the rule, this is all there is, for half of what it takes to begin a query that can walk through them in turn.
_FIRST: Final = rows.select(
    """
        CROSS JOIN LATERAL (
            SELECT x.tenant AS name, x.flow_key FROM {of_level} ORDER BY x.tenant, x.flow_key LIMIT 1
        ) tenant
        CROSS JOIN LATERAL (
            SELECT tenant.flow_key AS name, EXISTS (
                SELECT 1 FROM {of_level} AND (x.tenant, x.flow_key) > (tenant.name, tenant.flow_key)
            ) AS more OFFSET 0
        ) key""",
    of_level=_OF_LEVEL,
)

#: The first jobs of each workflow version, queue and status, priority by priority, and within it in the order of turns.
#: Priorities, tenants and keys are found one by one, each by one look into the index, and of each key only the due part
#: is read, as far as there is room: however many jobs nobody may take, or are not anybody's turn, they cost nothing.
#:
#: Jobs are locked with their runs, because a grant writes to both. What somebody else has locked is passed over, never
#: waited for: two workers get different jobs, and since whoever claims waits for nobody, the order in which it locks
#: does not matter. A row that changed since the statement began is looked at again as it is now. `test_claims` shows
#: both.
_DUE: Final = """
    SELECT {now}, due.*
    FROM ({queues}
    ) queue
    CROSS JOIN unnest($2::text[], $3::text[]) kind (workflow_id, workflow_version)
    CROSS JOIN unnest($5::text[]) wanted (status)
    CROSS JOIN LATERAL (
        WITH RECURSIVE level (priority) AS (
            (SELECT x.priority FROM {of_kind} ORDER BY x.priority DESC LIMIT 1)
            UNION ALL
            SELECT next.priority
            FROM level
            CROSS JOIN LATERAL (
                SELECT x.priority FROM {of_kind} AND x.priority < level.priority ORDER BY x.priority DESC LIMIT 1
            ) next
        )
        SELECT due.*
        FROM level{owners}
        CROSS JOIN LATERAL (
            SELECT {granted}
            FROM holdfast.job j
            {run_of_j}
            {payload}
            WHERE j.due_at IS NOT NULL AND j.ripe AND j.workflow_id = kind.workflow_id
                AND j.workflow_version = kind.workflow_version AND j.queue = queue.name AND j.status = wanted.status
                AND j.priority = level.priority AND j.tenant = tenant.name AND j.flow_key = key.name
                AND j.due_at <= {now}
            ORDER BY j.due_at
            LIMIT {limit}
            {locking}
        ) due
        LIMIT {room}
    ) due"""
_LOCKING: Final = "FOR UPDATE OF r, j SKIP LOCKED"


def _due(queues: str, owners: str, *, granted: str, locking: str) -> Statement:
    room, limit = ("$6::bigint", "$6::bigint") if queues is _FREE else ("queue.room", "of_key.room")
    text = _DUE if queues is _FREE else _DUE + "\n    WHERE queue.room > 0"
    return Statement(
        rows.select(
            text,
            queues=queues,
            owners=owners,
            of_kind=_OF_KIND,
            granted=granted,
            locking=locking,
            room=room,
            limit=limit,
        )
    )


#: In queues without limits, if one tenant and key has them all; told with whether that is so.
FIRST_JOBS: Final = _due(_FREE, _FIRST, granted=_granted(more="key.more"), locking=_LOCKING)
DUE_JOBS: Final = _due(_FREE, _IN_TURN, granted=_granted(), locking=_LOCKING)
#: In those of the queues that have limits.
DUE_LIMITED: Final = _due(
    _LIMITED,
    _IN_TURN + _ROOM_OF_OWNER,
    granted=_granted(room="queue.room", room_of_key="of_key.room"),
    locking=_LOCKING,
)
#: The runs of those that are due, whoever has locked them.
DUE_RUNS: Final = _due(_FREE, _IN_TURN, granted="r.n", locking="")
LIMITED_RUNS: Final = _due(_LIMITED, _IN_TURN + _ROOM_OF_OWNER, granted="r.n", locking="")

#: The run is locked first and the job looked at by the next statement, which sees what the lock was waited for.
LOCK_RUN: Final = Statement("SELECT 1 FROM holdfast.run r WHERE r.id = $1::text FOR UPDATE")
DUE_JOB: Final = Statement(
    rows.select(
        """
    SELECT {now}, {granted}
    FROM holdfast.run r
    {payload}
    CROSS JOIN LATERAL (
        SELECT * FROM holdfast.job x
        WHERE x.run = r.n AND x.stage_id = $3::text AND x.generation = $4::integer AND x.turn = $5::integer
            AND x.item = $6::integer AND x.due_at <= {now} OFFSET 0
    ) j
    LEFT JOIN LATERAL (SELECT * FROM holdfast.queue x WHERE x.name = j.queue OFFSET 0) q ON true
    WHERE r.id = $2::text""",
        granted=_granted(
            room=_room("1"), room_of_key=_room_of_key("q", limit="1", tenant="r.tenant", key="r.flow_key")
        ),
    ).replace("now()", "statement_timestamp()")
)
