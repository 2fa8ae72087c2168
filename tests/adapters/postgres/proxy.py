"""A way to the server that can be disturbed: cut at a word, or silent for ever."""

from __future__ import annotations

import asyncio
import enum
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from psycopg import conninfo


class Cut(enum.Enum):
    """What happens when the word passes by."""

    #: The server never sees it.
    BEFORE = "before"
    #: The server sees it, and its answer is lost with the connection.
    AFTER = "after"
    #: Nothing passes any more, and nobody is told.
    SILENCE = "silence"


class Proxy:
    """Carries bytes between a store and the server until it is told otherwise."""

    def __init__(self, url: str, server_socket: str) -> None:
        #: Where the store finds it.
        self.url = url
        self._server_socket = server_socket
        self._cut: Cut | None = None
        self._word = b""
        self._left = 0
        #: How often clients have said anything.
        self.said = 0
        self._serving: set[asyncio.Task[Any]] = set()
        #: What happened to each connection, once something has.
        self._hits: list[asyncio.Future[Cut]] = []
        self._cuts: list[asyncio.Event] = []

    def cut_at(self, word: bytes, how: Cut) -> None:
        """Disturb the next connection over which the client says *word*; those made afterwards are well again."""
        self._cut, self._word, self._left = how, word, 1

    def cut_at_turn(self, number: int, how: Cut) -> None:
        """Disturb the connection over which a client says something for the *number*-th time from now; 0 for none."""
        self._cut, self._word, self._left = how, b"", number

    def hush(self) -> None:
        """Let nothing pass any more on the connections that there are, and tell nobody."""
        for hit in self._hits:
            if not hit.done():
                hit.set_result(Cut.SILENCE)

    def cut(self) -> None:
        """End the connections that there are."""
        for cut in self._cuts:
            cut.set()

    def passes_back(self, data: bytes) -> bool:
        """Return whether *data* of the server reaches the client."""
        return True

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection."""
        serving = asyncio.current_task()
        assert serving is not None, "the server made a task"
        self._serving.add(serving)
        from_server, to_server = await asyncio.open_unix_connection(self._server_socket)
        hit: asyncio.Future[Cut] = asyncio.get_running_loop().create_future()
        cut = asyncio.Event()
        self._hits.append(hit)
        self._cuts.append(cut)
        forth = asyncio.create_task(self._forth(reader, to_server, hit))
        back = asyncio.create_task(self._back(from_server, writer, hit))
        end = asyncio.create_task(cut.wait())
        await asyncio.wait({forth, back, end}, return_when=asyncio.FIRST_COMPLETED)
        for task in (forth, back, end):
            task.cancel()
        writer.transport.abort()
        to_server.transport.abort()
        await asyncio.gather(forth, back, end, writer.wait_closed(), to_server.wait_closed(), return_exceptions=True)

    async def rest(self) -> None:
        """Return when no connection is left."""
        await asyncio.gather(*self._serving)

    async def _forth(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hit: asyncio.Future[Cut]
    ) -> None:
        while data := await reader.read(65_536):
            self.said += 1
            if self._cut is not None and self._word in data:
                self._left -= 1
            if self._cut is not None and not self._left:
                hit.set_result(self._cut)
                self._cut = None
                if hit.result() is Cut.BEFORE:
                    return
            if not hit.done() or hit.result() is Cut.AFTER:
                writer.write(data)
                await writer.drain()

    async def _back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, hit: asyncio.Future[Cut]) -> None:
        while data := await reader.read(65_536):
            if not hit.done():
                if self.passes_back(data):
                    writer.write(data)
                    await writer.drain()
            elif hit.result() is Cut.AFTER:
                # The server has done it.
                return


@asynccontextmanager
async def proxy(url: str, *, kind: type[Proxy] = Proxy) -> AsyncGenerator[Proxy]:
    """Run a proxy in front of the server at *url*, which listens on a socket of this machine."""
    parts: dict[str, Any] = dict(conninfo.conninfo_to_dict(url))
    name = f".s.PGSQL.{parts.get('port') or 5432}"
    with tempfile.TemporaryDirectory(prefix="holdfast-proxy-") as folder:
        through = kind(conninfo.make_conninfo(url, host=folder), str(Path(str(parts["host"])) / name))
        server = await asyncio.start_unix_server(through.serve, str(Path(folder) / name))
        async with server:
            yield through
            await through.rest()
