"""Sessions and connections of SQLAlchemy are joined as those of psycopg are."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

import pytest
import sqlalchemy
from psycopg import conninfo
from sqlalchemy import orm
from sqlalchemy.ext import asyncio as asynchronous

from holdfast import RunCreate, run_sync
from holdfast.errors import UnknownWorkflow, UnusableTransaction
from holdfast.kernel import Kernel
from holdfast_adapters.postgres import PostgresPersistence, within
from tests.adapters.postgres.joined import kernel_on, make_table, there

CREATE: Final = RunCreate(workflow_id="payment", input="A-17")
BOTH = (["A-17"], ["PENDING"])
NEITHER: tuple[list[str], list[str]] = ([], [])


class Base(orm.DeclarativeBase):
    """What the application maps."""


class Purchase(Base):
    """A row of the application's."""

    __tablename__ = "purchase"

    id: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    cents: orm.Mapped[int]


@pytest.fixture
def kernel(url: str) -> Kernel:
    """Return a kernel on the database."""
    make_table(url)
    return kernel_on(PostgresPersistence(url))


def address(url: str, driver: str = "postgresql+psycopg") -> sqlalchemy.URL:
    """Return the address as SQLAlchemy takes it."""
    parts = conninfo.conninfo_to_dict(url)
    return sqlalchemy.URL.create(
        driver, username=str(parts["user"]), database=str(parts["dbname"]), query={"host": str(parts["host"])}
    )


@pytest.fixture
def engine(url: str) -> Iterator[sqlalchemy.Engine]:
    """Give an engine on the database."""
    engine = sqlalchemy.create_engine(address(url))
    yield engine
    engine.dispose()


@pytest.mark.parametrize("stands", [True, False])
def test_a_session(url: str, kernel: Kernel, engine: sqlalchemy.Engine, *, stands: bool) -> None:
    """An object that was added to the session and the run are committed together, or not at all."""
    with orm.Session(engine) as session:
        session.add(Purchase(id="A-17", cents=4200))
        run_sync(within(session, kernel).dispatch(CREATE))
        assert there(url) == NEITHER
        if stands:
            session.commit()
    assert there(url) == (BOTH if stands else NEITHER)


def test_a_scoped_session(url: str, kernel: Kernel, engine: sqlalchemy.Engine) -> None:
    """A session of the current thread is joined through its registry."""
    session = orm.scoped_session(orm.sessionmaker(engine))
    session.add(Purchase(id="A-17", cents=4200))
    run_sync(within(session, kernel).dispatch(CREATE))
    session.commit()
    session.remove()
    assert there(url) == BOTH


def test_a_nested_transaction_of_a_session(url: str, kernel: Kernel, engine: sqlalchemy.Engine) -> None:
    """What was done behind a savepoint of SQLAlchemy is undone with it."""
    with orm.Session(engine) as session, session.begin():
        session.add(Purchase(id="A-17", cents=4200))
        nested = session.begin_nested()
        run_sync(within(session, kernel).dispatch(CREATE))
        nested.rollback()
    assert there(url) == (["A-17"], [])


def test_a_refusal_leaves_the_session_usable(url: str, kernel: Kernel, engine: sqlalchemy.Engine) -> None:
    """A caller whose command was refused may commit what it has."""
    with orm.Session(engine) as session, session.begin():
        session.add(Purchase(id="A-17", cents=4200))
        with pytest.raises(UnknownWorkflow):
            run_sync(within(session, kernel).dispatch(RunCreate(workflow_id="unknown")))
    assert there(url) == (["A-17"], [])


@pytest.mark.parametrize("stands", [True, False])
def test_a_connection(url: str, kernel: Kernel, engine: sqlalchemy.Engine, *, stands: bool) -> None:
    """A connection on which nothing was executed yet has its transaction begun, and commits it when told to."""
    with engine.connect() as connection:
        run_sync(within(connection, kernel).dispatch(CREATE))
        connection.execute(sqlalchemy.insert(Purchase).values(id="A-17", cents=4200))
        if stands:
            connection.commit()
    assert there(url) == (BOTH if stands else NEITHER)


def test_a_connection_with_nothing_else(url: str, kernel: Kernel, engine: sqlalchemy.Engine) -> None:
    """SQLAlchemy knows that there is something to commit although it has executed nothing itself."""
    with engine.connect() as connection:
        run_sync(within(connection, kernel).dispatch(CREATE))
        connection.commit()
    assert there(url)[1] == ["PENDING"]


def test_a_connection_that_commits_by_itself_is_refused(kernel: Kernel, engine: sqlalchemy.Engine) -> None:
    """The isolation level AUTOCOMMIT has no transaction to be part of."""
    with (
        engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection,
        pytest.raises(UnusableTransaction, match="commits every statement by itself"),
    ):
        run_sync(within(connection, kernel).dispatch(CREATE))


@pytest.mark.parametrize("stands", [True, False])
def test_an_async_session(url: str, kernel: Kernel, *, stands: bool) -> None:
    """With an AsyncSession dispatch is awaited."""

    async def main() -> None:
        engine = asynchronous.create_async_engine(address(url))
        async with asynchronous.AsyncSession(engine) as session:
            session.add(Purchase(id="A-17", cents=4200))
            await within(session, kernel).dispatch(CREATE)
            if stands:
                await session.commit()
        await engine.dispose()

    asyncio.run(main())
    assert there(url) == (BOTH if stands else NEITHER)


def test_an_async_connection(url: str, kernel: Kernel) -> None:
    """With an AsyncConnection dispatch is awaited, whether it has begun or not."""

    async def main() -> None:
        engine = asynchronous.create_async_engine(address(url))
        async with engine.connect() as connection:
            await within(connection, kernel).dispatch(CREATE)
            await connection.commit()
        async with engine.begin() as connection:
            await within(connection, kernel).dispatch(CREATE)
            await connection.execute(sqlalchemy.insert(Purchase).values(id="A-17", cents=4200))
        await engine.dispose()

    asyncio.run(main())
    assert there(url) == (["A-17"], ["PENDING", "PENDING"])


def test_another_driver_is_told_what_to_use(kernel: Kernel) -> None:
    """An engine on another driver has no connection that could be joined."""
    engine = sqlalchemy.create_engine("sqlite://")
    with orm.Session(engine) as session, pytest.raises(UnusableTransaction, match=r"sqlite3\.Connection.*psycopg"):
        run_sync(within(session, kernel).dispatch(CREATE))
    engine.dispose()
