"""Events handed to functions of the application."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from types import MappingProxyType

from holdfast.errors import SinkFailed
from holdfast.events import Event, EventType

#: Takes one event. It may be async; a sync one runs on the caller's thread and should be quick.
Handler = Callable[[Event], Awaitable[object] | object]


class CallbackSink:
    """Calls a function for every event, or one function for each type of event.

    A batch comes again when a function raises, from its first event on, so functions must bear repeats: the run's id
    and the event's number tell an event that was seen before.

    Args:
        name: The name under which the store remembers how far this sink has read; stable across restarts.
        handlers: A function for all events, or functions by type; events of other types are passed over.
    """

    def __init__(self, name: str, handlers: Handler | Mapping[EventType, Handler]) -> None:
        self._name = name
        by_type = dict.fromkeys(EventType, handlers) if callable(handlers) else dict(handlers)
        self._handlers: Mapping[EventType, Handler] = MappingProxyType(by_type)

    @property
    def name(self) -> str:
        """The name under which the store remembers how far this sink has read."""
        return self._name

    async def deliver(self, events: Sequence[Event]) -> None:
        """Call the functions, one event after another.

        Raises:
            SinkFailed: If one raised; the batch comes again.
        """
        for event in events:
            handler = self._handlers.get(event.type)
            if handler is None:
                continue
            try:
                answer = handler(event)
                if inspect.isawaitable(answer):
                    await answer
            except Exception as error:
                raise SinkFailed(
                    f"sink {self._name!r} failed at event {event.number} ({event.type.value}) of run {event.run_id}: "
                    f"{type(error).__qualname__}: {error}"
                ) from error
