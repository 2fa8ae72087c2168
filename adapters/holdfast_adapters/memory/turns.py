"""Rows that wait by priority, tenant and concurrency key, and whose turn it is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Generic, TypeVar

from holdfast_adapters.memory.agenda import Agenda, Ordered, Stamped

OrderT = TypeVar("OrderT", bound=Ordered)
RowT = TypeVar("RowT", bound=Stamped)
KindT = TypeVar("KindT")

#: For so many tenants it is remembered which of their keys had its turn last; the longest unserved is forgotten first.
_REMEMBERED: Final = 10_000


class Levels(Generic[OrderT, RowT]):
    """Agendas by priority, tenant and key."""

    __slots__ = ("_by_priority", "_overgrown")

    def __init__(self, overgrown: list[Agenda[Any, Any]]) -> None:
        self._overgrown = overgrown
        self._by_priority: dict[int, dict[str, dict[str, Agenda[OrderT, RowT]]]] = {}

    def add(self, at: tuple[int, str, str], order: OrderT, row: RowT) -> None:
        """Let *row* wait at that priority, tenant and key."""
        priority, tenant, key = at
        keys = self._by_priority.setdefault(priority, {}).setdefault(tenant, {})
        agenda = keys.get(key)
        if agenda is None:
            agenda = keys[key] = Agenda(self._overgrown)
        agenda.add(order, row)

    def agendas(self) -> Iterator[Agenda[OrderT, RowT]]:
        """Yield all agendas."""
        for tenants in self._by_priority.values():
            for keys in tenants.values():
                yield from keys.values()

    def priorities(self) -> Iterable[int]:
        """Return the priorities at which rows wait, those without any forgotten."""
        for priority, tenants in list(self._by_priority.items()):
            for tenant, keys in list(tenants.items()):
                for key in [key for key, agenda in keys.items() if agenda.first() is None]:
                    del keys[key]
                if not keys:
                    del tenants[tenant]
            if not tenants:
                del self._by_priority[priority]
        return self._by_priority.keys()

    def at(self, priority: int) -> dict[str, dict[str, Agenda[OrderT, RowT]]]:
        """Return the agendas of that priority by tenant and key."""
        return self._by_priority.get(priority, {})


class Turns:
    """Which tenant had its turn last, and within each which key."""

    __slots__ = ("_keys", "_tenant")

    def __init__(self) -> None:
        self._tenant: str | None = None
        self._keys: dict[str, str] = {}

    def served(self, tenant: str, key: str) -> None:
        """Note that the key of the tenant had its turn."""
        self._tenant = tenant
        self._keys.pop(tenant, None)
        self._keys[tenant] = key
        if len(self._keys) > _REMEMBERED:
            del self._keys[next(iter(self._keys))]

    def walk(
        self, kinds: Sequence[tuple[KindT, Levels[OrderT, RowT]]]
    ) -> Iterator[tuple[str, str, list[tuple[KindT, Agenda[OrderT, RowT]]]]]:
        """Yield tenant, key and the agendas in which its rows wait, in the order in which they have their turns."""
        last, keys_last = self._tenant, dict(self._keys)
        for priority in sorted({one for _, levels in kinds for one in levels.priorities()}, reverse=True):
            level = [(kind, levels.at(priority)) for kind, levels in kinds]
            for tenant in _behind(last, {name for _, tenants in level for name in tenants}):
                of_tenant = [(kind, tenants[tenant]) for kind, tenants in level if tenant in tenants]
                for key in _behind(keys_last.get(tenant), {name for _, keys in of_tenant for name in keys}):
                    yield tenant, key, [(kind, keys[key]) for kind, keys in of_tenant if key in keys]


def _behind(last: str | None, names: set[str]) -> list[str]:
    """Return the names in order, beginning behind the last one."""
    if last is None:
        return sorted(names)
    return sorted(names, key=lambda name: (name <= last, name))
