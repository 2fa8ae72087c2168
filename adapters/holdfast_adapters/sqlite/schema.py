"""The runner of the numbered migrations: what a file is, what it lacks, and how it gets it."""

from __future__ import annotations

import hashlib
import re
import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Final

import attrs

from holdfast.errors import StoreUnavailable, UnusableStore
from holdfast_adapters.sqlite.connection import check_place, connect, create, prepare_writer, unwritable
from holdfast_adapters.sqlite.filelock import FileLock

#: "Hold" in ASCII: says of a database file whose it is.
APPLICATION_ID: Final = 0x486F6C64

_NAME: Final = re.compile(r"(\d{4})_(\w+)\.sql")
_COMMAND: Final = "holdfast db migrate"


@attrs.frozen(kw_only=True)
class Migration:
    """One step of the schema."""

    #: From 1, without gaps.
    number: int
    name: str
    sql: str
    #: SHA-256 of the text, hex; a file that was migrated with another text is not ours to touch.
    checksum: str


@cache
def all_migrations() -> tuple[Migration, ...]:
    """Return every migration in order."""
    found: list[Migration] = []
    for resource in files("holdfast_adapters.sqlite.migrations").iterdir():
        match = _NAME.fullmatch(resource.name)
        if match is not None:
            sql = resource.read_text(encoding="utf-8")
            digest = hashlib.sha256(sql.encode()).hexdigest()
            found.append(Migration(number=int(match[1]), name=match[2], sql=sql, checksum=digest))
    return tuple(sorted(found, key=lambda migration: migration.number))


def current_version(path: Path) -> int:
    """Return the number of the newest migration in the file at *path*; 0 if it is empty or does not exist.

    Raises:
        UnusableStore: If the file is no store of this version of Holdfast.
        StoreUnavailable: If it cannot be read now.
    """
    check_place(path)
    if not path.exists():
        return 0
    try:
        return len(_look(path))
    except sqlite3.Error as error:
        raise translate(error, path) from error


def _look(path: Path) -> Sequence[int]:
    """Return the applied migrations without leaving a trace, not even the empty log that any reader would make."""
    log = path.with_name(path.name + "-wal")
    at_rest = not log.exists()
    try:
        connection = connect(path, mode="ro&immutable=1" if at_rest else "ro")
        try:
            return _applied(connection, path)
        finally:
            connection.close()
    except (sqlite3.Error, UnusableStore):
        if at_rest and log.exists():
            # Somebody opened the file meanwhile and may have changed what was taken for immutable.
            return _look(path)
        raise


def pending_migrations(path: Path) -> Sequence[Migration]:
    """Return the migrations that the file at *path* lacks.

    Raises:
        UnusableStore: If the file is no store of this version of Holdfast.
        StoreUnavailable: If it cannot be read now.
    """
    return all_migrations()[current_version(path) :]


def migrate(path: Path, *, now: int) -> Sequence[Migration]:
    """Bring the file at *path* up to date, creating it if need be, and return what was applied.

    Args:
        path: The database file.
        now: The instant to note, in microseconds since 1970.

    Raises:
        UnusableStore: If the file is no store of this version of Holdfast, or may not be written.
        StoreUnavailable: If it cannot be written now.
    """
    before = current_version(path)
    lock = open_lock(path)
    try:
        create(path)
        with lock:
            connection = connect(path)
            try:
                prepare_writer(connection)
                apply_pending(connection, path, now=now)
            finally:
                connection.close()
    except sqlite3.Error as error:
        raise translate(error, path) from error
    finally:
        lock.close()
    return all_migrations()[before:]


def open_lock(path: Path) -> FileLock:
    """Return the lock of the file at *path*.

    Raises:
        UnusableStore: If its own file may not be written.
    """
    beside = path.with_name(path.name + "-lock")
    try:
        return FileLock(beside)
    except PermissionError as error:
        raise unwritable(beside) from error
    except OSError as error:
        raise StoreUnavailable(f"{beside} cannot be opened: {error}") from error


def apply_pending(connection: sqlite3.Connection, path: Path, *, now: int) -> None:
    """Apply what the file lacks in one transaction; the file lock must be held."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Looked at again inside the transaction: another process may have been here since.
        for migration in all_migrations()[len(_applied(connection, path)) :]:
            for statement in _statements(migration.sql):
                connection.execute(statement)
            connection.execute(_RECORD, (migration.number, migration.name, migration.checksum, now))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


_SCRIPT: Final = """\
-- {title}
BEGIN IMMEDIATE;

{sql}

INSERT INTO migration (number, name, checksum, applied_at)
VALUES ({number}, '{name}', '{checksum}', CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER));
PRAGMA application_id = {application};
COMMIT;
"""


def migration_script(*, first: int = 1) -> str:
    """Return what `migrate` does from migration *first* on, as SQL for ``sqlite3 -bail``: each one a transaction."""
    return "\n".join(
        _SCRIPT.format(
            title=f"{migration.number:04}_{migration.name}",
            sql=migration.sql.strip(),
            number=migration.number,
            name=migration.name,
            checksum=migration.checksum,
            application=APPLICATION_ID,
        )
        for migration in all_migrations()[first - 1 :]
    )


_RECORD: Final = "INSERT INTO migration (number, name, checksum, applied_at) VALUES (?, ?, ?, ?)"
_APPLIED: Final = "SELECT number, name, checksum FROM migration ORDER BY number"
_TABLES: Final = "SELECT count(*) FROM sqlite_schema"


def _applied(connection: sqlite3.Connection, path: Path) -> Sequence[int]:
    """Return the numbers of the applied migrations, after making sure that they are ours and unchanged."""
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (tables,) = connection.execute(_TABLES).fetchone()
    if application == 0 and tables == 0:
        return ()
    if application != APPLICATION_ID:
        raise UnusableStore(
            str(path), why="it is a SQLite database of another program.", fix="Name another file for Holdfast."
        )
    known = all_migrations()
    applied = connection.execute(_APPLIED).fetchall()
    for (number, name, checksum), expected in zip(applied, known, strict=False):
        if (number, checksum) != (expected.number, expected.checksum):
            raise UnusableStore(
                str(path),
                why=f"its migration {number} ({name}) is not the one this version of Holdfast knows.",
                fix="Use the version of Holdfast that made it, or restore the file from a backup.",
            )
    if len(applied) > len(known):
        raise UnusableStore(
            str(path),
            why=f"its schema is version {len(applied)} and this Holdfast knows only {len(known)}.",
            fix="Upgrade Holdfast.",
        )
    return [number for number, _, _ in applied]


def require_current(connection: sqlite3.Connection, path: Path) -> None:
    """Raise UnusableStore if the file lacks migrations."""
    version, newest = len(_applied(connection, path)), len(all_migrations())
    if version < newest:
        raise UnusableStore(
            str(path), why=f"its schema is version {version} and {newest} is needed.", fix=f"Run: {_COMMAND}"
        )


def _statements(sql: str) -> Iterator[str]:
    """Yield the statements of a script; `executescript` would commit the transaction they belong to."""
    statement = ""
    for piece in re.split(r"(?<=;)", sql):
        statement += piece
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def translate(error: sqlite3.Error, path: Path) -> Exception:
    """Return what to tell a caller who wanted to open the file."""
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
        return UnusableStore(
            str(path),
            why=f"it is no SQLite database, or it is damaged ({error}).",
            fix="Name another file, or restore this one from a backup.",
        )
    if code in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM):
        return unwritable(path)
    return StoreUnavailable(f"SQLite cannot open {path}: {error}")
