"""Whose turn it is to be handed work, and how the index is walked in that order."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable
from typing import Any, Final

from holdfast_adapters.postgres import rows

#: For so many tenants it is remembered which of their keys had its turn last; the longest unserved is forgotten first.
REMEMBERED: Final = 10_000
#: Of so many of them a query is told, those whose turn comes next; if others turn up in it, it is asked once more.
TOLD: Final = 100
#: Sorts behind every name that a tenant or a key can have.
LAST: Final = "\U0010ffff" * 256


def behind(name: str | None) -> str:
    """Return the first text that sorts behind *name*; the first of all for None."""
    return "" if name is None else name + "\x01"


_WALK: Final = """(
        SELECT walk.name
        FROM (VALUES ({low}, {last}), (''::text, {low})) pass (low, high)
        CROSS JOIN LATERAL (
            WITH RECURSIVE walk (name) AS (
                (
                    SELECT x.{column} FROM {where} AND x.{column} >= pass.low AND x.{column} < pass.high
                    ORDER BY x.{column} LIMIT 1
                )
                UNION ALL
                SELECT next.name
                FROM walk
                CROSS JOIN LATERAL (
                    SELECT x.{column} AS name FROM {where} AND x.{column} > walk.name AND x.{column} < pass.high
                    ORDER BY x.{column} LIMIT 1
                ) next
            )
            SELECT name FROM walk
        ) walk
    )"""


def walk(column: str, *, where: str, low: str, last: str) -> str:
    """Return the query for the names in an index, beginning with *low* and after the last of them at the first again.

    Each name costs a look into the index, however many rows have it; and no more of them are looked for than are read.

    Args:
        column: The names; the first column of the index that is not held fast.
        where: What holds the columns before it fast, of job or run x.
        low: What says the name to begin with.
        last: What says a text behind all names.
    """
    return rows.select(_WALK, column=column, where=where, low=low, last=last)


class Turns:
    """Which tenant had its turn last, and within each which key; kept by each opened store for itself."""

    def __init__(self) -> None:
        self._tenant: str | None = None
        #: The tenant that was served last stands last.
        self._keys: dict[str, str] = {}
        self._sorted: list[str] = []
        #: Whether no more than one tenant and key has ever had its turn.
        self.is_plain = True

    def seen(self, also: Iterable[str] = ()) -> Seen:
        """Return what a query is told, the keys of tenants *also* included."""
        names, told = self._sorted, [tenant for tenant in also if tenant in self._keys]
        first = 0 if self._tenant is None else bisect_right(names, self._tenant)
        upcoming = [*names[first : first + TOLD], *names[: min(first, max(0, TOLD - len(names) + first))]]
        return Seen(self._tenant, {tenant: self._keys[tenant] for tenant in (*told, *upcoming)})

    def untold(self, seen: Seen, tenants: Iterable[str]) -> list[str]:
        """Return those of *tenants* whose key is remembered and was not told."""
        return [tenant for tenant in dict.fromkeys(tenants) if tenant in self._keys and tenant not in seen.keys]

    def served(self, tenant: str, key: str = "") -> None:
        """Note that the key of the tenant had its turn."""
        before = self._keys.pop(tenant, None)
        if before is None:
            insort(self._sorted, tenant)
        self.is_plain = self.is_plain and (before == key or self._tenant is None)
        self._tenant = tenant
        self._keys[tenant] = key
        if len(self._keys) > REMEMBERED:
            forgotten = next(iter(self._keys))
            del self._keys[forgotten]
            del self._sorted[bisect_left(self._sorted, forgotten)]


class Seen:
    """Whose turn it is as a query sees it.

    Args:
        tenant: Who had the last turn; None if nobody had.
        keys: Which key of each tenant had.
    """

    def __init__(self, tenant: str | None, keys: dict[str, str]) -> None:
        self.keys = keys
        self._low = behind(tenant)
        self._lows = {each: behind(key) for each, key in keys.items()}

    def parameters(self) -> tuple[str, str, list[str], list[str]]:
        """Return where tenants begin, what is behind all names, and tenants with where their keys begin."""
        return (self._low, LAST, list(self._lows), list(self._lows.values()))

    def order(self, tenant: str, key: str) -> tuple[Any, ...]:
        """Return what sorts tenants and keys in the order in which they have their turns."""
        return (tenant < self._low, tenant, key < self._lows.get(tenant, ""), key)
