"""What a store may be opened on, what is refused, and that a refusal leaves everything as it was."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from holdfast.driving import run_sync
from holdfast.errors import StoreUnavailable, UnusableStore
from holdfast_adapters.sqlite import (
    SqlitePersistence,
    all_migrations,
    connection,
    current_version,
    migrate,
    pending_migrations,
    schema,
)
from holdfast_adapters.sqlite.schema import APPLICATION_ID
from holdfast_testing.clock import FakeClock
from holdfast_testing.contracts.samples import created, run_id, stand, the_run

NEWEST: Final = len(all_migrations())


def opened(path: Path, *, migrate: bool = True) -> SqlitePersistence:
    """Return an opened store at *path*."""
    store = SqlitePersistence(path, clock=FakeClock(), migrate=migrate)
    run_sync(store.open())
    return store


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file of a folder."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def change(path: Path, *statements: str) -> None:
    """Execute statements on the file behind the store's back."""
    there = sqlite3.connect(path)
    for statement in statements:
        there.execute(statement)
    there.commit()
    there.close()


def foreign(path: Path) -> None:
    """Make a database of another program."""
    change(path, "CREATE TABLE note (text)", "INSERT INTO note VALUES ('mine')")


def foreign_in_wal_mode(path: Path) -> None:
    """Make one that keeps a log as well."""
    change(path, "PRAGMA journal_mode = WAL", "CREATE TABLE note (text)")


def claimed(path: Path) -> None:
    """Make an empty database that another program has marked as its own."""
    change(path, "PRAGMA application_id = 77")


def no_database(path: Path) -> None:
    """Make a file that is no database."""
    path.write_text("Dear diary, " * 1_000)


def damaged(path: Path) -> None:
    """Make a store and overwrite the page of its schema, behind the header."""
    run_sync(opened(path).close())
    raw = bytearray(path.read_bytes())
    raw[100:3_000] = b"\xff" * 2_900
    path.write_bytes(bytes(raw))


def newer(path: Path) -> None:
    """Make a store with a schema of tomorrow."""
    run_sync(opened(path).close())
    change(path, f"INSERT INTO migration VALUES ({NEWEST + 1}, 'tomorrow', 'x', 0)")


def tampered(path: Path) -> None:
    """Make a store whose first migration was another text."""
    run_sync(opened(path).close())
    change(path, "UPDATE migration SET checksum = 'other' WHERE number = 1")


UNUSABLE: Final[dict[str, tuple[Callable[[Path], None], str]]] = {
    "foreign": (foreign, "another program"),
    "foreign in WAL mode": (foreign_in_wal_mode, "another program"),
    "claimed": (claimed, "another program"),
    "no database": (no_database, "no SQLite database"),
    "damaged": (damaged, "damaged"),
    "newer": (newer, f"version {NEWEST + 1}"),
    "tampered": (tampered, "not the one"),
    "directory": (Path.mkdir, "directory"),
}


@pytest.mark.parametrize("kind", UNUSABLE)
def test_an_unusable_file_is_refused_and_left_alone(path: Path, kind: str) -> None:
    """A file that is no store of ours is refused with what, why and a way out, and nothing beside it is touched."""
    make, why = UNUSABLE[kind]
    make(path)
    before = contents(path.parent)
    store = SqlitePersistence(path, clock=FakeClock())
    for _ in range(2):
        with pytest.raises(UnusableStore) as caught:
            run_sync(store.open())
        assert caught.value.store == str(path)
        assert why in caught.value.why
        assert caught.value.fix
    assert contents(path.parent) == before
    for look in (current_version, pending_migrations):
        with pytest.raises(UnusableStore):
            look(path)
    with pytest.raises(UnusableStore):
        migrate(path, now=0)
    assert contents(path.parent) == before


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    """A file in a folder that does not exist is refused; folders are not made."""
    with pytest.raises(UnusableStore, match="does not exist"):
        opened(tmp_path / "none" / "store.db")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("mounted", ["nfs4", "ext4"])
def test_a_network_file_system_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch, mounted: str) -> None:
    """A file on a network file system is refused, one on a disk below or above such a place is not."""
    mounts = path.with_name("mounts")
    outer = "nfs" if mounted == "ext4" else "ext4"
    mounts.write_text(f"a / {outer} rw 0 0\nb {path.parent} {mounted} rw 0 0\nc {path.parent}/other nfs rw 0 0\n")
    monkeypatch.setattr(connection, "MOUNTS", mounts)
    if mounted == "ext4":
        store = opened(path)
        assert run_sync(store.facts()).filesystem == "ext4"
        run_sync(store.close())
    else:
        with pytest.raises(UnusableStore, match="network"):
            opened(path)


