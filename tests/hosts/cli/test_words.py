"""Words, durations and ids as a person reads them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from holdfast_hosts.cli.rendering.shortening import SHORTEST, prefix_length
from holdfast_hosts.cli.rendering.times import date_time, near_time, time_of_day, took
from holdfast_hosts.cli.spelling import clean, counted, did_you_mean, one_line

NOON = datetime(2026, 3, 4, 12, 0, 0, 123_456, tzinfo=UTC)


@pytest.mark.parametrize(
    ("length", "words"),
    [
        (timedelta(milliseconds=-5), "0 ms"),
        (timedelta(milliseconds=17), "17 ms"),
        (timedelta(milliseconds=999, microseconds=600), "1.0 s"),
        (timedelta(seconds=1.24), "1.2 s"),
        (timedelta(seconds=59.96), "1 m"),
        (timedelta(minutes=4, seconds=5), "4 m 5 s"),
        (timedelta(hours=3, minutes=7), "3 h 7 m"),
        (timedelta(days=3, hours=4, minutes=59), "3 d 4 h"),
    ],
)
def test_durations_keep_two_units(length: timedelta, words: str) -> None:
    """A duration is told by its two greatest units."""
    assert took(length) == words


def test_instants_are_told_in_the_zone_asked_for() -> None:
    """With --utc an instant is told in UTC and says so."""
    assert date_time(NOON, utc=True) == "2026-03-04 12:00:00Z"
    assert time_of_day(NOON, utc=True) == "12:00:00.123"


def test_instants_of_other_days_carry_their_date() -> None:
    """In a list an instant of today is a time and any other one has its date."""
    assert near_time(NOON, now=NOON + timedelta(hours=2), utc=True) == "12:00:00"
    assert near_time(NOON, now=NOON + timedelta(days=1), utc=True) == "2026-03-04 12:00"


def test_ids_are_cut_to_what_tells_them_apart() -> None:
    """Ids are cut as short as they still differ, but not below the millisecond they were made in."""
    near = ["019aa3c4-5b6c-7d80-8000-000000000000", "019aa3c4-5b6c-7d8f-8000-000000000000"]
    assert prefix_length([]) == SHORTEST
    assert prefix_length(near[:1]) == SHORTEST
    assert prefix_length(near) == len("019aa3c4-5b6c-7d8f")
    assert len({one[: prefix_length(near)] for one in near}) == 2


def test_stored_text_cannot_steer_a_terminal() -> None:
    """Control characters in stored text are shown as what they are."""
    assert clean("a\x1b[31mb\x00c\nd") == "a\\x1b[31mb\\x00c\nd"
    assert one_line("two\n  lines \x07", limit=40) == "two lines \\x07"
    assert one_line("x" * 50, limit=10) == "x" * 9 + "…"


def test_counts_agree_with_their_nouns() -> None:
    """A count comes with its noun in the right number."""
    assert [counted(number, "retry") for number in (0, 1, 2)] == ["0 retries", "1 retry", "2 retries"]
    assert counted(1_200, "run") == "1,200 runs"


def test_near_names_are_offered_and_far_ones_are_not() -> None:
    """A mistyped name is answered with the nearest known one, if there is one."""
    assert did_you_mean("timelin", ["timeline", "list"]) == ('Did you mean "timeline"?',)
    assert did_you_mean("zzz", ["timeline", "list"]) == ()
