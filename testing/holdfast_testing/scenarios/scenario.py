"""What a scenario is: workflows, what a client sends when, and how it must end whatever goes wrong."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

import attrs

from holdfast.authoring.flow import Flow
from holdfast.command import Command, Settings
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageStatus

#: What earlier commands of the script were answered with, by name.
Said = Mapping[str, Any]

#: Leases and deliveries of the same length, so that one bound holds for both.
SETTINGS: Final = Settings(lease_ttl=timedelta(seconds=30), delivery_ttl=timedelta(seconds=30))

#: How long after the end of an expired lease it is taken back at the latest, the reaper's period and one poll.
REAP_AFTER: Final = timedelta(seconds=6)


class Way(enum.Enum):
    """What happens to a process at its n-th port call."""

    #: The call is not made, and the process is told that the world failed.
    FAIL_BEFORE = "fail before"
    #: The call is made and works, and the process is told that the world failed or that nobody knows.
    FAIL_AFTER = "fail after"
    #: The process dies instead of making the call.
    DIE_BEFORE = "die before"
    #: The process dies when the call has been made, before it learns the outcome.
    DIE_AFTER = "die after"
    #: The process stands still before the call for longer than its leases last, while others finish what they can.
    SLEEP = "sleep"
    #: The process stands still before the call until another has its leases and goes on while that one executes.
    OVERTAKEN = "be overtaken"


#: The ways in which a port or a process fails.
FAILURES: Final = (Way.FAIL_BEFORE, Way.FAIL_AFTER, Way.DIE_BEFORE, Way.DIE_AFTER)


@attrs.frozen(kw_only=True)
class StageIs:
    """A moment: a stage of a run stands like this."""

    #: The name under which the script created the run.
    run: str
    stage_id: str
    status: StageStatus
    generation: int = 1


@attrs.frozen(kw_only=True)
class HasEnded:
    """A moment: a run has ended, in a generation at least this high."""

    run: str
    generation: int = 1


@attrs.frozen(kw_only=True)
class IsOpen:
    """A moment: a run waits for a payload of this name."""

    run: str
    name: str


@attrs.frozen
class Quiet:
    """A moment: nothing moves any more."""


Moment = StageIs | HasEnded | IsOpen | Quiet


@attrs.frozen(kw_only=True)
class Send:
    """A command that the client sends, again and again until it has an answer."""

    name: str
    #: Makes the command from earlier answers; made again for each try, and always the same.
    command: Callable[[Said], Command[Any]]
    #: When it is sent at the earliest; None for as soon as all before it were answered. A moment that does not come
    #: is waited for only as long as anything moves.
    when: Moment | None = None


@attrs.frozen(kw_only=True)
class Scenario:
    """A story that has to end well."""

    name: str
    flows: tuple[Flow[Any, Any], ...]
    script: tuple[Send, ...]
    #: How each run ends, by the name of the command that created it.
    ends: Mapping[str, RunStatus]
    settings: Settings = SETTINGS
    #: Whether processes execute what messages name before they ask the store for jobs.
    by_message: bool = False
    #: How many batches the event sink refuses at first.
    sink_failures: int = 0
    #: The most events that are delivered at once.
    max_events: int = 100
    #: How much longer than the recovery itself the repetition of lost work takes.
    slack: timedelta = timedelta(seconds=5)
