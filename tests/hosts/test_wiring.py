"""What opening a kernel puts together, and what it refuses to."""

from __future__ import annotations

import asyncio
import builtins
import sys
from pathlib import Path
from typing import Any

import pytest

from holdfast import Context, Flow, RunStatus, stage, workflow
from holdfast.errors import StoreUnavailable, UnusableStore
from holdfast_hosts.wiring import blob_directory
from tests.hosts.scenes import LINE, ONE, create, ended, opened, status, working


class Greeting(str):
    """A service."""

    __slots__ = ()


@stage
async def greet(name: str, ctx: Context) -> str:
    """Use a service."""
    return f"{ctx.services[Greeting]} {name}"


@stage
def keep_blob(text: str, ctx: Context) -> str:
    """Save and load an artifact from a thread."""
    ctx.block_on(ctx.save("note", text.encode()))
    return bytes(ctx.block_on(ctx.load("note"))).decode()


@stage
async def block_wrongly(text: str, ctx: Context) -> str:
    """Block the loop, or try to."""
    ctx.block_on(ctx.save("note", text.encode()))
    return text


@stage
async def swell(size: int) -> str:
    """Return a large output."""
    return "x" * size


def test_memory_store_ends_with_its_context() -> None:
    """A store in memory is empty each time, and answers nothing after its context."""

    async def main() -> None:
        async with opened() as there:
            assert there.url is not None
            assert str(there.url) == "memory:"
            run_id = await create(there, ONE)
        with pytest.raises(StoreUnavailable):
            await there.persistence.find_run(run_id)
        async with opened() as other:
            assert await other.persistence.find_run(run_id) is None

    asyncio.run(main())


def test_sqlite_store_is_there_again(tmp_path: Path) -> None:
    """What one process stored in a file is there for the next, and goes on there."""
    url = f"sqlite:///{tmp_path / 'x.db'}"

    async def main() -> None:
        async with opened(url) as there:
            run_id = await create(there, LINE)
        async with opened(url) as again:
            assert await status(again, run_id) is RunStatus.PENDING
            async with working(again):
                assert await ended(again, run_id) == [RunStatus.COMPLETED]

    asyncio.run(main())


def test_large_payloads_lie_beside_the_file(tmp_path: Path) -> None:
    """A payload above the threshold becomes a file in the directory of blobs beside the database."""
    flow: Flow[int, str] = workflow("swell", input=int, version="1").pipe(swell)
    path = tmp_path / "x.db"

    async def main() -> None:
        async with opened(f"sqlite:///{path}", flows=(flow,)) as there, working(there):
            assert await ended(there, await create(there, flow, 100_000)) == [RunStatus.COMPLETED]

    asyncio.run(main())
    sizes = [file.stat().st_size for file in blob_directory(path).rglob("*") if file.is_file()]
    assert sizes == [100_002]


def test_foreign_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    """A file that is no database is refused by name; nothing is written to it or beside it."""
    path = tmp_path / "notes.txt"
    path.write_text("these are my notes, and not a database at all" * 100)

    async def main() -> None:
        async with opened(f"sqlite:///{path}"):
            pass

    with pytest.raises(UnusableStore) as caught:
        asyncio.run(main())
    assert "notes.txt" in str(caught.value)
    assert path.read_text().startswith("these are my notes")
    assert not blob_directory(path).exists()


def test_postgres_never_becomes_something_else() -> None:
    """A store that cannot be reached is an error, never another store; the error holds no password."""

    async def main() -> None:
        # Nobody listens on the port of tcpmux.
        async with opened("postgresql://user:hunter2@127.0.0.1:1/db"):
            pass

    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1") as caught:
        asyncio.run(main())
    assert "hunter2" not in str(caught.value)


def test_python_without_psycopg_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the driver a Postgres URL names what to install."""
    real = builtins.__import__

    def without_psycopg(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "psycopg" or name.startswith("psycopg."):
            raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")
        return real(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.startswith("holdfast_adapters.postgres")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_psycopg)

    async def main() -> None:
        async with opened("postgresql://user@127.0.0.1:1/db"):
            pass

    with pytest.raises(UnusableStore, match=r"holdfast\[postgres\]"):
        asyncio.run(main())


def test_python_without_sqlite_is_told_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A missing technology is named, with what to install."""
    real = builtins.__import__

    def without_sqlite(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "sqlite3" or name.startswith("sqlite3."):
            raise ModuleNotFoundError("No module named '_sqlite3'", name="_sqlite3")
        return real(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.startswith(("sqlite3", "holdfast_adapters.sqlite"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without_sqlite)

    async def main() -> None:
        async with opened(f"sqlite:///{tmp_path / 'x.db'}"):
            pass

    with pytest.raises(UnusableStore, match="module sqlite3"):
        asyncio.run(main())


def test_services_and_blobs_reach_the_stages() -> None:
    """Stages find the services by type, and a sync one waits for blobs in its thread."""
    greeting: Flow[str, str] = workflow("greeting", input=str, version="1").pipe(greet).pipe(keep_blob)

    async def main() -> None:
        async with opened(flows=(greeting,), services={Greeting: Greeting("Hello")}) as there, working(there):
            run_id = await create(there, greeting, "you")
            assert await ended(there, run_id) == [RunStatus.COMPLETED]
            outputs = await there.persistence.get_outputs(run_id, ["keep_blob"])
            assert outputs["keep_blob"].text == '"Hello you"'

    asyncio.run(main())


def test_blocking_the_loop_is_refused() -> None:
    """An async stage that would block the loop it runs on fails with the way out instead of hanging."""
    wrong: Flow[str, str] = workflow("wrong", input=str, version="1").pipe(block_wrongly)

    async def main() -> None:
        async with opened(flows=(wrong,)) as there, working(there):
            run_id = await create(there, wrong, "x")
            assert await ended(there, run_id) == [RunStatus.FAILED]
            run = await there.persistence.find_run(run_id)
            assert run is not None
            assert run.failure is not None
            assert "use await in an async stage" in run.failure.message

    asyncio.run(main())
