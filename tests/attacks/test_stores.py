"""Stores that are broken under a running worker: it lives, says so, and goes on when the cause goes away."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import pytest

from holdfast.entities.run import RunStatus
from holdfast.errors import HoldfastError, StoreUnavailable, UnusableStore
from holdfast.ports.queries import RunFilter
from holdfast_adapters.sqlite import SqlitePersistence
from tests.hosts.scenes import LINE, create, ended, opened, until, working

ODD_NAMES: Final = ["with space.db", "ünï çødé 数据.db", "a'b;--.db", "100%41.db", ".hidden"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_odd_paths_are_files_of_that_name(tmp_path: Path, name: str) -> None:
    """A path with blanks, quotes, percent signs or any script names that file and no other."""

    async def scenario() -> None:
        path = tmp_path / "in a folder" / name
        path.parent.mkdir()
        async with opened(f"sqlite:///{path}") as there, working(there):
            assert await ended(there, await create(there, LINE)) == [RunStatus.COMPLETED]
        there_now = {one.name for one in path.parent.iterdir() if one.is_file()}
        # In a URL, a percent sign begins the code of a character.
        assert there_now == {unquote(name), f"{unquote(name)}-lock"}

    asyncio.run(scenario())


@pytest.mark.parametrize("mark", ["?mode=memory", "#part", "?"])
def test_a_url_with_a_query_opens_nothing_else(tmp_path: Path, mark: str) -> None:
    """A query or fragment is refused or part of the name, and never makes a store other than the one that was named."""

    async def scenario() -> None:
        try:
            async with opened(f"sqlite:///{tmp_path / 'a.db'}{mark}") as there:
                await create(there, LINE)
        except UnusableStore:
            assert list(tmp_path.iterdir()) == []
        else:
            assert f"a.db{mark}" in {one.name for one in tmp_path.iterdir()}

    asyncio.run(scenario())


def test_a_full_disk_under_a_worker_is_outlived(tmp_path: Path) -> None:
    """Creating is refused while the disk is full, nothing of it is there, and all goes on once there is room."""

    async def scenario() -> None:
        async with opened(f"sqlite:///{tmp_path / 'full.db'}") as there, working(there) as worker:
            assert await ended(there, await create(there, LINE)) == [RunStatus.COMPLETED]
            assert isinstance(there.persistence, SqlitePersistence)
            writer = there.persistence._access.opened.writer
            assert writer is not None
            (pages,) = writer._connection.execute("PRAGMA page_count").fetchone()
            writer._connection.execute(f"PRAGMA max_page_count = {pages}").fetchone()
            fields: dict[str, Any] = {"annotations": {"note": "x" * 500_000}, "idempotency_key": "large"}
            with pytest.raises(StoreUnavailable, match="full"):
                await create(there, LINE, 1, **fields)
            assert await there.persistence.list_runs(RunFilter(idempotency_key="large"), limit=1) == []
            writer._connection.execute("PRAGMA max_page_count = 1000000").fetchone()
            run_id = await create(there, LINE, 1, **fields)
            assert await ended(there, run_id) == [RunStatus.COMPLETED]
            assert worker.stats().is_running

    asyncio.run(scenario())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps files that are open")
@pytest.mark.parametrize("is_replaced", [False, True], ids=["deleted", "replaced"])
def test_nothing_is_acknowledged_by_a_file_that_is_gone(tmp_path: Path, is_replaced: bool) -> None:
    """Once the file has been deleted or replaced, every write is refused with the reason, until it is put back."""
    path, aside = tmp_path / "there.db", tmp_path / "aside.db"

    async def scenario() -> None:
        async with opened(f"sqlite:///{path}") as there:
            path.rename(aside)
            if is_replaced:
                path.write_bytes(b"")
            with pytest.raises(StoreUnavailable, match="deleted or replaced"):
                await create(there, LINE)
            aside.replace(path)
            async with working(there):
                assert await ended(there, await create(there, LINE)) == [RunStatus.COMPLETED]
            assert len(await there.persistence.list_runs(RunFilter(), limit=5)) == 1

    asyncio.run(scenario())


def test_another_working_directory_changes_no_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative path names what it named when the store was opened, blobs included, wherever the process goes."""
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)

    async def scenario() -> None:
        async with opened("sqlite:///here.db") as there:
            monkeypatch.chdir(tmp_path / "elsewhere")
            await there.blob_store.put("a/b", b"x")
            assert await there.blob_store.get("a/b") == b"x"
            async with working(there):
                assert await ended(there, await create(there, LINE)) == [RunStatus.COMPLETED]

    asyncio.run(scenario())
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_damaged_page_is_an_error_of_the_store(tmp_path: Path) -> None:
    """A page that was overwritten on the disk is told as such, and no error of another kind comes out."""
    path = tmp_path / "damaged.db"

    async def fill() -> None:
        async with opened(f"sqlite:///{path}") as there, working(there):
            await ended(there, *[await create(there, LINE) for _ in range(20)])

    async def look() -> None:
        async with opened(f"sqlite:///{path}") as there, working(there) as worker:
            run_id = await create(there, LINE)
            await until(lambda: worker.stats().errors > 0)
            assert worker.stats().is_running
            await there.persistence.find_run(run_id)

    asyncio.run(fill())
    raw = bytearray(path.read_bytes())
    size = int.from_bytes(raw[16:18], "big")
    # The schema's page stays, so that the file can be opened.
    raw[4 * size :] = b"\xa5" * (len(raw) - 4 * size)
    path.write_bytes(bytes(raw))
    with pytest.raises(HoldfastError) as caught:
        asyncio.run(look())
    assert isinstance(caught.value, StoreUnavailable | UnusableStore)
