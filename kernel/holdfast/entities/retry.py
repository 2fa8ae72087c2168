"""Retry policy as data: how often, how long between, and which errors."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Final, Literal

import attrs

Span = str | timedelta
"""A duration: a timedelta, or text such as ``250ms``, ``30s``, ``5m``, ``24h``, ``7d`` or ``1h30m``."""

_UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")

#: An instant this far from now can still be written in every store.
LONGEST: Final = timedelta(days=36_500)

#: Exponents above this would overflow a float long after every cap has been reached.
_MAX_EXPONENT = 64


def span(value: Span) -> timedelta:
    """Return *value* as a timedelta.

    Raises:
        ValueError: If the text is not a duration, or the duration is negative or longer than `LONGEST`.
    """
    if isinstance(value, timedelta):
        result = value
    else:
        parts = _PART.findall(value)
        if not parts or "".join(number + unit for number, unit in parts) != value.strip():
            raise ValueError(f'{value!r} is not a duration. Write it like "250ms", "30s", "5m", "24h" or "1h30m".')
        try:
            result = sum((timedelta(**{_UNITS[unit]: float(number)}) for number, unit in parts), timedelta())
        except OverflowError:
            result = timedelta.max
    if result > LONGEST:
        raise ValueError(f"{value!r} is too long; a duration is at most {LONGEST.days:,} days.")
    if result < timedelta():
        raise ValueError(f"{value!r} is negative; a duration is zero or more.")
    return result


class NeverRetry(Exception):
    """Raise from a stage to fail it for good, whatever its retry policy says."""


class RetryAfter(Exception):
    """Raise from a stage to ask for the next attempt after *delay*, instead of the policy's backoff.

    The attempt counts; when none is left the stage fails.
    """

    def __init__(self, delay: Span, message: str = "") -> None:
        self.delay = span(delay)
        super().__init__(message or f"asked to be retried after {self.delay}")


def _kinds(kinds: type[Exception] | tuple[type[Exception], ...]) -> tuple[type[Exception], ...]:
    return kinds if isinstance(kinds, tuple) else (kinds,)


def _positive(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if value < 1:
        raise ValueError(f"{attribute.name} is {value}; it must be at least 1")


def _fraction(_: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{attribute.name} is {value}; it must be between 0 and 1")


@attrs.frozen
class Retry:
    """How a failed attempt is retried.

    The delay before attempt n+1 is `base` for fixed and ``base * 2**(n-1)`` for exponential backoff, at most `cap`,
    then shortened by a random part of at most `jitter`.
    """

    #: How many attempts there are in all, the first included.
    attempts: int = attrs.field(default=3, validator=_positive)
    backoff: Literal["exponential", "fixed"] = attrs.field(default="exponential", kw_only=True)
    base: timedelta = attrs.field(default=timedelta(seconds=1), converter=span, kw_only=True)
    cap: timedelta = attrs.field(default=timedelta(minutes=5), converter=span, kw_only=True)
    #: The greatest part of a delay, 0 to 1, that is taken off at random, so that failures do not come back together.
    jitter: float = attrs.field(default=0.1, validator=_fraction, kw_only=True)
    #: Errors worth another attempt.
    on: tuple[type[Exception], ...] = attrs.field(default=(Exception,), converter=_kinds, kw_only=True)
    #: Errors never worth another attempt, even when `on` names a base class of them.
    never: tuple[type[Exception], ...] = attrs.field(default=(), converter=_kinds, kw_only=True)

    def retries(self, error: BaseException) -> bool:
        """Return whether *error* is worth another attempt, budget aside."""
        if isinstance(error, RetryAfter):
            return True
        if isinstance(error, (NeverRetry, *self.never)):
            return False
        return isinstance(error, self.on)

    def delay(self, *, attempt: int, fraction: float) -> timedelta:
        """Return how long to wait after the failed *attempt* (1-based).

        Args:
            attempt: The attempt that failed, from 1.
            fraction: A random number from 0 to 1, drawn by the caller.
        """
        if self.backoff == "fixed":
            full = self.base
        else:
            doublings = 2.0 ** min(attempt - 1, _MAX_EXPONENT)
            full = timedelta(seconds=min(self.base.total_seconds() * doublings, self.cap.total_seconds()))
        return min(full, self.cap) * (1 - self.jitter * fraction)
