"""Live runs by the singleton key that they share."""

from __future__ import annotations

from holdfast_adapters.memory.rows import RunRow

#: Tenant, workflow id and key.
Single = tuple[str, str, str]


class Singles:
    """The live runs of each singleton key."""

    __slots__ = ("_runs",)

    def __init__(self) -> None:
        self._runs: dict[Single, dict[str, RunRow]] = {}

    def add(self, row: RunRow) -> None:
        """Note a run that is live."""
        if row.singleton is not None:
            self._runs.setdefault(_single(row, row.singleton), {})[row.header.id] = row

    def drop(self, row: RunRow) -> None:
        """Forget a run that is not live any more."""
        if row.singleton is not None:
            at = _single(row, row.singleton)
            runs = self._runs.get(at, {})
            runs.pop(row.header.id, None)
            if not runs:
                self._runs.pop(at, None)

    def of(self, at: Single) -> list[RunRow]:
        """Return the live runs of the key in order of creation."""
        return sorted(self._runs.get(at, {}).values(), key=lambda row: (row.created_at, row.header.id))

    def others(self, row: RunRow) -> list[RunRow]:
        """Return the other live runs of the key of the run in order of creation."""
        if row.singleton is None:
            return []
        return [other for other in self.of(_single(row, row.singleton)) if other is not row]

    def is_stuck(self, row: RunRow) -> bool:
        """Return whether the run waits for a turn that nobody will pass on."""
        if row.singleton is None or not row.held or row.timers:
            return False
        return all(other.held and not other.timers for other in self.others(row))


def _single(row: RunRow, key: str) -> Single:
    return (row.header.tenant, row.header.workflow_id, key)
