"""Store URLs: where all state lives, as one word that every host takes; nothing is ever replaced by something else."""

from __future__ import annotations

import enum
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final
from urllib.parse import unquote

import attrs

from holdfast.errors import UnusableStore

#: What is wrong with a URL that names no known kind of store.
_FORMS: Final = (
    "Use memory: or sqlite:///relative/path.db or sqlite:////absolute/path.db or postgresql://user@host/database."
)
#: Behind the scheme of a file: two slashes, no host, one slash; what follows is the path.
_FILE: Final = "///"
#: Words of a Postgres URL that are ours and not for libpq.
_OWN_WORDS: Final = frozenset({"notify", "listen"})
#: A password in an address, between the user and the host or among the options.
_PASSWORD: Final = re.compile(r"(?<=[/:]/)([^/?#@:]*):[^/?#@]*@|(?<=[?&])(password|sslpassword)=[^&]*")


class StoreKind(enum.Enum):
    """The kinds of stores that this version can open."""

    MEMORY = "memory"
    SQLITE = "sqlite"
    POSTGRES = "postgresql"


@attrs.frozen(kw_only=True)
class StoreUrl:
    """A store URL, taken apart."""

    kind: StoreKind
    #: The database file; None for a store that is none.
    path: Path | None = None
    #: The address of a Postgres database, as libpq takes it; it may hold a password.
    address: str | None = attrs.field(default=None, repr=False)
    #: Whether processes tell each other of what is due (``notify=off`` in the URL turns it off).
    notify: bool = True
    #: Where the connection goes on which they hear it, if not to the address (``listen=host:port`` in the URL).
    listen_at: str | None = attrs.field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> StoreUrl:
        """Return what *text* names: ``memory:``, ``sqlite:///relative.db`` or ``postgresql://user@host/database``.

        Raises:
            UnusableStore: If it names no store that this version can open.
        """
        scheme, colon, rest = text.strip().partition(":")
        if not colon:
            raise UnusableStore(f'"{text}"', why="It is not a store URL.", fix=_FORMS)
        # Schemes such as postgresql+psycopg name a driver, which is nobody's business here.
        match scheme.lower().partition("+")[0]:
            case "memory":
                return _memory(text, rest)
            case "sqlite":
                return _sqlite(text, rest)
            case "postgres" | "postgresql":
                return _postgres(rest)
            case _:
                raise UnusableStore(f"{scheme}:…", why=f'There is no kind of store "{scheme}".', fix=_FORMS)

    def __str__(self) -> str:
        """Return the URL as it may be shown: without the password."""
        if self.address is not None:
            return without_password(self.address)
        return "memory:" if self.path is None else f"sqlite:///{self.path.as_posix()}"


def without_password(text: str) -> str:
    """Return a URL with dots in place of every password in it."""
    return _PASSWORD.sub(lambda found: f"{found[2]}=…" if found[2] else f"{found[1]}:…@", text)


def _memory(text: str, rest: str) -> StoreUrl:
    if rest.strip("/"):
        raise UnusableStore(f'"{text}"', why="A store in memory has no name.", fix="Use memory: alone.")
    return StoreUrl(kind=StoreKind.MEMORY)


def _postgres(rest: str) -> StoreUrl:
    # What is wrong is told without the text: it may hold a password.
    if not rest.startswith("//") or "\0" in rest:
        raise UnusableStore("postgresql:…", why="It names no database.", fix=_FORMS)
    place, _, query = rest.partition("?")
    words = [word.partition("=") for word in query.split("&") if word]
    own = {name: value for name, _, value in words if name in _OWN_WORDS}
    theirs = [(name, value) for name, _, value in words if name not in _OWN_WORDS]
    switch, server = own.get("notify", "on"), own.get("listen")
    if switch not in {"on", "off"}:
        raise UnusableStore(
            "postgresql:…", why="notify is neither on nor off.", fix="Write notify=off, or leave it out."
        )
    if server is not None and (not server or "/" in server or "@" in server):
        raise UnusableStore("postgresql:…", why="listen names no server.", fix="Write listen=host or listen=host:port.")
    return StoreUrl(
        kind=StoreKind.POSTGRES,
        address=_address(place, theirs),
        notify=switch == "on",
        listen_at=None if server is None else _elsewhere(server, place, theirs),
    )


def _address(place: str, words: Sequence[tuple[str, str]]) -> str:
    query = "&".join(f"{name}={value}" for name, value in words)
    return f"postgresql:{place}?{query}" if query else f"postgresql:{place}"


def _elsewhere(server: str, place: str, words: Sequence[tuple[str, str]]) -> str:
    """Return the address of the same database by way of another server."""
    netloc, slash, database = place.removeprefix("//").partition("/")
    user, at, _ = netloc.rpartition("@")
    rest = [(name, value) for name, value in words if name not in {"host", "hostaddr", "port"}]
    return _address(f"//{user}{at}{server}{slash}{database}", rest)


def _sqlite(text: str, rest: str) -> StoreUrl:
    path = unquote(rest.removeprefix(_FILE))
    if not rest.startswith(_FILE) or not path:
        raise UnusableStore(f'"{text}"', why="It names no database file.", fix=_FORMS)
    if path == ":memory:":
        raise UnusableStore(f'"{text}"', why="A SQLite store is a file.", fix="Use memory: for a store in memory.")
    if "?" in path or "#" in path or "\0" in path:
        raise UnusableStore(f'"{text}"', why="A file URL has no options here.", fix=_FORMS)
    return StoreUrl(kind=StoreKind.SQLITE, path=Path(path))
