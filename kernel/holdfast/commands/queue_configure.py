"""Give a queue its limits, while everything runs."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar, Final

import attrs

from holdfast.command import Command, Ports
from holdfast.entities.queue import QueueLimits, Rate
from holdfast.errors import InvalidInput
from holdfast.naming import check_name, check_number

#: Limits lie below this.
MAX_LIMIT: Final = 2**31 - 1
#: A rate's period lies between these.
SHORTEST_PERIOD: Final = timedelta(milliseconds=1)
LONGEST_PERIOD: Final = timedelta(days=366)


@attrs.frozen(kw_only=True)
class QueueConfigured:
    """The limits that the queue has now."""

    #: They replace those it had.
    limits: QueueLimits


@attrs.frozen(kw_only=True)
class QueueConfigure(Command[QueueConfigured]):
    """Give a queue these limits instead of those it had; a limit that is left out is lifted.

    They hold for all workers of the store from now on; jobs that are leased already go on.
    """

    type: ClassVar[str] = "queue.configure"

    #: The queue's name, as stages give it.
    queue: str
    #: So many of its jobs are leased at once at most.
    concurrency: int | None = None
    #: So many of those whose runs have the same tenant and concurrency key.
    per_key: int | None = None
    #: So many tokens become free in each period; an attempt takes as many as its stage weighs.
    tokens: int | None = None
    #: How long a period is.
    period: timedelta | None = None
    #: So many tokens are saved up at most; as many as *tokens* when left out.
    burst: int | None = None
    #: Whether no job of the queue begins until it is configured otherwise.
    paused: bool = False


async def handle(command: QueueConfigure, ports: Ports) -> QueueConfigured:
    """Store the limits.

    Raises:
        InvalidInput: If a name or number is not fit to be what it is, or a rate lacks a part.
    """
    check_name("queue", command.queue)
    if command.concurrency is not None:
        check_number("concurrency", command.concurrency, least=1, most=MAX_LIMIT)
    if command.per_key is not None:
        check_number("per_key", command.per_key, least=1, most=MAX_LIMIT)
    limits = QueueLimits(
        name=command.queue,
        concurrency=command.concurrency,
        per_key=command.per_key,
        rate=_rate(command),
        paused=command.paused,
    )
    await ports.persistence.set_queue(limits)
    # A limit that was lifted may let jobs begin.
    ports.scheduler.wake_in(timedelta())
    return QueueConfigured(limits=limits)


def _rate(command: QueueConfigure) -> Rate | None:
    tokens, period, burst = command.tokens, command.period, command.burst
    if tokens is None and period is None:
        if burst is not None:
            raise InvalidInput("burst", ["it belongs to a rate; give tokens and period too"])
        return None
    if tokens is None or period is None:
        raise InvalidInput("rate", ["it needs both, tokens and period, such as 100 and a minute"])
    check_number("tokens", tokens, least=1, most=MAX_LIMIT)
    if burst is not None:
        check_number("burst", burst, least=1, most=MAX_LIMIT)
    if not SHORTEST_PERIOD <= period <= LONGEST_PERIOD:
        raise InvalidInput("period", [f"it should be from a millisecond to {LONGEST_PERIOD.days} days"])
    return Rate(tokens=tokens, period=period) if burst is None else Rate(tokens=tokens, period=period, burst=burst)
