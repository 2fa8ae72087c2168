"""Statements with their parameters in Postgres' binary form: one array for each column, however many rows there are.

psycopg writes an array element by element in Python, which costs more than the statement. The few types that this
adapter sends are packed here with the struct module, which takes a tenth of that.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Callable, Iterable, Sequence
from itertools import chain, repeat
from textwrap import dedent
from typing import Any, Final

_PARAMETER: Final = re.compile(r"\$(\d+)::(bigint|integer|text|boolean|bytea)(\[\])?")
_HEAD: Final = struct.Struct(">5i").pack
_LENGTH: Final = struct.Struct(">i").pack
_BIGINT: Final = struct.Struct(">q").pack
_INTEGER: Final = struct.Struct(">i").pack
_MISSING: Final = _LENGTH(-1)
_NOTHING: Final = struct.pack(">3i", 0, 0, 0)
#: Identities of the types in the catalogue of every server.
_BOOLEAN_OID, _BIGINT_OID, _INTEGER_OID, _TEXT_OID = 16, 20, 23, 25
_TRUE: Final = _LENGTH(1) + b"\x01"
_FALSE: Final = _LENGTH(1) + b"\x00"
#: Texts up to this length, such as statuses and names of stages, are written again and again.
_SHORT: Final = 48
_MOST_KNOWN: Final = 16_384

Encode = Callable[[Any], bytes]


class _Texts(dict[str, bytes]):
    """Elements of text arrays as they were written before."""

    def __missing__(self, text: str) -> bytes:
        raw = text.encode()
        element = _LENGTH(len(raw)) + raw
        if len(raw) <= _SHORT:
            if len(self) >= _MOST_KNOWN:
                self.clear()
            self[text] = element
        return element


_TEXTS: Final = _Texts()


def _head(length: int, oid: int, *, nulls: bool) -> bytes:
    return _HEAD(1, nulls, oid, length, 1)


def _is_same(values: Sequence[Any], first: Any) -> bool:
    """Return whether all *values* are *first*, as those of about half of all columns are."""
    # The last first: most columns that differ at all differ there.
    return bool(values[-1] == first and values.count(first) == len(values))


def _numbers(letter: str, oid: int, *, width: int) -> Encode:
    size, pack = _LENGTH(width), struct.Struct(f">{letter}").pack

    def encode(values: Sequence[int | None]) -> bytes:
        length = len(values)
        if not length:
            return _NOTHING[:8] + _LENGTH(oid)
        first = values[0]
        if _is_same(values, first):
            element = _MISSING if first is None else size + pack(first)
            return _head(length, oid, nulls=first is None) + element * length
        if None in values:
            elements = [_MISSING if value is None else size + pack(value) for value in values]
            return _head(length, oid, nulls=True) + b"".join(elements)
        layout = ">" + ("i" + letter) * length
        return _head(length, oid, nulls=False) + struct.pack(
            layout, *chain.from_iterable(zip(repeat(width), values, strict=False))
        )

    return encode


def _text_array(values: Sequence[str | None]) -> bytes:
    length = len(values)
    if not length:
        return _NOTHING[:8] + _LENGTH(_TEXT_OID)
    known = _TEXTS
    first = values[0]
    if _is_same(values, first):
        element = _MISSING if first is None else known[first]
        return _head(length, _TEXT_OID, nulls=first is None) + element * length
    if None in values:
        elements = [_MISSING if value is None else known[value] for value in values]
        return _head(length, _TEXT_OID, nulls=True) + b"".join(elements)
    return _head(length, _TEXT_OID, nulls=False) + b"".join([known[value] for value in values if value is not None])


def _boolean_array(values: Sequence[bool]) -> bytes:
    if not values:
        return _NOTHING[:8] + _LENGTH(_BOOLEAN_OID)
    return _head(len(values), _BOOLEAN_OID, nulls=False) + b"".join([_TRUE if value else _FALSE for value in values])


_ENCODERS: Final[dict[tuple[str, bool], Encode]] = {
    ("bigint", False): _BIGINT,
    ("integer", False): _INTEGER,
    ("text", False): str.encode,
    ("boolean", False): lambda value: b"\x01" if value else b"\x00",
    ("bytea", False): bytes,
    ("bigint", True): _numbers("q", _BIGINT_OID, width=8),
    ("integer", True): _numbers("i", _INTEGER_OID, width=4),
    ("text", True): _text_array,
    ("boolean", True): _boolean_array,
}


class Statement:
    """A statement whose parameters are all cast where they stand, as ``$1::bigint[]``, which says how to write it."""

    def __init__(self, sql: str) -> None:
        self.sql = dedent(sql).strip().encode()
        #: The same text has the same name on every connection, also on one that a pooler shares.
        self.name = b"holdfast_" + hashlib.sha256(self.sql).hexdigest()[:24].encode()
        casts = {int(number): (kind, bool(array)) for number, kind, array in _PARAMETER.findall(sql)}
        assert sorted(casts) == list(range(1, len(casts) + 1)), f"a parameter has no cast in {sql}"
        self._encoders = [_ENCODERS[casts[number]] for number in sorted(casts)]
        #: 1 is binary.
        self.formats = [1] * len(casts)

    def encode(self, values: Sequence[Any]) -> list[bytes | None]:
        """Return *values* as they are sent."""
        return [None if value is None else encode(value) for encode, value in zip(self._encoders, values, strict=True)]


class Foreign(Statement):
    """A statement of the application's, with its values in it; it is not prepared, for nobody knows if it comes again.

    The protocol it is sent by takes one statement at a time, so nothing can hide behind it.
    """

    def __init__(self, text: str) -> None:
        self.sql = text.encode()
        self.name = b""
        self._encoders = []
        self.formats = []


#: A statement with what it is executed with.
Call = tuple[Statement, Sequence[Any]]


def with_rows(statement: Statement, rows: Iterable[Sequence[Any]]) -> Call:
    """Return the call that gives *statement* one array for each column of *rows*, of which there is at least one."""
    return statement, list(zip(*rows, strict=True))
