"""Reads of the memory store about waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from holdfast.entities.stage import StageKey
from holdfast.entities.wait import Message, Token, Wait, WaitStatus
from holdfast_adapters.memory.store import Store

_ANSWERED: Final = (WaitStatus.RESOLVED, WaitStatus.EXPIRED)


class MemoryWaits:
    """The Waits port in memory."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def list_waits(self, key: StageKey, *, since: int) -> Sequence[Wait]:
        """Return the waits of the stage instance and of those it retries, at most one of a name."""
        with self._store.transaction:
            self._store.now()
            run = self._store.runs.get(key.run_id)
            found: dict[str, tuple[int, Wait]] = {}
            if run is None:
                return []
            for generation in range(key.generation, since - 1, -1):
                row = run.instances.get((key.stage_id, generation, key.turn, key.item))
                if row is None:
                    continue
                for name, number in row.waits.items():
                    wait = run.waits[row.place, name]
                    if name not in found and (generation == key.generation or wait.status in _ANSWERED):
                        found[name] = (number, wait)
            return [wait for _, wait in sorted(found.values(), key=lambda pair: pair[0])]

    async def list_named_waits(self, run_id: str, name: str) -> Sequence[Wait]:
        """Return the waits of that name that are not CLOSED, in the order in which they were opened."""
        with self._store.transaction:
            self._store.now()
            run = self._store.runs.get(run_id)
            if run is None:
                return []
            places = sorted(run.named.get(name, {}).items(), key=lambda pair: pair[1])
            return [run.waits[place, name] for place, _ in places]

    async def find_token(self, hash: str) -> Token | None:
        """Return what the token with that hash is the right to."""
        with self._store.transaction:
            now = self._store.now()
            row = self._store.tokens.get(hash)
            return None if row is None else Token(run_id=row.run_id, name=row.name, expired=row.expires_at <= now)

    async def find_message(self, run_id: str, name: str) -> Message | None:
        """Return the payload that is kept for a wait of that name."""
        with self._store.transaction:
            self._store.now()
            run = self._store.runs.get(run_id)
            return None if run is None else run.messages.get(name)
