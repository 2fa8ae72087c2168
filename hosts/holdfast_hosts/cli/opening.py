"""Opens the store that a command is about."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from holdfast.ports.definitions import Definitions
from holdfast_hosts.cli.exits import Exit
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.problem import Problem, Told
from holdfast_hosts.store_url import StoreKind, StoreUrl
from holdfast_hosts.wiring import Opened, open_kernel


@asynccontextmanager
async def opened(common: Common, *, registry: Definitions | None = None) -> AsyncGenerator[Opened]:
    """Open a store that is there already, to look at it or to steer its runs.

    Raises:
        Told: If there is none: a name that was mistyped must not become an empty store.
        UnusableStore: If it cannot be used.
        StoreUnavailable: If it cannot be reached.
    """
    url = existing(common.store)
    if url.address is not None:
        from holdfast_adapters.postgres import database_version

        if not await database_version(url.address):
            raise _nothing_there(url, why="That database has no tables of Holdfast.")
    async with open_kernel(url, registry=registry or no_workflows(), concurrency=1) as store:
        yield store


def existing(store: str) -> StoreUrl:
    """Return the URL *store*, taken apart, of a store that is there already.

    Raises:
        Told: If there is none.
        UnusableStore: If it is no store URL.
    """
    url = lasting(store)
    # A name that leads nowhere else than to nothing; what is there but cannot be read is for the adapter to say.
    if url.path is not None and not url.path.exists() and not url.path.is_symlink():
        raise _nothing_there(url, why=f"{_shown(url.path)} does not exist.")
    return url


def _nothing_there(url: StoreUrl, *, why: str) -> Told:
    return Told(
        Problem(
            code="E2141",
            what=f"There is no store {url}.",
            why=(why,),
            fix=(
                "Name it with --store or HOLDFAST_STORE.",
                "To create it: holdfast db migrate; to create it and see something happen: holdfast demo",
            ),
            exit=Exit.SETTINGS,
        )
    )


def lasting(store: str) -> StoreUrl:
    """Return the URL *store*, taken apart, of a store that outlives this process.

    Raises:
        Told: If it does not.
        UnusableStore: If it is no store URL.
    """
    url = StoreUrl.parse(store)
    if url.kind is StoreKind.MEMORY:
        raise Told(
            Problem(
                code="E2142",
                what="A store in memory is of no use here.",
                why=("It begins and ends with the process that opened it.",),
                fix=("Name a store that lasts: --store sqlite:///holdfast.db",),
                exit=Exit.SETTINGS,
            )
        )
    return url


def no_workflows() -> Definitions:
    """Return a registry for commands that execute nothing."""
    from holdfast.authoring.registry import Registry

    return Registry()


def store_now() -> datetime:
    """Return the present instant, to tell how long ago something was."""
    return datetime.now(UTC)


def _shown(path: Path) -> Path:
    return path if path.is_absolute() else Path.cwd() / path
