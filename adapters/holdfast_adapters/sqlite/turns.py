"""Whose turn it is among tenants and their concurrency keys, and how to walk along an index in that order."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final

#: For so many tenants it is remembered which of their keys had its turn last; the longest unserved is forgotten first.
MOST_REMEMBERED: Final = 10_000
#: No priority is higher.
_HIGHEST: Final = 2**63 - 1

#: From a text on, up to another one; in SQLite the empty bytes stand behind every text.
Lap = tuple[str, str | bytes]


class Turns:
    """Which tenant had its turn last, and within each which key; each thread that serves has its own."""

    def __init__(self) -> None:
        self._tenant: str | None = None
        self._keys: dict[str, str] = {}

    def serve(self, tenant: str, key: str = "") -> None:
        """Note that the key of the tenant had its turn."""
        self._tenant = tenant
        self._keys.pop(tenant, None)
        self._keys[tenant] = key
        if len(self._keys) > MOST_REMEMBERED:
            del self._keys[next(iter(self._keys))]

    def rank(self, tenant: str) -> tuple[bool, str]:
        """Return what tenants are ordered by."""
        return (self._tenant is not None and tenant <= self._tenant, tenant)

    def laps(self) -> tuple[Lap, ...]:
        """Return the ranges of tenants in order: those behind the last one, then the others."""
        return _laps(self._tenant)

    def laps_of_keys(self, tenant: str) -> tuple[Lap, ...]:
        """Return the ranges of keys of the tenant in order."""
        return _laps(self._keys.get(tenant))

    def walk(
        self, connection: sqlite3.Connection, kind: tuple[Any, ...], *, next_priority: str, next_tenant: str
    ) -> Iterator[tuple[int, str]]:
        """Yield the priorities and tenants of one kind of rows in order, each found by one look into an index.

        Args:
            connection: Where to look.
            kind: The parameters that both statements begin with.
            next_priority: Finds the highest priority up to a given one.
            next_tenant: Finds the first tenant of a priority within a lap.
        """
        highest = _HIGHEST
        while True:
            (priority,) = connection.execute(next_priority, (*kind, highest)).fetchone()
            if priority is None:
                return
            for first, last in self.laps():
                low = first
                while True:
                    (tenant,) = connection.execute(next_tenant, (*kind, priority, low, last)).fetchone()
                    if tenant is None:
                        break
                    yield priority, tenant
                    low = behind(tenant)
            highest = priority - 1


def behind(text: str) -> str:
    """Return the first text behind *text*."""
    return text + "\0"


def _laps(last: str | None) -> tuple[Lap, ...]:
    return (("", b""),) if last is None else ((behind(last), b""), ("", last))
