"""`holdfast queues list`, `set`, `pause` and `unpause`."""

from __future__ import annotations

from typing import Final

import attrs

from holdfast.commands.queue_configure import QueueConfigure
from holdfast.entities.queue import QueueLimits, Rate
from holdfast.entities.retry import span
from holdfast.errors import InvalidInput
from holdfast.naming import check_name
from holdfast.ports.persistence import Persistence
from holdfast_hosts.cli.opening import opened
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, note, show
from holdfast_hosts.cli.shapes import queue_shape
from holdfast_hosts.cli.spelling import clean, counted
from holdfast_hosts.cli.usage import misused

#: What lifts a limit.
_NONE: Final = "none"


@attrs.frozen(kw_only=True)
class Wish:
    """The limits that are to be changed, as they were typed."""

    concurrency: str | None
    per_key: str | None
    rate: str | None
    burst: str | None


async def list_queues(*, common: Common) -> int:
    """List the queues.

    Raises:
        Told: If there is no store.
    """
    async with opened(common) as store:
        states = await store.persistence.list_queues()
    if common.json:
        answer({"queues": [queue_shape(state) for state in states]})
        return 0
    if not states:
        note("No queue has limits or jobs.")
        return 0
    from holdfast_hosts.cli.rendering.queue_table import queue_table

    show(queue_table(states))
    note(counted(len(states), "queue"))
    return 0


async def set_queue(queue: str, wish: Wish, *, common: Common) -> int:
    """Change the limits of the queue that the wish names.

    Raises:
        InvalidInput: If the queue's name is not fit to be one, or a number is out of bounds.
        Told: If a limit cannot be read, or there is no store.
    """
    if wish == Wish(concurrency=None, per_key=None, rate=None, burst=None):
        raise misused("No limit is given.", fix="Such as --concurrency 10, --per-key 1 or --rate 100/1m.")
    async with opened(common) as store:
        limits = _wished(await _limits(queue, store.persistence), wish)
        await store.kernel.dispatch(_configure(limits))
    _tell(limits, common=common)
    return 0


async def hold(queue: str, *, paused: bool, common: Common) -> int:
    """Pause the queue, or let it go on.

    Raises:
        InvalidInput: If the queue's name is not fit to be one.
        Told: If there is no store.
    """
    async with opened(common) as store:
        limits = attrs.evolve(await _limits(queue, store.persistence), paused=paused)
        await store.kernel.dispatch(_configure(limits))
    _tell(limits, common=common)
    if paused and not common.json:
        note(f"  → To let it go on: {common.command('queues', 'unpause', queue)}")
    return 0


async def _limits(queue: str, persistence: Persistence) -> QueueLimits:
    check_name("queue", queue)
    states = await persistence.list_queues()
    return next((state.limits for state in states if state.limits.name == queue), QueueLimits(name=queue))


def _wished(limits: QueueLimits, wish: Wish) -> QueueLimits:
    concurrency, per_key = limits.concurrency, limits.per_key
    if wish.concurrency is not None:
        concurrency = _number(wish.concurrency, option="--concurrency")
    if wish.per_key is not None:
        per_key = _number(wish.per_key, option="--per-key")
    rate = limits.rate if wish.rate is None else _rate(wish.rate)
    if wish.burst is not None:
        burst = _number(wish.burst, option="--burst")
        if rate is None:
            if burst is not None:
                raise misused("--burst belongs to a rate.", fix="Give --rate too, such as --rate 100/1m.")
        else:
            rate = attrs.evolve(rate, burst=rate.tokens if burst is None else burst)
    return attrs.evolve(limits, concurrency=concurrency, per_key=per_key, rate=rate)


def _number(given: str, *, option: str) -> int | None:
    if given == _NONE:
        return None
    if not (given.isascii() and given.isdigit()):
        raise misused(f"{option} is {clean(given)}; it is a whole number, or none to lift the limit.")
    return int(given)


def _rate(given: str) -> Rate | None:
    if given == _NONE:
        return None
    tokens, slash, period = given.partition("/")
    try:
        if not (slash and tokens.isascii() and tokens.isdigit()):
            raise ValueError
        return Rate(tokens=int(tokens), period=span(period))
    except ValueError:
        fix = "Write tokens and period like 100/1m or 5/1s, or none to lift it."
        raise misused(f"--rate cannot be read: {clean(given)}", fix=fix) from None


def _configure(limits: QueueLimits) -> QueueConfigure:
    rate = limits.rate
    if rate is None:
        return QueueConfigure(
            queue=limits.name, concurrency=limits.concurrency, per_key=limits.per_key, paused=limits.paused
        )
    if not rate.period:
        raise InvalidInput("rate", ["its period has to be longer than nothing"])
    return QueueConfigure(
        queue=limits.name,
        concurrency=limits.concurrency,
        per_key=limits.per_key,
        tokens=rate.tokens,
        period=rate.period,
        burst=rate.burst,
        paused=limits.paused,
    )


def _tell(limits: QueueLimits, *, common: Common) -> None:
    if common.json:
        answer(queue_shape(limits))
        return
    from holdfast_hosts.cli.rendering.queue_table import limit_words

    show(f"queue {clean(limits.name)}: {limit_words(limits)}")
