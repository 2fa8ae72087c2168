"""Statements over many rows at once, so that a transaction makes few calls into SQLite whatever its size.

Every call into SQLite lets go of the interpreter's lock and has to get it back from whatever the event loop is doing.
One INSERT with 64 rows of VALUES is therefore much cheaper than 64 steps of `executemany`, and a third cheaper than
them even when nobody else wants the interpreter.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

#: Rows per statement are powers of two up to this, so that few texts have to stay prepared.
MOST_ROWS: Final = 64


class Rows:
    """A statement with ``{rows}`` in place of its VALUES, for any number of rows.

    Args:
        sql: The statement.
        width: How many parameters a row has.
        row: How a row is written; as nothing but parameters when left out.
    """

    def __init__(self, sql: str, *, width: int, row: str | None = None) -> None:
        row = row or "(" + ", ".join("?" * width) + ")"
        assert row.count("?") == width, "each parameter has its place"
        lengths = [1 << power for power in range(MOST_ROWS.bit_length())]
        self._texts = {length: sql.format(rows=", ".join([row] * length)) for length in lengths}

    def run(self, connection: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> None:
        """Execute the statement for all *rows*."""
        for text, parameters in self._pieces(rows):
            connection.execute(text, parameters)

    def fetch(self, connection: sqlite3.Connection, rows: Sequence[Sequence[Any]]) -> list[tuple[Any, ...]]:
        """Return what the query finds for all *rows*."""
        found: list[tuple[Any, ...]] = []
        for text, parameters in self._pieces(rows):
            found += connection.execute(text, parameters).fetchall()
        return found

    def text(self, length: int = 1) -> str:
        """Return the statement for *length* rows, a power of two."""
        return self._texts[length]

    def _pieces(self, rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, Sequence[Any]]]:
        if len(rows) == 1:
            yield self._texts[1], rows[0]
            return
        start, left, length = 0, len(rows), MOST_ROWS
        while left:
            while length > left:
                length >>= 1
            part = rows[start : start + length]
            yield self._texts[length], list(chain.from_iterable(part))
            start += length
            left -= length
