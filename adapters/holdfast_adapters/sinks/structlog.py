"""Events as structured log lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Protocol, cast

from holdfast.errors import SinkFailed
from holdfast.events import Event, EventType

#: What a line may tell of an event's data: words and numbers of the engine. Messages and values come from user code
#: and could hold secrets, so they stay in the timeline.
_TOLD: Final[Mapping[str, str]] = {
    "attempt": "attempt",
    "worker": "worker",
    "code": "code",
    "stage": "stage",
    "delaySeconds": "delay_seconds",
    "pollInSeconds": "poll_in_seconds",
}
_ERRORS: Final = frozenset({EventType.RUN_FAILED, EventType.STAGE_FAILED})
_WARNINGS: Final = frozenset({EventType.STAGE_RETRYING, EventType.STAGE_POLL_FAILED, EventType.STAGE_LEASE_EXPIRED})


class Logger(Protocol):
    """The part of a structlog logger that is used."""

    def info(self, event: str, **values: object) -> object:
        """Log what happened."""
        ...

    def warning(self, event: str, **values: object) -> object:
        """Log what went wrong and will be tried again."""
        ...

    def error(self, event: str, **values: object) -> object:
        """Log what failed for good."""
        ...


class StructlogSink:
    """Writes one log line for each event: what, when, of which run and stage, without payloads or messages."""

    def __init__(self, *, name: str = "log", logger: Logger | None = None) -> None:
        self._name = name
        self._logger = _structlog() if logger is None else logger

    @property
    def name(self) -> str:
        """The name under which the store remembers how far this sink has read."""
        return self._name

    async def deliver(self, events: Sequence[Event]) -> None:
        """Write one line for each event.

        Raises:
            SinkFailed: If the log cannot be written; the batch comes again.
        """
        try:
            for event in events:
                self._write(event)
        except Exception as error:
            raise SinkFailed(f"sink {self._name!r} could not write its log: {error}") from error

    def _write(self, event: Event) -> None:
        values: dict[str, object] = {"run_id": event.run_id, "number": event.number, "at": event.at.isoformat()}
        values |= {_TOLD[name]: value for name, value in event.data.items() if name in _TOLD}
        if event.key is not None:
            values |= {"stage": event.key.stage_id, "generation": event.key.generation, "item": event.key.item}
        if event.type in _ERRORS:
            self._logger.error(event.type.value, **values)
        elif event.type in _WARNINGS:
            self._logger.warning(event.type.value, **values)
        else:
            self._logger.info(event.type.value, **values)


def _structlog() -> Logger:
    import structlog

    return cast(Logger, structlog.get_logger("holdfast.events"))