def test_a_system_that_tells_no_mounts(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the system does not tell what is mounted the file is used."""
    monkeypatch.setattr(connection, "MOUNTS", path.with_name("none"))
    store = opened(path)
    assert run_sync(store.facts()).filesystem is None
    run_sync(store.close())


def test_an_old_library_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SQLite without STRICT tables is refused by its version, before anything is made."""
    monkeypatch.setattr(connection, "OLDEST_SQLITE", (99, 0, 0))
    with pytest.raises(UnusableStore, match=sqlite3.sqlite_version):
        opened(path)
    assert contents(path.parent) == {}


#: Opens the store named by its argument as a user without rights, whoever runs the tests.
AS_NOBODY: Final = textwrap.dedent(
    """
    import os, sys
    from holdfast.driving import run_sync
    from holdfast.errors import UnusableStore
    from holdfast_adapters.sqlite import SqlitePersistence, all_migrations
    from holdfast_testing.clock import FakeClock

    # While its own files may still be read.
    all_migrations()
    if os.geteuid() == 0:
        os.setgid(65534)
        os.setuid(65534)
    try:
        run_sync(SqlitePersistence(sys.argv[1], clock=FakeClock()).open())
    except UnusableStore as error:
        print(error.why)
    """
)


@pytest.fixture
def shared() -> Iterator[Path]:
    """Return a folder that every user may look into; pytest's own are closed to all but their owner."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        yield folder
        folder.chmod(0o755)


@pytest.mark.parametrize("target", ["file", "folder"])
def test_what_may_not_be_written_is_refused(shared: Path, target: str) -> None:
    """A file or folder that this user may not write is refused, and nothing is made or changed."""
    path = shared / "store.db"
    store = opened(path)
    stand(store, created())
    run_sync(store.close())
    path.chmod(0o444 if target == "file" else 0o666)
    shared.chmod(0o777 if target == "file" else 0o555)
    before = contents(shared)
    command = [sys.executable, "-c", AS_NOBODY, str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=True, cwd="/")
    assert "may not be written" in said.stdout
    assert contents(shared) == before


def test_a_new_file_is_its_owners_alone(path: Path) -> None:
    """The file, its log and its lock can be read by nobody else."""
    store = opened(path)
    stand(store, created())
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in path.parent.iterdir()}
    assert modes == {"store.db": 0o600, "store.db-wal": 0o600, "store.db-shm": 0o600, "store.db-lock": 0o600}
    assert not run_sync(store.facts()).readable_by_others
    run_sync(store.close())


def test_an_empty_file_becomes_a_store(path: Path) -> None:
    """A file that somebody made empty is used, with the rights it was given."""
    path.touch(mode=0o640)
    store = opened(path)
    stand(store, created())
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert run_sync(store.facts()).readable_by_others
    run_sync(store.close())


def test_a_file_says_whose_it_is(path: Path) -> None:
    """The file carries Holdfast's application id and the checksum of each migration."""
    run_sync(opened(path).close())
    there = sqlite3.connect(path)
    assert there.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    applied = there.execute("SELECT number, name, checksum FROM migration").fetchall()
    assert applied == [(each.number, each.name, each.checksum) for each in all_migrations()]
    there.close()


def test_what_was_stored_is_there_after_opening_again(path: Path) -> None:
    """A store that was closed and opened has what it had, and takes more."""
    store = opened(path)
    stand(store, created())
    run_sync(store.close())
    with pytest.raises(StoreUnavailable):
        run_sync(store.find_run(run_id()))
    run_sync(store.open())
    assert the_run(store).version == 1
    stand(store, created(2))
    run_sync(store.close())


def test_opening_twice_at_once(path: Path) -> None:
    """Two tasks that open one store leave one store open."""

    async def both() -> None:
        store = SqlitePersistence(path, clock=FakeClock())
        await asyncio.gather(store.open(), store.open())
        await store.commit([created()])
        await store.close()

    asyncio.run(both())


def test_a_store_opened_before_a_fork_is_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that was forked off has no writer, and is told so instead of waiting for it."""
    store = opened(path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "getpid", lambda: -1)
        with pytest.raises(StoreUnavailable, match="fork"):
            run_sync(store.find_run(run_id()))
    run_sync(store.close())


# Migrations.


def test_migrations_are_numbered_from_one() -> None:
    """The files are in order, without gaps, and each has a name and a text."""
    assert [each.number for each in all_migrations()] == list(range(1, NEWEST + 1))
    assert all(each.name and each.sql.strip() and len(each.checksum) == 64 for each in all_migrations())


@pytest.fixture
def next_migration(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return what adds a migration to those this version knows."""

    def add(sql: str) -> None:
        more = schema.Migration(number=NEWEST + 1, name="more", sql=sql, checksum="c" * 64)
        known = (*all_migrations(), more)
        monkeypatch.setattr(schema, "all_migrations", lambda: known)

    return add


def test_an_older_schema_is_migrated_by_opening(path: Path, next_migration: Callable[[str], None]) -> None:
    """Opening applies what the file lacks, and keeps what it holds."""
    store = opened(path)
    stand(store, created())
    run_sync(store.close())
    next_migration("CREATE TABLE more (x); INSERT INTO more VALUES (';');")
    assert (current_version(path), [each.name for each in pending_migrations(path)]) == (NEWEST, ["more"])
    store = opened(path)
    assert the_run(store).version == 1
    run_sync(store.close())
    assert (current_version(path), list(pending_migrations(path))) == (NEWEST + 1, [])


def test_an_older_schema_is_refused_when_asked_so(path: Path, next_migration: Callable[[str], None]) -> None:
    """Without leave to migrate an older or empty file is refused with the command that would, and not changed."""
    with pytest.raises(UnusableStore, match="holdfast db migrate"):
        opened(path, migrate=False)
    assert current_version(path) == 0
    run_sync(opened(path).close())
    next_migration("CREATE TABLE more (x);")
    before = path.read_bytes()
    with pytest.raises(UnusableStore, match="holdfast db migrate"):
        opened(path, migrate=False)
    assert path.read_bytes() == before
    assert [each.name for each in migrate(path, now=0)] == ["more"]
    run_sync(opened(path, migrate=False).close())


def test_a_failing_migration_changes_nothing(path: Path, next_migration: Callable[[str], None]) -> None:
    """A migration of which one statement fails leaves the schema as it was."""
    run_sync(opened(path).close())
    next_migration("CREATE TABLE more (x);\nCREATE TABLE run (x);")
    with pytest.raises(StoreUnavailable):
        opened(path)
    there = sqlite3.connect(path)
    assert there.execute("SELECT count(*) FROM sqlite_schema WHERE name = 'more'").fetchone() == (0,)
    there.close()
    assert current_version(path) == NEWEST


def test_migrating_makes_the_file(path: Path) -> None:
    """The runner makes a store of nothing, and has nothing to do the second time."""
    assert current_version(path) == 0
    assert [each.number for each in pending_migrations(path)] == list(range(1, NEWEST + 1))
    assert [each.number for each in migrate(path, now=0)] == list(range(1, NEWEST + 1))
    assert list(migrate(path, now=0)) == []
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_facts(path: Path) -> None:
    """The doctor is told of the library, the settings, the sizes and the soundness of the file."""
    store = opened(path)
    stand(store, created())
    facts = run_sync(store.facts())
    assert (facts.path, facts.sqlite_version) == (str(path), sqlite3.sqlite_version)
    assert facts.wal_reset_bug is (sqlite3.sqlite_version_info < (3, 51, 3))
    assert (facts.journal_mode, facts.synchronous, facts.schema_version) == ("wal", "FULL", NEWEST)
    assert facts.database_bytes > 0
    assert facts.wal_bytes > 0
    assert (facts.problems, facts.checkpoint_error) == ((), None)
    run_sync(store.close())


def test_facts_of_a_damaged_file(path: Path) -> None:
    """A file with a broken page opens, and the doctor is told what is wrong."""
    store = opened(path)
    stand(store, created())
    run_sync(store.close())
    there = sqlite3.connect(path)
    (page,) = there.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'event'").fetchone()
    (size,) = there.execute("PRAGMA page_size").fetchone()
    there.close()
    with path.open("r+b") as raw:
        raw.seek((page - 1) * size)
        raw.write(b"\xff" * 64)
    store = opened(path)
    assert run_sync(store.facts()).problems
    run_sync(store.close())
