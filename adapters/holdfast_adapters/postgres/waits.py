"""Reads of Postgres about waits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from holdfast.entities.stage import StageKey
from holdfast.entities.wait import Message, Token, Wait, WaitStatus
from holdfast_adapters.postgres import rows
from holdfast_adapters.postgres.access import Access
from holdfast_adapters.postgres.statements import Statement

_ANSWERED: Final = (WaitStatus.RESOLVED, WaitStatus.EXPIRED)


class PostgresWaits:
    """The Waits port on Postgres."""

    _access: Access

    #: In order of the index; the order in which the waits were opened is that of their ids.
    _LIST_WAITS: Final = Statement(
        rows.select("""
        SELECT w.id, {wait} FROM holdfast.wait w
        WHERE w.run = (SELECT n FROM holdfast.run WHERE id = $1::text) AND w.stage_id = $2::text
            AND w.turn = $3::integer AND w.item = $4::integer AND w.generation BETWEEN $5::integer AND $6::integer
        ORDER BY w.generation""")
    )

    async def list_waits(self, key: StageKey, *, since: int) -> Sequence[Wait]:
        """Return the waits of the stage instance and of those it retries, at most one of a name."""
        asked = (key.run_id, key.stage_id, key.turn, key.item, since, key.generation)
        found: dict[str, tuple[int, Wait]] = {}
        for number, *row in (await self._access.read((self._LIST_WAITS, asked)))[0]:
            wait = rows.wait(key.run_id, tuple(row))
            if wait.key.generation == key.generation or wait.status in _ANSWERED:
                found[wait.name] = (number, wait)
        return [wait for _, wait in sorted(found.values(), key=lambda pair: pair[0])]

    _LIST_NAMED: Final = Statement(
        rows.select("""
        SELECT {wait} FROM (
            SELECT * FROM holdfast.wait x
            WHERE x.run = (SELECT n FROM holdfast.run WHERE id = $1::text) AND x.name = $2::text
                AND x.status <> 'CLOSED' OFFSET 0
        ) w
        ORDER BY w.id""")
    )

    async def list_named_waits(self, run_id: str, name: str) -> Sequence[Wait]:
        """Return the waits of that name that are not CLOSED, in the order in which they were opened."""
        (found,) = await self._access.read((self._LIST_NAMED, (run_id, name)))
        return [rows.wait(run_id, row) for row in found]

    _FIND_TOKEN: Final = Statement(
        rows.select("""
        SELECT r.id, t.name, t.expires_at <= {now}
        FROM holdfast.token t {run_of_t}
        WHERE t.hash = $2::text""")
    )

    async def find_token(self, hash: str) -> Token | None:
        """Return what the token with that hash is the right to."""
        (found,) = await self._access.read((self._FIND_TOKEN, (self._access.instant(), hash)))
        return rows.token(found[0]) if found else None

    _FIND_MESSAGE: Final = Statement("""
        SELECT name, text, digest, size, blob, actor, at FROM holdfast.message
        WHERE run = (SELECT n FROM holdfast.run WHERE id = $1::text) AND name = $2::text""")

    async def find_message(self, run_id: str, name: str) -> Message | None:
        """Return the payload that is kept for a wait of that name."""
        (found,) = await self._access.read((self._FIND_MESSAGE, (run_id, name)))
        return rows.message(run_id, found[0]) if found else None
