"""Parameters are written as Postgres reads them, and results are read as they were written."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Sequence
from typing import Any

import psycopg
import pytest

from holdfast_adapters.postgres.statements import Statement, with_rows
from holdfast_adapters.postgres.wire import ConnectionLost, Rows, Wire

SCALARS = Statement("SELECT $1::bigint, $2::integer, $3::text, $4::boolean, $5::bytea")
ARRAYS = Statement("SELECT * FROM unnest($1::bigint[], $2::integer[], $3::text[], $4::boolean[])")


def sent(url: str, *calls: tuple[Statement, Sequence[Any]], prepare: bool = True) -> list[Rows]:
    """Return what the server makes of *calls*, sent twice in two pipelines of one connection."""

    async def main() -> list[Rows]:
        connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
        wire = Wire(connection, patience=5, prepare=prepare)
        try:
            first = await wire.run(*calls)
            assert await wire.run(*calls) == first
        finally:
            wire.close()
        return first

    return asyncio.run(main())


@pytest.mark.parametrize("prepare", [True, False])
def test_what_is_sent_comes_back(url: str, *, prepare: bool) -> None:
    """Numbers of all sizes, texts of all characters but NUL, None and empty arrays come back as they were sent."""
    chance = random.Random(1)
    texts = ["", "a", "🦑" * 20, "x" * 100_000, "\\", '"{}"', "\u2028", "0" * 48, "0" * 49]
    rows = [
        (
            chance.choice((None, 0, -1, 2**63 - 1, -(2**63))),
            chance.choice((None, 0, -1, 2**31 - 1, -(2**31))),
            chance.choice((None, *texts)),
            chance.random() < 0.5,
        )
        for _ in range(300)
    ]
    scalars = [(2**63 - 1, -(2**31), "🦑", True, b"\x00\xff"), (None, None, None, None, None), (-1, 0, "", False, b"")]
    calls = [(SCALARS, scalar) for scalar in scalars]
    plain = [(1, 2, "a", True), (3, 4, "b", False)]
    *found, arrays, more, nothing = sent(
        url, *calls, with_rows(ARRAYS, rows), with_rows(ARRAYS, plain), (ARRAYS, ([], [], [], [])), prepare=prepare
    )
    assert [row for (row,) in found] == scalars
    assert arrays == rows
    assert more == plain
    assert nothing == []


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ((2**63, 0, "", True), struct.error),
        ((0, 2**31, "", True), struct.error),
        ((0, 0, "\ud800", True), UnicodeEncodeError),
        ((0, 0, "\x00", True), psycopg.DataError),
    ],
)
def test_what_cannot_be_sent_is_told(url: str, value: tuple[Any, ...], error: type[Exception]) -> None:
    """A number too large and a text that is no Unicode are refused before anything is sent, NUL by the server."""
    with pytest.raises(error):
        sent(url, with_rows(ARRAYS, [value, value]))
    with pytest.raises(error):
        sent(url, (SCALARS, (*value, b"")))


@pytest.mark.parametrize("row", [(5, -1, "same", True), (None, None, None, False), (2**63 - 1, 0, "🦑" * 30, True)])
@pytest.mark.parametrize("length", [1, 2, 300])
def test_columns_of_one_value_come_back(url: str, row: tuple[Any, ...], length: int) -> None:
    """Columns whose values are all the same come back as they were sent, alone and with a last one that differs."""
    other = (7, 8, "other", False)
    rows = [row] * length
    assert sent(url, with_rows(ARRAYS, rows), with_rows(ARRAYS, [*rows, other])) == [rows, [*rows, other]]


def test_each_pipeline_has_its_own_deadline(url: str) -> None:
    """What one pipeline has taken does not count for the next, and one that takes too long loses the connection."""
    rest = Statement("SELECT pg_sleep($1::integer / 1000.0)::text")

    async def main() -> None:
        connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
        wire = Wire(connection, patience=0.5, prepare=True)
        for _ in range(3):
            assert await wire.run((rest, (300,))) == [[("",)]]
        with pytest.raises(ConnectionLost, match="in time"):
            await wire.run((rest, (60_000,)))
        assert not wire.is_open

    asyncio.run(main())


def test_connection_goes_on_behind_an_error(url: str) -> None:
    """A pipeline that failed leaves the connection fit for the next; what it did not come to was not prepared."""

    async def main() -> None:
        connection = await psycopg.AsyncConnection.connect(url, autocommit=True)
        wire = Wire(connection, patience=5, prepare=True)
        for _ in range(2):
            with pytest.raises(psycopg.errors.DivisionByZero):
                await wire.run((Statement("SELECT 1 / $1::integer"), (0,)), (SCALARS, (1, 2, "a", True, b"")))
            assert await wire.run((SCALARS, (1, 2, "a", True, b""))) == [[(1, 2, "a", True, b"")]]
        assert not wire.is_busy
        wire.close()
        assert not wire.is_open

    asyncio.run(main())


def test_much_is_sent_and_received_at_once(url: str) -> None:
    """More bytes than any buffer holds go both ways in one pipeline."""
    echo = Statement("SELECT $1::bytea")
    data = [bytes([number]) * 3_000_000 for number in range(8)]
    assert sent(url, *((echo, (each,)) for each in data)) == [[(each,)] for each in data]


def test_parameter_without_a_cast_is_refused() -> None:
    """A statement that does not say of every parameter how to write it cannot be made."""
    with pytest.raises(AssertionError):
        Statement("SELECT $1::text, $3::text")
