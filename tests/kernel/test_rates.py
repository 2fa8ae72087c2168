"""The token bucket of a queue's rate, against a bucket that is filled drop by drop."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from holdfast.entities.queue import LONGEST_DEBT, Rate

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)

rates = st.builds(
    Rate,
    tokens=st.integers(1, 1_000),
    period=st.integers(1_000, 10**9).map(lambda number: number * MICROSECOND),
    burst=st.integers(1, 1_000),
)
#: After how many microseconds somebody asks for how many tokens.
asks = st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 1_500)), max_size=30)


@given(rate=rates, asks=asks)
def test_a_bucket_gives_what_is_in_it(rate: Rate, asks: list[tuple[int, int]]) -> None:
    """Tokens are there when the bucket holds as many, or is full; rounding never gives one too early."""
    level, now, full_at = Fraction(rate.burst), NOW, None
    drop = Fraction(rate.tokens, rate.period // MICROSECOND)
    for pause, weight in asks:
        now += pause * MICROSECOND
        level = min(level + pause * drop, Fraction(rate.burst))
        taken = rate.take(full_at, now=now, weight=weight)
        enough = level >= min(weight, rate.burst) or not weight
        # A bucket that rounds by microseconds may be late by as many as it was asked.
        assert not (taken is not None and not enough)
        if taken is None:
            assert level - min(weight, rate.burst) < len(asks) * 2 * drop
            continue
        full_at = taken
        level -= weight


@given(rate=rates, asks=asks)
def test_no_period_sees_more_than_burst_and_tokens(rate: Rate, asks: list[tuple[int, int]]) -> None:
    """Within any period at most the burst and a period's tokens are taken by attempts that weigh no more than that."""
    now, full_at = NOW, None
    taken: list[tuple[datetime, int]] = []
    for pause, asked in asks:
        now += pause * MICROSECOND
        weight = min(asked, rate.burst)
        found = rate.take(full_at, now=now, weight=weight)
        if found is not None:
            full_at = found
            taken.append((now, weight))
    for begun, _ in taken:
        within = sum(weight for at, weight in taken if begun <= at < begun + rate.period)
        assert within <= rate.burst + rate.tokens


@given(rate=rates)
def test_a_debt_ends_some_day(rate: Rate) -> None:
    """Whatever an attempt weighs, the next one may begin within ten years."""
    full_at = rate.take(None, now=NOW, weight=10**12)
    assert full_at is not None
    again = rate.take(full_at, now=full_at, weight=10**12)
    assert again is not None
    assert max(full_at - NOW, again - full_at) <= LONGEST_DEBT
