"""Put streams that stopped at a failing event back to work, in order."""

from __future__ import annotations

from typing import ClassVar

import attrs

from holdfast.command import Command, Ports
from holdfast.naming import check_number


@attrs.frozen(kw_only=True)
class PluginReplayDlqResult:
    """How many streams are due again."""

    replayed: int


@attrs.frozen(kw_only=True)
class PluginReplayDlq(Command[PluginReplayDlqResult]):
    """Make at most *limit* parked streams of each sink due again from the event they stopped at."""

    type: ClassVar[str] = "plugin.replayDLQ"

    limit: int = 100


async def handle(command: PluginReplayDlq, ports: Ports) -> PluginReplayDlqResult:
    """Replay; nothing is skipped, so each run's events still arrive in order."""
    check_number("limit", command.limit)
    replayed = 0
    for sink in ports.event_sinks:
        replayed += await ports.persistence.replay_parked(sink=sink.name, limit=command.limit)
    return PluginReplayDlqResult(replayed=replayed)
