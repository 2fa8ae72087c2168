"""A pooler in transaction mode: whoever is between two transactions has no session, and gets another one for the next.

It does what PgBouncer does from 1.21 on: clients are let in without a word to the server, each transaction goes to a
session that the one before did not have, and statements that a client has prepared are prepared there before they are
used.
"""

from __future__ import annotations

import asyncio
import struct
import tempfile
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import attrs
from psycopg import conninfo

SESSIONS: Final = 4
_PROTOCOL: Final = 196_608
#: What a client may ask for first, before it greets: encryption of one kind or another.
_ENCRYPTION: Final = frozenset({80_877_103, 80_877_104})
_NO_TRANSACTION: Final = b"I"

Message = tuple[bytes, bytes]


async def _message(reader: asyncio.StreamReader) -> Message:
    """Return the next message: its letter and what it says."""
    head = await reader.readexactly(5)
    (length,) = struct.unpack(">i", head[1:])
    return head[:1], await reader.readexactly(length - 4)


def _bytes(letter: bytes, said: bytes) -> bytes:
    return letter + struct.pack(">i", len(said) + 4) + said


def _name(said: bytes, *, skip: int = 0) -> bytes:
    """Return the text that ends with NUL behind *skip* others."""
    return said.split(b"\0", skip + 1)[skip]


@attrs.define(eq=False)
class _Session:
    """A session of the server."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    #: Names of statements that it knows.
    prepared: set[bytes] = attrs.field(factory=set)


class Pooler:
    """Lends a few sessions to any number of clients, for a transaction at a time."""

    def __init__(self, url: str, *, database: dict[str, Any], server_socket: str) -> None:
        #: Where the store finds it.
        self.url = url
        #: How many transactions there were, and how many of them had another session than that client's one before.
        self.transactions = self.moved = 0
        self._database = database
        self._server_socket = server_socket
        self._free: asyncio.Queue[_Session] = asyncio.Queue()
        self._sessions: list[_Session] = []
        #: What the server says of itself to whoever is let in.
        self._greeting = b""
        self._serving: set[asyncio.Task[Any]] = set()

    async def open(self) -> None:
        """Make the sessions."""
        wanted = {"user": self._database["user"], "database": self._database["dbname"]}
        words = b"".join(f"{name}\0{value}\0".encode() for name, value in wanted.items()) + b"\0"
        for _ in range(SESSIONS):
            reader, writer = await asyncio.open_unix_connection(self._server_socket)
            writer.write(struct.pack(">ii", len(words) + 8, _PROTOCOL) + words)
            greeting = b""
            letter = b""
            while letter != b"Z":
                letter, said = await _message(reader)
                greeting += _bytes(letter, said)
            self._greeting = greeting
            session = _Session(reader, writer)
            self._sessions.append(session)
            self._free.put_nowait(session)

    async def close(self) -> None:
        """Return when all clients have gone, and end the sessions."""
        await asyncio.gather(*self._serving)
        for session in self._sessions:
            session.writer.close()
            await session.writer.wait_closed()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one client until it leaves."""
        serving = asyncio.current_task()
        assert serving is not None, "the server made a task"
        self._serving.add(serving)
        try:
            await _let_in(reader)
            writer.write(self._greeting)
            await _Client(self, reader, writer).serve()
        except (asyncio.IncompleteReadError, ConnectionError):
            # It has gone, or only wanted to cancel something.
            pass
        finally:
            writer.close()

    async def lend(self) -> _Session:
        """Return a session that nobody has, the one that was given back longest ago."""
        return await self._free.get()

    def give_back(self, session: _Session) -> None:
        """Take a session back."""
        self._free.put_nowait(session)


async def _let_in(reader: asyncio.StreamReader) -> None:
    (length,) = struct.unpack(">i", await reader.readexactly(4))
    said = await reader.readexactly(length - 4)
    (code,) = struct.unpack(">i", said[:4])
    if code != _PROTOCOL:
        raise ConnectionError("no greeting")


class _Client:
    """One client, with the statements that it has prepared."""

    def __init__(self, pooler: Pooler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._pooler = pooler
        self._reader = reader
        self._writer: asyncio.StreamWriter | _Nowhere = writer
        #: What the client said when it prepared them, by name.
        self._statements: dict[bytes, bytes] = {}
        self._session: _Session | None = None
        self._last: _Session | None = None

    async def serve(self) -> None:
        """Carry messages until the client leaves, and undo what it left half done."""
        try:
            while True:
                batch: list[Message] = []
                while not batch or batch[-1][0] not in b"SQ":
                    batch.append(await _message(self._reader))
                    if batch[-1][0] == b"X":
                        return
                await self._carry(batch)
        finally:
            if self._session is not None:
                self._writer = _Nowhere()
                await self._carry([(b"Q", b"ROLLBACK\0")])

    async def _carry(self, batch: list[Message]) -> None:
        """Carry one batch to a session and its answer back."""
        session = self._session
        if session is None:
            session = self._session = await self._pooler.lend()
            self._pooler.transactions += 1
            self._pooler.moved += self._last not in {None, session}
            self._last = session
        answers: deque[tuple[bytes, bytes, bool]] = deque()
        for letter, said in batch:
            session.writer.write(b"".join(self._prepared(session, letter, said, answers)) + _bytes(letter, said))
        letter, said = b"", b""
        while letter != b"Z":
            letter, said = await _message(session.reader)
            if answers and letter == answers[0][0]:
                _, name, is_ours = answers.popleft()
                (session.prepared.add if letter == b"1" else session.prepared.discard)(name)
                if is_ours:
                    continue
            self._writer.write(_bytes(letter, said))
        if said == _NO_TRANSACTION:
            self._session = None
            self._pooler.give_back(session)
        await self._writer.drain()

    def _prepared(
        self, session: _Session, letter: bytes, said: bytes, answers: deque[tuple[bytes, bytes, bool]]
    ) -> list[bytes]:
        """Return what has to be said first, so that the session knows the statement; note the answers to come."""
        first: list[bytes] = []
        coming = {name for kind, name, _ in answers if kind == b"1"}
        if letter == b"P":
            name = _name(said)
            if name:
                self._statements[name] = said
                if name in session.prepared | coming:
                    first.append(_bytes(b"C", b"S" + name + b"\0"))
                    answers.append((b"3", name, True))
            answers.append((b"1", name, False))
        elif letter == b"B":
            name = _name(said, skip=1)
            if name and name not in session.prepared | coming:
                first.append(_bytes(b"P", self._statements[name]))
                answers.append((b"1", name, True))
        return first


class _Nowhere:
    """Takes what nobody reads any more."""

    def write(self, data: bytes) -> None:
        """Forget it."""

    async def drain(self) -> None:
        """Have nothing to wait for."""


@asynccontextmanager
async def pooler(url: str) -> AsyncGenerator[Pooler]:
    """Run a pooler in front of the server at *url*, which listens on a socket of this machine."""
    parts: dict[str, Any] = dict(conninfo.conninfo_to_dict(url))
    name = f".s.PGSQL.{parts.get('port') or 5432}"
    with tempfile.TemporaryDirectory(prefix="holdfast-pooler-") as folder:
        between = Pooler(
            conninfo.make_conninfo(url, host=folder),
            database=parts,
            server_socket=str(Path(str(parts["host"])) / name),
        )
        await between.open()
        server = await asyncio.start_unix_server(between.serve, str(Path(folder) / name))
        async with server:
            yield between
            await between.close()
