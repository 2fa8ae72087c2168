"""Reads of SQLite about waits."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Final

from holdfast.entities.stage import StageKey
from holdfast.entities.wait import Message, Token, Wait, WaitStatus
from holdfast_adapters.sqlite import rows
from holdfast_adapters.sqlite.access import Access

_ANSWERED: Final = (WaitStatus.RESOLVED, WaitStatus.EXPIRED)


class SqliteWaits:
    """The Waits port on SQLite."""

    _access: Access

    #: In order of the index; the order in which the waits were opened is that of their ids.
    _LIST_WAITS: Final = rows.select("""
        SELECT w.id, {wait} FROM wait w INDEXED BY wait_key
        WHERE w.run = (SELECT n FROM run WHERE id = ?) AND w.stage_id = ? AND w.turn = ? AND w.item = ?
            AND w.generation BETWEEN ? AND ?
        ORDER BY w.generation""")

    async def list_waits(self, key: StageKey, *, since: int) -> Sequence[Wait]:
        """Return the waits of the stage instance and of those it retries, at most one of a name."""
        asked = (key.run_id, key.stage_id, key.turn, key.item, since, key.generation)

        def read(connection: sqlite3.Connection, _: int) -> Sequence[Wait]:
            found: dict[str, tuple[int, Wait]] = {}
            for number, *row in connection.execute(self._LIST_WAITS, asked).fetchall():
                wait = rows.wait(key.run_id, tuple(row))
                if wait.key.generation == key.generation or wait.status in _ANSWERED:
                    found[wait.name] = (number, wait)
            return [wait for _, wait in sorted(found.values(), key=lambda pair: pair[0])]

        return await self._access.read(read)

    _LIST_NAMED: Final = rows.select("""
        SELECT {wait} FROM wait w INDEXED BY wait_name
        WHERE w.run = (SELECT n FROM run WHERE id = ?) AND w.name = ? AND w.status <> 'CLOSED' ORDER BY w.id""")

    async def list_named_waits(self, run_id: str, name: str) -> Sequence[Wait]:
        """Return the waits of that name that are not CLOSED, in the order in which they were opened."""

        def read(connection: sqlite3.Connection, _: int) -> Sequence[Wait]:
            found = connection.execute(self._LIST_NAMED, (run_id, name)).fetchall()
            return [rows.wait(run_id, row) for row in found]

        return await self._access.read(read)

    _FIND_TOKEN: Final = "SELECT r.id, t.name, t.expires_at FROM token t JOIN run r ON r.n = t.run WHERE t.hash = ?"

    async def find_token(self, hash: str) -> Token | None:
        """Return what the token with that hash is the right to."""

        def read(connection: sqlite3.Connection, now: int) -> Token | None:
            row = connection.execute(self._FIND_TOKEN, (hash,)).fetchone()
            return None if row is None else rows.token(row, now=now)

        return await self._access.read(read)

    _FIND_MESSAGE: Final = """
        SELECT name, text, digest, size, blob, actor, at FROM message
        WHERE run = (SELECT n FROM run WHERE id = ?) AND name = ?"""

    async def find_message(self, run_id: str, name: str) -> Message | None:
        """Return the payload that is kept for a wait of that name."""

        def read(connection: sqlite3.Connection, _: int) -> Message | None:
            row = connection.execute(self._FIND_MESSAGE, (run_id, name)).fetchone()
            return None if row is None else rows.message(run_id, row)

        return await self._access.read(read)
