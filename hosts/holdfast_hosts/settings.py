"""How hosts behave: how many jobs at once, how often they look, how long they wait; all with their bounds."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any, Final

import attrs

#: The most jobs that one worker process may execute at once.
MAX_CONCURRENCY: Final = 10_000
#: What is due later than this is not announced, because every worker has looked by then.
MAX_REST: Final = timedelta(seconds=60)


def _at_least(minimum: timedelta) -> Any:
    def check(_: object, attribute: attrs.Attribute[timedelta], value: timedelta) -> None:
        if value < minimum:
            raise ValueError(f"{attribute.name} is {value}; it is at least {minimum}")

    return check


def _at_most(maximum: timedelta) -> Any:
    def check(_: object, attribute: attrs.Attribute[timedelta], value: timedelta) -> None:
        if value > maximum:
            raise ValueError(f"{attribute.name} is {value}; it is at most {maximum}")

    return check


def _names(names: Iterable[str]) -> frozenset[str]:
    return frozenset(names)


def _between(low: int, high: int) -> Any:
    return attrs.validators.and_(attrs.validators.ge(low), attrs.validators.le(high))


_POSITIVE: Final = _at_least(timedelta(milliseconds=1))
_NOT_NEGATIVE: Final = _at_least(timedelta())


@attrs.frozen(kw_only=True)
class HeartbeatSettings:
    """How leases are kept alive; fractions are of the kernel's lease time, so all of it scales with that."""

    #: How often the heartbeat looks at the attempts: the delay of progress and log lines on their way to the store.
    tick: timedelta = attrs.field(default=timedelta(seconds=1), validator=_POSITIVE)
    #: Part of the lease time after which a lease is extended.
    extend_after: float = attrs.field(default=1 / 3, validator=[attrs.validators.gt(0), attrs.validators.le(1 / 2)])
    #: Part of the lease time before the lease's local end at which an attempt stops that could not be extended.
    margin: float = attrs.field(default=1 / 5, validator=[attrs.validators.gt(0), attrs.validators.le(1 / 2)])
    #: Part of the lease time that one call of the store may take before the heartbeat counts it as failed.
    patience: float = attrs.field(default=1 / 6, validator=[attrs.validators.gt(0), attrs.validators.le(1 / 2)])


@attrs.frozen(kw_only=True)
class WorkerSettings:
    """How a worker process behaves."""

    #: Jobs executed at once, from 1 to `MAX_CONCURRENCY`.
    concurrency: int = attrs.field(default=16, validator=_between(1, MAX_CONCURRENCY))
    #: The queues that the worker serves.
    queues: frozenset[str] = attrs.field(
        default=frozenset({"default"}), converter=_names, validator=attrs.validators.min_len(1)
    )
    heartbeat: HeartbeatSettings = HeartbeatSettings()
    #: Shortest pause between two looks for work that nobody announced.
    poll_min: timedelta = attrs.field(default=timedelta(milliseconds=10), validator=_POSITIVE)
    #: Longest such pause; the pause doubles from the shortest to this while there is nothing to do.
    poll_max: timedelta = attrs.field(default=timedelta(milliseconds=500), validator=_POSITIVE)
    #: How often expired leases are taken back and timers are looked at; one tenth more or less, so that workers that
    #: began together do not stay together.
    reap_interval: timedelta = attrs.field(default=timedelta(seconds=5), validator=_POSITIVE)
    #: How often a worker to which everything is announced looks all the same, in case an announcement was lost; up to
    #: a minute, and no longer than a lease lasts.
    rest_interval: timedelta = attrs.field(default=timedelta(seconds=20), validator=[_POSITIVE, _at_most(MAX_REST)])
    #: How often a worker makes itself known to `holdfast doctor`, and looks for runs of versions that it lacks.
    notice_interval: timedelta = attrs.field(default=timedelta(seconds=60), validator=_POSITIVE)
    #: Expired leases, and as many timers, that one pass acts on; a full pass is followed by another at once.
    sweep_batch: int = attrs.field(default=100, validator=_between(1, 10_000))
    #: Events that one flush delivers to each sink; a full flush is followed by another at once.
    flush_batch: int = attrs.field(default=500, validator=_between(1, 10_000))
    #: How often undelivered events are looked for when nobody announced any.
    flush_interval: timedelta = attrs.field(default=timedelta(seconds=1), validator=_POSITIVE)
    #: Shortest pause between two flushes, so that events gather while stages are quick.
    flush_pause: timedelta = attrs.field(default=timedelta(milliseconds=20), validator=_NOT_NEGATIVE)
    #: Jobs of one run that a slot executes in a row before it looks whether others wait.
    chain_jobs: int = attrs.field(default=200, validator=_between(1, 1_000_000))
    #: Time after which it looks as well.
    chain_time: timedelta = attrs.field(default=timedelta(seconds=1), validator=_POSITIVE)
    #: How long attempts may go on after the worker was told to stop; then they are cancelled and handed back.
    drain_timeout: timedelta = attrs.field(default=timedelta(seconds=30), validator=_NOT_NEGATIVE)
    #: How long handing back may take after that, and after an abort.
    release_timeout: timedelta = attrs.field(default=timedelta(seconds=2), validator=_NOT_NEGATIVE)
    #: First pause after the store could not be reached; doubles with each further failure, half of it is chance.
    backoff_base: timedelta = attrs.field(default=timedelta(milliseconds=100), validator=_POSITIVE)
    #: Longest such pause.
    backoff_cap: timedelta = attrs.field(default=timedelta(seconds=5), validator=_POSITIVE)

    def __attrs_post_init__(self) -> None:
        if self.poll_min > self.poll_max:
            raise ValueError(f"poll_min {self.poll_min} is above poll_max {self.poll_max}")
        if self.backoff_base > self.backoff_cap:
            raise ValueError(f"backoff_base {self.backoff_base} is above backoff_cap {self.backoff_cap}")


@attrs.frozen(kw_only=True)
class ServerlessSettings:
    """How a serverless function behaves when it is told how much time it has left."""

    #: The queues that `process_available_jobs` and `run_maintenance_tick` serve.
    queues: frozenset[str] = attrs.field(
        default=frozenset({"default"}), converter=_names, validator=attrs.validators.min_len(1)
    )
    heartbeat: HeartbeatSettings = HeartbeatSettings()
    #: What a stage without a timeout is expected to take at most.
    stage_time: timedelta = attrs.field(default=timedelta(seconds=10), validator=_NOT_NEGATIVE)
    #: What is left for committing an outcome, and for one step of maintenance.
    margin: timedelta = attrs.field(default=timedelta(seconds=1), validator=_NOT_NEGATIVE)
    #: How long a job is kept from further tries that would need more time than this function was given.
    misfit_delay: timedelta = attrs.field(default=timedelta(seconds=30), validator=_NOT_NEGATIVE)
