"""How much room the limits of a queue leave."""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import Any, Final

from holdfast.entities.queue import QueueLimits
from holdfast.entities.stage import StageStatus
from holdfast_adapters.sqlite import encoding, rows

_READY: Final = StageStatus.READY.value

FIND_LIMITS: Final = rows.select("SELECT {queue}, full_at FROM queue WHERE name = ?")
#: Leases that have not ended; those past their end stand in front of them in the index and are not looked at.
COUNT_LEASED: Final = "SELECT count(*) FROM job INDEXED BY job_lease WHERE queue = ? AND lease_until > ?"
LIST_LEASED: Final = """
    SELECT tenant, concurrency_key FROM job INDEXED BY job_lease WHERE queue = ? AND lease_until > ?"""
FIND_WEIGHT: Final = """
    SELECT weight FROM job WHERE run = ? AND stage_id = ? AND generation = ? AND turn = ? AND item = ?"""
TAKE_TOKENS: Final = "UPDATE queue SET full_at = ? WHERE name = ?"


class Room:
    """What the limits of one queue have room for within one transaction."""

    def __init__(self, connection: sqlite3.Connection, limits: QueueLimits, *, full_at: int | None, now: int) -> None:
        self._connection = connection
        self._now = now
        self._limits = limits
        self._full_at = full_at
        self._leased = 0
        self._of_key: Counter[tuple[str, str]] = Counter()
        #: Whether the tokens do not suffice for the job whose turn it is.
        self._is_drained = False
        self._has_taken = False
        if limits.paused:
            return
        if limits.per_key is not None:
            self._of_key.update(connection.execute(LIST_LEASED, (limits.name, now)).fetchall())
            self._leased = self._of_key.total()
        elif limits.concurrency is not None:
            (self._leased,) = connection.execute(COUNT_LEASED, (limits.name, now)).fetchone()

    def is_shut(self, status: str) -> bool:
        """Return whether there is no room for any job in that status."""
        limits = self._limits
        if limits.paused or (self._is_drained and status == _READY):
            return True
        return limits.concurrency is not None and self._leased >= limits.concurrency

    def is_full(self, tenant: str, key: str) -> bool:
        """Return whether there is no room for any job of that tenant and key."""
        per_key = self._limits.per_key
        return per_key is not None and self._of_key[tenant, key] >= per_key

    def take(self, status: str, owner: tuple[str, str], at: tuple[Any, ...]) -> bool:
        """Take the room for a job and its tokens; return whether they were there.

        Args:
            status: Its status.
            owner: Its tenant and concurrency key.
            at: Its primary key.
        """
        if self.is_shut(status) or self.is_full(*owner):
            return False
        rate = self._limits.rate
        if rate is not None and status == _READY:
            (weight,) = self._connection.execute(FIND_WEIGHT, at).fetchone()
            full_at = rate.take(encoding.maybe_instant(self._full_at), now=encoding.instant(self._now), weight=weight)
            if full_at is None:
                self._is_drained = True
                return False
            self._full_at = encoding.micros(full_at)
            self._has_taken = True
        self._leased += 1
        self._of_key[owner] += 1
        return True

    def keep(self) -> None:
        """Write down what was taken from the bucket."""
        if self._has_taken:
            self._connection.execute(TAKE_TOKENS, (self._full_at, self._limits.name))


def find_room(connection: sqlite3.Connection, queue: str, *, now: int) -> Room | None:
    """Return the room of a queue, None for one without limits."""
    row = connection.execute(FIND_LIMITS, (queue,)).fetchone()
    if row is None:
        return None
    return Room(connection, rows.limits(row[: rows.QUEUE_WIDTH]), full_at=row[rows.QUEUE_WIDTH], now=now)
