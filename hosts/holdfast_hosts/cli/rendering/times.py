"""Instants and durations as a person reads them."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Final

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


def took(length: timedelta) -> str:
    """Return a duration in at most six characters or so, such as ``17 ms``, ``1.2 s``, ``4 m 5 s`` or ``3 d 4 h``."""
    seconds = max(length.total_seconds(), 0.0)
    if seconds < 0.9995:
        return f"{round(seconds * 1000)} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    for (unit, worth), (smaller, smaller_worth) in itertools.pairwise(_UNITS):
        if whole >= worth:
            rest = whole % worth // smaller_worth
            return f"{whole // worth} {unit} {rest} {smaller}" if rest else f"{whole // worth} {unit}"
    return f"{whole} s"


def placed(instant: datetime, *, utc: bool) -> datetime:
    """Return *instant* in the zone that times are shown in."""
    return instant.astimezone(UTC) if utc else instant.astimezone()


def date_time(instant: datetime, *, utc: bool) -> str:
    """Return date and time to the second, with the zone when it is UTC."""
    return f"{placed(instant, utc=utc):%Y-%m-%d %H:%M:%S}{'Z' if utc else ''}"


def time_of_day(instant: datetime, *, utc: bool) -> str:
    """Return the time of day to the millisecond."""
    shown = placed(instant, utc=utc)
    return f"{shown:%H:%M:%S}.{shown.microsecond // 1000:03}"


def near_time(instant: datetime, *, now: datetime, utc: bool) -> str:
    """Return the time of day for an instant of today and the date with the time for others."""
    shown, today = placed(instant, utc=utc), placed(now, utc=utc)
    return f"{shown:%H:%M:%S}" if shown.date() == today.date() else f"{shown:%Y-%m-%d %H:%M}"
