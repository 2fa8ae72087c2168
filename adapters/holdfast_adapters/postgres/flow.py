"""What holds queues back, as claims, grants and extensions heed it.

That limits hold at every instant rests on two kinds of locks, both taken before any run is locked. Whoever grants or
extends a lease holds the lock of the limits together with all others who do; whoever changes limits holds it alone, so
that no grant slips through between. Whoever claims jobs of a queue that has limits, or extends a lease on one of them,
has locked the row of the queue too: it sees every lease that counts, and none is added before it ends. A change-set
needs no row, because its grants in such a queue are withheld. `test_flow` shows all of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any, Final

from holdfast.entities.queue import QueueLimits, Rate
from holdfast.entities.stage import StageStatus
from holdfast_adapters.postgres import encoding, rows
from holdfast_adapters.postgres.statements import Call, Statement, with_rows

#: "Flow" in ASCII: the advisory lock of the limits.
FLOW_LOCK: Final = 0x466C6F77
_READY: Final = StageStatus.READY.value

#: Takes the lock of the limits before anything that is joined to it sideways.
GRANTING: Final = rows.select(
    "(SELECT pg_advisory_xact_lock_shared({lock}) IS NOT NULL AS held OFFSET 0) flow", lock=str(FLOW_LOCK)
)
#: What `limits` reads of a queue x.
QUEUE_COLUMNS: Final = "x.name, x.concurrency, x.per_key, x.tokens, x.period, x.burst, x.paused, x.full_at"

#: By itself, for what must see every limit that was set before.
LOCK_LIMITS: Final = Statement(rows.select("SELECT pg_advisory_xact_lock_shared({lock})", lock=str(FLOW_LOCK)))
#: For whoever changes them.
LOCK_LIMITS_ALONE: Final = Statement(rows.select("SELECT pg_advisory_xact_lock({lock})", lock=str(FLOW_LOCK)))
#: The limits of those of the queues that have any, locked. One that got its first limits while the lock was waited for
#: is missing, because the statement began before: who claims leaves its jobs alone.
LOCK_QUEUES: Final = Statement(
    rows.select(
        """
    SELECT q.*
    FROM {granting}
    CROSS JOIN LATERAL (
        SELECT {queue} FROM holdfast.queue x
        WHERE x.name = ANY($1::text[]) AND flow.held ORDER BY x.name FOR UPDATE
    ) q""",
        granting=GRANTING,
        queue=QUEUE_COLUMNS,
    )
)
#: The same for the queues of jobs.
LOCK_QUEUES_OF: Final = Statement(
    rows.select(
        """
    SELECT q.*
    FROM {granting}
    CROSS JOIN LATERAL (
        SELECT {queue} FROM holdfast.queue x
        WHERE flow.held AND x.name = ANY(ARRAY(
            SELECT j.queue
            FROM unnest($1::text[], $2::text[], $3::integer[], $4::integer[], $5::integer[])
                v (id, stage_id, generation, turn, item)
            CROSS JOIN LATERAL (SELECT r.n FROM holdfast.run r WHERE r.id = v.id OFFSET 0) r
            CROSS JOIN LATERAL (
                SELECT y.queue FROM holdfast.job y
                WHERE y.run = r.n AND y.stage_id = v.stage_id AND y.generation = v.generation AND y.turn = v.turn
                    AND y.item = v.item OFFSET 0
            ) j
        ))
        ORDER BY x.name FOR UPDATE
    ) q""",
        granting=GRANTING,
        queue=QUEUE_COLUMNS,
    )
)
#: The clock, as `found.CLOCK` tells it, and those of the queues that have limits.
CLOCK_AND_LIMITED: Final = Statement("""
    SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint,
        ARRAY(SELECT q.name FROM holdfast.queue q WHERE q.name = ANY($1::text[]))""")
SET_FULL: Final = Statement("""
    UPDATE holdfast.queue q SET full_at = v.full_at FROM unnest($1::text[], $2::bigint[]) v (name, full_at)
    WHERE q.name = v.name""")


_LEASES: Final = """(
        SELECT count(*) FROM (
            SELECT 1 FROM holdfast.job l
            WHERE l.lease_until IS NOT NULL AND l.limited AND l.queue = {queue} AND l.lease_until > {now} {more}
            LIMIT {up_to}
        ) counted
    )"""


def leases_of(queue: str, *, up_to: str, more: str = "") -> str:
    """Return the query for how many leases count against the limits of a queue.

    Args:
        queue: What names the queue in the query around.
        up_to: What says how many are counted at most.
        more: Further conditions on a lease l.
    """
    return rows.select(_LEASES, queue=queue, up_to=up_to, more=more)


def limits(row: tuple[Any, ...]) -> QueueLimits:
    """Return the limits of a row of `QUEUE_COLUMNS`."""
    name, concurrency, per_key, tokens, period, burst, paused, _ = row
    rate = None if tokens is None else Rate(tokens=tokens, period=timedelta(microseconds=period), burst=burst)
    return QueueLimits(name=name, concurrency=concurrency, per_key=per_key, rate=rate, paused=paused)


class Room:
    """What a queue has room for during one claim.

    Args:
        row: Its locked row of `QUEUE_COLUMNS`.
        now: The instant.
    """

    __slots__ = ("_drained", "_left", "_left_of_key", "_now", "full_at", "is_spent", "rate")

    def __init__(self, row: tuple[Any, ...], *, now: int) -> None:
        self._now = encoding.instant(now)
        self.rate = limits(row).rate
        self.full_at: int | None = row[-1]
        #: Whether tokens were taken.
        self.is_spent = False
        #: Whether the tokens do not suffice for the job whose turn it is.
        self._drained = False
        #: How many more may be leased; None before anybody asked.
        self._left: int | None = None
        self._left_of_key: dict[tuple[str, str], int] = {}

    def take(self, owner: tuple[str, str], *, status: str, weight: int, room: tuple[int, int]) -> bool:
        """Take the room for a job and its tokens; return whether they were there.

        Args:
            owner: Tenant and concurrency key.
            status: Of the job.
            weight: How many tokens it takes.
            room: How many of the queue, and of the tenant and key, could be leased when the claim looked.
        """
        left = room[0] if self._left is None else self._left
        left_of_key = self._left_of_key.get(owner, room[1])
        if left < 1 or left_of_key < 1 or not self._draw(status, weight):
            return False
        self._left, self._left_of_key[owner] = left - 1, left_of_key - 1
        return True

    def _draw(self, status: str, weight: int) -> bool:
        if self.rate is None or status != _READY:
            return True
        if not self._drained:
            full_at = self.rate.take(encoding.maybe_instant(self.full_at), now=self._now, weight=weight)
            if full_at is not None:
                self.full_at, self.is_spent = encoding.micros(full_at), True
                return True
            self._drained = True
        return False


def spent(rooms: Mapping[str, Room]) -> Iterable[Call]:
    """Return what keeps the tokens that were taken."""
    taken = [(name, room.full_at) for name, room in rooms.items() if room.is_spent]
    return [with_rows(SET_FULL, taken)] if taken else []
