"""What happens in the demo, line by line, for logs and pipes."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.events import EventType
from holdfast_hosts.cli.demo.progress import Look
from holdfast_hosts.cli.rendering.event_words import Teller
from holdfast_hosts.cli.rendering.times import time_of_day

#: Facts that tell a reader of a log nothing.
_DULL = frozenset({EventType.RUN_CREATED, EventType.STAGE_READY, EventType.STAGE_PROGRESS})


class Chronicle:
    """Turns looks into lines."""

    def __init__(self, *, utc: bool) -> None:
        self._utc = utc
        self._tellers: dict[str, Teller] = {}

    def lines(self, look: Look) -> Iterator[str]:
        """Yield a line for each new event that is worth one."""
        for order_id, event in look.news:
            moment = self._tellers.setdefault(order_id, Teller()).tell(event)
            if event.type not in _DULL:
                at = time_of_day(event.at, utc=self._utc)
                yield f"{at}  {order_id:<10}  {moment.subject:<13}  {moment.icon} {moment.words}"
