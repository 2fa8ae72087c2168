"""Notices between processes: hints by NOTIFY that something is due, which may be lost, repeated or late.

They are sent by a transaction of their own. NOTIFY takes a lock of the whole server when its transaction commits, so
inside of those that change state it would make them queue up for each other's disk writes; alone it writes nothing that
has to reach the disk. What is told while a notice is on its way is gathered into the next one.

Everybody speaks on one channel of the database, whose schema is always ``holdfast``; Postgres keeps the channels of its
databases apart.
"""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from datetime import timedelta
from typing import Final

import attrs

from holdfast.ports.ids import Ids
from holdfast_adapters.postgres.access import Access
from holdfast_adapters.postgres.listening import Listener, ListenerSettings
from holdfast_adapters.postgres.statements import Statement

#: The channel of notices. The listener of a process also has one of its own below it, on which it tests itself.
CHANNEL: Final = "holdfast"
#: A notice that names more queues than this tells everybody instead; a payload ends at 8,000 bytes.
MOST_QUEUES: Final = 20
#: Of what is farther away nobody needs to be told: each worker looks that far ahead, and much more often.
FARTHEST: Final = timedelta(seconds=60)
#: Shortest pause between two notices of one process: under load they are few, and in peace none is late.
PAUSE_SECONDS: Final = 0.01
#: How long closing waits for what is still to be told.
LAST_SECONDS: Final = 2.0

_NOTIFY: Final = Statement("SELECT pg_notify($1::text, $2::text)")
_MILLISECOND: Final = timedelta(milliseconds=1)
_log = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Notice:
    """What one process tells the others."""

    #: Whether something is due that may concern everybody.
    now: bool = False
    #: Queues in which jobs are due.
    queues: frozenset[str] = frozenset()
    #: How long it is until something more is due, the first of it. Whoever looks then finds out what comes next.
    later: timedelta | None = None


@attrs.define
class _Untold:
    """What is gathered for the next notice."""

    now: bool = False
    queues: set[str] = attrs.field(factory=set)
    later: timedelta | None = None

    def add(self, delay: timedelta, queue: str | None) -> None:
        """Take something in."""
        if delay > timedelta():
            self.later = delay if self.later is None else min(delay, self.later)
        elif queue is None:
            self.now = True
        else:
            self.queues.add(queue)

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell."""
        return not (self.now or self.queues) and self.later is None


class Notices:
    """Tells other processes what is due, and hears it from them.

    Telling needs nothing but a connection of the pool for a moment. Hearing takes a connection of its own, which there
    is only while somebody listens.

    Args:
        access: The way to the database.
        ids: Where chance comes from.
        listen_at: Where the listening connection goes.
    """

    def __init__(self, access: Access, *, ids: Ids, listen_at: str) -> None:
        self._access = access
        #: Tells the notices of this process from those of others.
        self._name = ids.new_id()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._guard = threading.Lock()
        self._untold = _Untold()
        self._telling: asyncio.Task[None] | None = None
        self._is_telling = False
        self._is_closing = asyncio.Event()
        self._next_at = 0.0
        self.listener = Listener(
            ListenerSettings(address=listen_at, channel=CHANNEL, name=self._name, chance=ids.fraction), send=self._send
        )

    def open(self) -> None:
        """Begin to tell what is told, from the running loop."""
        self._loop = asyncio.get_running_loop()
        self._is_closing = asyncio.Event()

    async def close(self) -> None:
        """Send what is still untold, if that is quickly done."""
        loop, self._loop = self._loop, None
        self._is_closing.set()
        # What was told a moment ago begins to be sent.
        await asyncio.sleep(0)
        if self._telling is not None and loop is asyncio.get_running_loop():
            await asyncio.wait([self._telling], timeout=LAST_SECONDS)
            self._telling.cancel()

    def tell(self, delay: timedelta, queue: str | None = None) -> None:
        """Tell others that something is due in *delay*: a job of *queue*, or whatever it is.

        From any thread; never blocks and never raises.
        """
        loop = self._loop
        if delay > FARTHEST or loop is None:
            return
        with self._guard:
            self._untold.add(delay, queue)
            if self._is_telling:
                return
            self._is_telling = True
        try:
            loop.call_soon_threadsafe(self._begin)
        except RuntimeError:
            # The loop has ended, and with it whoever might have sent it.
            self._is_telling = False

    @property
    def is_telling(self) -> bool:
        """Whether something that was told is still to be sent."""
        return self._is_telling

    def hear(self, payload: str) -> Notice | None:
        """Return what *payload* tells, or None if it was told by this process itself."""
        try:
            told = json.loads(payload)
            if told["from"] == self._name:
                return None
            later = told.get("in")
            return Notice(
                now=bool(told.get("now", False)),
                queues=frozenset(map(str, told.get("queues", ()))),
                later=None if later is None else later * _MILLISECOND,
            )
        except (ValueError, LookupError, TypeError, AttributeError):
            # A word that another version may understand: a look costs less than a guess.
            return Notice(now=True)

    def _begin(self) -> None:
        self._telling = asyncio.get_running_loop().create_task(self._tell_all())

    async def _tell_all(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._rest(self._next_at - loop.time())
            with self._guard:
                untold, self._untold = self._untold, _Untold()
                if untold.is_empty:
                    self._is_telling = False
                    return
            try:
                notice = Notice(now=untold.now, queues=frozenset(untold.queues), later=untold.later)
                await self._send(CHANNEL, written(notice, name=self._name))
            except Exception as error:  # noqa: BLE001 - a hint that is lost costs latency only
                _log.warning("other processes could not be told that something is due: %r", error)
            self._next_at = loop.time() + PAUSE_SECONDS

    async def _rest(self, seconds: float) -> None:
        if seconds > 0 and not self._untold.is_empty:
            try:
                async with asyncio.timeout(seconds):
                    await self._is_closing.wait()
            except TimeoutError:
                return

    async def _send(self, channel: str, payload: str) -> None:
        await self._access.read((_NOTIFY, (channel, payload)))


def written(notice: Notice, *, name: str) -> str:
    """Return the payload that tells *notice*, said by *name*."""
    words: dict[str, object] = {"from": name}
    if notice.now or len(notice.queues) > MOST_QUEUES:
        words["now"] = True
    elif notice.queues:
        words["queues"] = sorted(notice.queues)
    if notice.later is not None:
        # Milliseconds, rounded up: nobody is to come early.
        words["in"] = -(-notice.later // _MILLISECOND)
    return json.dumps(words, separators=(",", ":"))
