"""The demo's outside world: a file of effects that recognises a request by its idempotency key, as payment APIs do."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs


@attrs.frozen(kw_only=True)
class Entry:
    """One line of the ledger."""

    #: What was done, such as ``charged``.
    effect: str
    order: str
    run_id: str
    #: The key by which the outside world knows a repeated request.
    key: str
    attempt: int
    #: Whether the key was known already, so that nothing was done.
    repeated: bool
    pid: int
    at: float


class Ledger:
    """Effects on the outside world, one JSON line each, in a file that any process may append to."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def once(self, effect: str, *, order: str, run_id: str, key: str, attempt: int) -> bool:
        """Do *effect* unless its *key* is known, write down which, and return whether it was done."""
        known = any(entry.key == key and entry.effect == effect for entry in self.entries())
        self._append(
            Entry(
                effect=effect,
                order=order,
                run_id=run_id,
                key=key,
                attempt=attempt,
                repeated=known,
                pid=os.getpid(),
                at=time.time(),
            )
        )
        return not known

    def entries(self) -> Iterator[Entry]:
        """Yield the entries in order; a line that a killed process left half-written is passed over."""
        try:
            text = self.path.read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        for line in text.splitlines():
            entry = _read(line)
            if entry is not None:
                yield entry

    def done(self, effect: str, *, run_ids: frozenset[str]) -> Counter[str]:
        """Return how often *effect* was really done for the runs, by idempotency key."""
        return Counter(
            entry.key
            for entry in self.entries()
            if entry.effect == effect and not entry.repeated and entry.run_id in run_ids
        )

    def recognised(self, *, run_ids: frozenset[str]) -> int:
        """Return how many requests came again and were recognised by their keys."""
        return sum(entry.repeated and entry.run_id in run_ids for entry in self.entries())

    def _append(self, entry: Entry) -> None:
        # One write to a file opened for appending is never mixed with another process's.
        data = f"{json.dumps(attrs.asdict(entry), ensure_ascii=False)}\n".encode()
        with self.path.open("ab", buffering=0) as file:
            file.write(data)


def _read(line: str) -> Entry | None:
    try:
        values: dict[str, Any] = json.loads(line)
        return Entry(**values)
    except (ValueError, TypeError):
        return None
