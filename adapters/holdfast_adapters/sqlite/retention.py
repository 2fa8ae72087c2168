"""Lets go of what is over in SQLite."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from holdfast.ports.retention import Place, Pruned, Terms
from holdfast_adapters.sqlite import encoding
from holdfast_adapters.sqlite.access import Access

#: Tables whose rows belong to one run, which their first column or an index names.
OF_RUNS: Final = (
    *("run_payload", "state", "job", "stage", "event", "gate", "item", "timer", "wait", "message", "token", "keyed"),
    *("artifact", "checkpoint", "annotation", "log"),
)


class SqliteRetention:
    """The Retention port on SQLite."""

    _access: Access

    #: In order of the index, so that nothing is read that is not looked at.
    _FIND_ENDED: Final = """
        SELECT r.n, r.id, r.finished_at,
            NOT EXISTS (
                SELECT 1 FROM run p WHERE p.id = r.parent AND (p.finished_at IS NULL OR p.finished_at > :latest)
            )
            AND NOT EXISTS (
                SELECT 1 FROM run c INDEXED BY run_parent WHERE c.parent = r.id AND c.finished_at IS NULL
            )
            AND NOT EXISTS (
                SELECT 1 FROM sink k WHERE NOT EXISTS (
                    SELECT 1 FROM stream s WHERE s.sink = k.name AND s.run = r.n AND s.position >= r.events
                )
            )
            AND (
                r.finished_at <= :kept
                OR NOT EXISTS (SELECT 1 FROM keyed h INDEXED BY keyed_run WHERE h.run = r.n AND h.digest IS NOT NULL)
            )
        FROM run r INDEXED BY run_ended
        WHERE r.finished_at IS NOT NULL AND r.finished_at <= :latest AND (r.finished_at, r.id) > (:end, :id)
        ORDER BY r.finished_at, r.id LIMIT :limit"""
    _FORGET_LATER: Final = "UPDATE operation INDEXED BY operation_run SET forget_at = ? WHERE run_id = ?"
    _DELETE_STREAMS: Final = "DELETE FROM stream WHERE run = ? AND sink IN (SELECT name FROM sink)"
    _DELETE_RUN: Final = "DELETE FROM run WHERE n = ?"

    async def prune(self, terms: Terms, *, limit: int, after: Place | None = None, trial: bool = False) -> Pruned:
        """Remove those of the next runs that ended long enough ago to which nothing refers."""

        def write(connection: sqlite3.Connection, now: int) -> Pruned:
            asked = {
                "latest": now - encoding.span(terms.runs),
                "kept": now - encoding.span(terms.results),
                "end": -1 if after is None else encoding.micros(after.finished_at),
                "id": "" if after is None else after.run_id,
                "limit": limit + 1,
            }
            found = connection.execute(self._FIND_ENDED, asked).fetchall()
            looked_at = found[:limit]
            going = [row for row in looked_at if row[3]]
            if going and not trial:
                self._remove(connection, going, forget_at=now + encoding.span(terms.operations))
            return Pruned(
                run_ids=tuple(run_id for _, run_id, _, _ in going),
                looked_at=len(looked_at),
                next=_place(looked_at[-1]) if len(found) > limit else None,
            )

        return await (self._access.read if trial else self._access.write)(write)

    def _remove(self, connection: sqlite3.Connection, runs: Sequence[tuple[Any, ...]], *, forget_at: int) -> None:
        numbers = [(row[0],) for row in runs]
        connection.executemany(self._FORGET_LATER, [(forget_at, row[1]) for row in runs])
        connection.executemany(self._DELETE_STREAMS, numbers)
        for table in OF_RUNS:
            connection.executemany(f"DELETE FROM {table} WHERE run = ?", numbers)  # noqa: S608 - our own names
        connection.executemany(self._DELETE_RUN, numbers)

    _FORGET: Final = """
        DELETE FROM operation WHERE (tenant, scope, key) IN (
            SELECT tenant, scope, key FROM operation INDEXED BY operation_forget
            WHERE forget_at IS NOT NULL AND forget_at <= ? ORDER BY forget_at LIMIT ?
        )"""

    async def forget_operations(self, *, limit: int) -> int:
        """Remove operation records whose time has come."""
        return await self._access.write(lambda connection, now: connection.execute(self._FORGET, (now, limit)).rowcount)

    _FORGET_STREAMS: Final = "DELETE FROM stream WHERE sink = ?"
    _FORGET_SINK: Final = "DELETE FROM sink WHERE name = ?"
    _NOTE_SINK: Final = "INSERT OR IGNORE INTO former_sink (name) VALUES (?)"

    async def forget_sink(self, name: str) -> bool:
        """Forget that the sink has ever asked for events."""

        def write(connection: sqlite3.Connection, _: int) -> bool:
            connection.execute(self._FORGET_STREAMS, (name,))
            if not connection.execute(self._FORGET_SINK, (name,)).rowcount:
                return False
            connection.execute(self._NOTE_SINK, (name,))
            return True

        return await self._access.write(write)

    _LIST_MISSING: Final = """
        SELECT value FROM json_each(?) WHERE NOT EXISTS (SELECT 1 FROM run WHERE id = value) ORDER BY key"""

    async def list_missing(self, run_ids: Sequence[str]) -> Sequence[str]:
        """Return those of which there is no run."""
        asked = (json.dumps(list(run_ids)),)
        return await self._access.read(
            lambda connection, _: [run_id for (run_id,) in connection.execute(self._LIST_MISSING, asked).fetchall()]
        )


def _place(row: tuple[Any, ...]) -> Place:
    _, run_id, finished_at, _ = row
    return Place(finished_at=encoding.instant(finished_at), run_id=run_id)
