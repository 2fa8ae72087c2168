"""Commands in a transaction of the application's stand or fall with its own rows."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.adapt import Buffer, Loader
from psycopg.rows import dict_row

from holdfast import Rejected, RunCancel, RunCreate, RunResume, run_sync
from holdfast.commands.job_execute import JobExecute
from holdfast.entities.stage import StageKey
from holdfast.errors import InvalidInput, TransactionLost, UnknownWorkflow, UnusableTransaction
from holdfast.kernel import Kernel
from holdfast_adapters.blobs import MemoryBlobStore
from holdfast_adapters.postgres import PostgresPersistence, within
from holdfast_testing import Harness
from tests.adapters.postgres.joined import INSERT, kernel_on, make_table, payment, there
from tests.postgres import create_database, drop_database

CREATE = RunCreate(workflow_id="payment", input="A-17")
KEYED = RunCreate(workflow_id="payment", input="A-17", idempotency_key="A-17")
BOTH = (["A-17"], ["PENDING"])
NEITHER: tuple[list[str], list[str]] = ([], [])


@pytest.fixture
def kernel(url: str) -> Kernel:
    """Return a kernel on the database, whose store nobody has opened."""
    make_table(url)
    return kernel_on(PostgresPersistence(url))


@pytest.fixture
def connection(url: str) -> Iterator[psycopg.Connection[Any]]:
    """Give a connection of the application's."""
    with psycopg.connect(url) as connection:
        yield connection


def test_a_row_and_its_run_are_committed_together(url: str, kernel: Kernel) -> None:
    """Nobody sees the run before the caller commits, and everybody sees both then."""
    with psycopg.connect(url) as connection:
        connection.execute(INSERT)
        run_sync(within(connection, kernel).dispatch(CREATE))
        assert there(url) == NEITHER
    assert there(url) == BOTH


def test_a_row_and_its_run_are_rolled_back_together(
    url: str, kernel: Kernel, connection: psycopg.Connection[Any]
) -> None:
    """What is rolled back leaves neither."""
    connection.execute(INSERT)
    run_sync(within(connection, kernel).dispatch(CREATE))
    connection.rollback()
    assert there(url) == NEITHER


def test_a_savepoint_of_the_caller_takes_the_run_back(
    url: str, kernel: Kernel, connection: psycopg.Connection[Any]
) -> None:
    """A run that was created behind a savepoint goes when that is rolled back, and the rest stays."""
    connection.execute(INSERT)
    with connection.transaction(force_rollback=True):
        run_sync(within(connection, kernel).dispatch(CREATE))
    connection.commit()
    assert there(url) == (["A-17"], [])


@pytest.mark.parametrize("stands", [True, False])
def test_an_async_connection_is_joined(url: str, kernel: Kernel, *, stands: bool) -> None:
    """In a transaction of an AsyncConnection dispatch is awaited."""

    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await connection.execute(INSERT)
            await within(connection, kernel).dispatch(CREATE)
            if not stands:
                await connection.rollback()

    asyncio.run(main())
    assert there(url) == (BOTH if stands else NEITHER)


def test_one_kernel_joins_transaction_after_transaction(
    url: str, kernel: Kernel, connection: psycopg.Connection[Any]
) -> None:
    """The kernel within a connection works in each transaction of it, and in several commands of one."""
    joined = within(connection, kernel)
    first = run_sync(joined.dispatch(CREATE))
    connection.commit()
    assert run_sync(joined.dispatch(RunCancel(run_id=first.run_id))).cancelled
    run_sync(joined.dispatch(CREATE))
    connection.commit()
    assert there(url)[1] == ["CANCELLED", "PENDING"]


def test_a_cancellation_that_is_rolled_back_did_not_happen(
    url: str, kernel: Kernel, connection: psycopg.Connection[Any]
) -> None:
    """The run goes on as if nobody had cancelled it."""
    joined = within(connection, kernel)
    created = run_sync(joined.dispatch(CREATE))
    connection.commit()
    run_sync(joined.dispatch(RunCancel(run_id=created.run_id)))
    connection.rollback()
    assert there(url)[1] == ["PENDING"]


def test_an_answer_is_part_of_the_transaction(url: str, kernel: Kernel, connection: psycopg.Connection[Any]) -> None:
    """A payload for a wait is kept when the caller commits, and not before."""
    joined = within(connection, kernel)
    created = run_sync(joined.dispatch(RunCreate(workflow_id="approval", input="A-17")))
    connection.commit()
    answer = RunResume(run_id=created.run_id, name="approval", payload="ada")
    run_sync(joined.dispatch(answer))
    connection.rollback()
    run_sync(joined.dispatch(answer))
    run_sync(joined.dispatch(answer))
    connection.commit()
    assert connection.execute("SELECT text FROM holdfast.message").fetchall() == [('"ada"',)]


def test_a_run_may_start_later(url: str, kernel: Kernel, connection: psycopg.Connection[Any]) -> None:
    """A start in the future is a timer of the transaction's."""
    at = datetime.now(UTC) + timedelta(hours=1)
    run_sync(within(connection, kernel).dispatch(RunCreate(workflow_id="payment", input="A-17", start_at=at)))
    connection.commit()
    assert connection.execute("SELECT kind FROM holdfast.timer").fetchall() == [("RUN_START",)]


# Keys.


def test_the_same_key_is_the_same_run(url: str, kernel: Kernel, connection: psycopg.Connection[Any]) -> None:
    """A key that was used in this transaction, or in one that is committed, gives the run that it gave first."""
    joined = within(connection, kernel)
    first = run_sync(joined.dispatch(KEYED))
    assert run_sync(joined.dispatch(KEYED)) == first
    connection.commit()
    assert run_sync(joined.dispatch(KEYED)) == first
    connection.commit()
    assert there(url)[1] == ["PENDING"]


def test_two_transactions_with_one_key_make_one_run(url: str, kernel: Kernel) -> None:
    """Who comes second waits until the first has committed, and is given its run."""

    async def main() -> None:
        connect = psycopg.AsyncConnection.connect
        async with await connect(url) as first, await connect(url) as second:
            created = await within(first, kernel).dispatch(KEYED)
            waiting = asyncio.create_task(within(second, kernel).dispatch(KEYED))
            await asyncio.wait([waiting], timeout=0.2)
            assert not waiting.done()
            await first.commit()
            assert await waiting == created

    asyncio.run(main())
    assert there(url)[1] == ["PENDING"]


@pytest.mark.parametrize("level", [psycopg.IsolationLevel.REPEATABLE_READ, psycopg.IsolationLevel.SERIALIZABLE])
def test_a_transaction_that_sees_the_past_has_to_begin_again(
    url: str, kernel: Kernel, connection: psycopg.Connection[Any], level: psycopg.IsolationLevel
) -> None:
    """What met another transaction above READ COMMITTED says so, leaves nothing, and is right the next time."""
    connection.isolation_level = level
    connection.execute("SELECT count(*) FROM public.purchase")
    with psycopg.connect(url) as other:
        first = run_sync(within(other, kernel).dispatch(KEYED))
    joined = within(connection, kernel)
    with pytest.raises(TransactionLost):
        run_sync(joined.dispatch(KEYED))
    connection.rollback()
    assert run_sync(joined.dispatch(KEYED)) == first
    with psycopg.connect(url) as other:
        run_sync(within(other, kernel).dispatch(RunCancel(run_id=first.run_id)))
    with pytest.raises(TransactionLost):
        run_sync(joined.dispatch(RunCancel(run_id=first.run_id, reason="too late")))
    connection.rollback()
    assert there(url)[1] == ["CANCELLED"]


def test_a_cancelled_dispatch_leaves_nothing(url: str, kernel: Kernel) -> None:
    """Half a command is taken back; what the caller wrote before may still be committed."""

    async def main() -> None:
        connect = psycopg.AsyncConnection.connect
        async with await connect(url) as first, await connect(url) as second:
            await within(first, kernel).dispatch(KEYED)
            await second.execute(INSERT)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await within(second, kernel).dispatch(KEYED)
            await first.rollback()

    asyncio.run(main())
    assert there(url) == (["A-17"], [])


def test_commands_of_one_connection_come_one_after_the_other(url: str, kernel: Kernel) -> None:
    """A second command at the same time is refused, and leaves the first and the transaction alone."""

    async def main() -> None:
        async with await psycopg.AsyncConnection.connect(url) as connection:
            await connection.execute(INSERT)
            both = [within(connection, kernel).dispatch(CREATE) for _ in range(2)]
            outcomes = await asyncio.gather(*both, return_exceptions=True)
            (refusal,) = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
            assert isinstance(refusal, UnusableTransaction)
            assert "one after the other" in str(refusal)

    asyncio.run(main())
    assert there(url) == BOTH


# What is refused.


@pytest.mark.parametrize(
    ("command", "refusal"),
    [
        (RunCreate(workflow_id="payment", input=17), InvalidInput),
        (RunCreate(workflow_id="unknown", input="A-17"), UnknownWorkflow),
        (RunCancel(run_id="a\x00b"), Rejected),
        (JobExecute(job=StageKey(run_id="r", stage_id="charge"), worker="w"), UnusableTransaction),
    ],
    ids=["input", "workflow", "nul", "another command"],
)
def test_a_refusal_leaves_the_transaction_as_it_was(
    url: str, kernel: Kernel, connection: psycopg.Connection[Any], command: Any, refusal: type[Exception]
) -> None:
    """A caller whose command is refused may go on in its transaction."""
    connection.execute(INSERT)
    with pytest.raises(refusal):
        run_sync(within(connection, kernel).dispatch(command))
    connection.commit()
    assert there(url) == (["A-17"], [])


def test_a_connection_that_commits_by_itself_is_refused(url: str, kernel: Kernel) -> None:
    """Autocommit has no transaction to be part of, unless one was opened."""
    with psycopg.connect(url, autocommit=True) as connection:
        joined = within(connection, kernel)
        with pytest.raises(UnusableTransaction, match="commits every statement by itself"):
            run_sync(joined.dispatch(CREATE))
        with connection.transaction():
            connection.execute(INSERT)
            run_sync(joined.dispatch(CREATE))
    assert there(url) == BOTH


def test_an_aborted_transaction_is_refused(url: str, kernel: Kernel, connection: psycopg.Connection[Any]) -> None:
    """An earlier error of the caller's has to be rolled back first."""
    with pytest.raises(psycopg.Error):
        connection.execute("SELECT 1/0")
    with pytest.raises(UnusableTransaction, match="aborted by an earlier error"):
        run_sync(within(connection, kernel).dispatch(CREATE))
    connection.rollback()


def test_a_transaction_that_may_not_write_is_refused(
    url: str, kernel: Kernel, connection: psycopg.Connection[Any]
) -> None:
    """A read-only transaction is told from a server that fails."""
    connection.read_only = True
    with pytest.raises(UnusableTransaction, match="read-only"):
        run_sync(within(connection, kernel).dispatch(CREATE))
    connection.rollback()


def test_a_connection_in_another_state_is_refused(url: str, kernel: Kernel) -> None:
    """A closed connection, one within a pipeline, and one of another encoding say what to do instead."""
    with psycopg.connect(url) as connection:
        joined = within(connection, kernel)
        with connection.pipeline(), pytest.raises(UnusableTransaction, match="pipeline"):
            run_sync(joined.dispatch(CREATE))
    with pytest.raises(UnusableTransaction, match="closed"):
        run_sync(joined.dispatch(CREATE))
    with (
        psycopg.connect(url, client_encoding="LATIN1") as connection,
        pytest.raises(UnusableTransaction, match="client_encoding=UTF8"),
    ):
        run_sync(within(connection, kernel).dispatch(CREATE))


@pytest.mark.parametrize("given", ["postgresql://", 17, None], ids=repr)
def test_something_else_is_refused(kernel: Kernel, given: object) -> None:
    """What is no connection is told what would be one."""
    with pytest.raises(UnusableTransaction, match="AsyncSession"):
        run_sync(within(given, kernel).dispatch(CREATE))


def test_another_store_is_refused(connection: psycopg.Connection[Any]) -> None:
    """A kernel on memory has nothing that could be part of a transaction."""
    with pytest.raises(UnusableTransaction, match="MemoryPersistence"):
        within(connection, Harness(payment).kernel)


def test_another_database_is_refused(url: str) -> None:
    """A connection to a database without a store, or with another one, is seen before anything is written."""
    make_table(url)
    other = create_database("holdfast_elsewhere")
    try:
        store = PostgresPersistence(url)
        with psycopg.connect(other) as connection:
            with pytest.raises(UnusableTransaction, match="no store in the database"):
                run_sync(within(connection, kernel_on(store)).dispatch(CREATE))
            assert connection.execute("SELECT 1").fetchall() == [(1,)]

        async def main() -> None:
            elsewhere = PostgresPersistence(other)
            await elsewhere.open()
            await elsewhere.close()
            await store.open()
            with psycopg.connect(other) as connection:
                with pytest.raises(UnusableTransaction, match="another database"):
                    await within(connection, kernel_on(store)).dispatch(CREATE)
                assert connection.execute("SELECT count(*) FROM holdfast.run").fetchall() == [(0,)]
            with psycopg.connect(url) as connection:
                await within(connection, kernel_on(store)).dispatch(CREATE)
            await store.close()

        asyncio.run(main())
        assert there(url)[1] == ["PENDING"]
    finally:
        drop_database("holdfast_elsewhere")


# Whatever else the connection is.


def test_settings_of_the_connection_play_no_part(url: str, kernel: Kernel) -> None:
    """Factories, adapters, prepared statements and a search path of the caller's change nothing."""

    class Text(Loader):
        """Reads all text as the same."""

        def load(self, data: Buffer) -> str:
            """Return it."""
            return "something"

    settings: dict[str, Any] = {
        "row_factory": dict_row,
        "cursor_factory": psycopg.ClientCursor,
        "prepare_threshold": 0,
        "options": "-c search_path=nowhere -c DateStyle=German -c TimeZone=Asia/Kathmandu",
    }
    with psycopg.connect(url, **settings) as connection:
        connection.adapters.register_loader("text", Text)
        connection.execute(INSERT)
        joined = within(connection, kernel)
        created = run_sync(joined.dispatch(KEYED))
        assert run_sync(joined.dispatch(KEYED)) == created
    assert there(url) == BOTH


def test_a_large_input_is_part_of_the_transaction(
    url: str, kernel: Kernel, connection: psycopg.Connection[Any]
) -> None:
    """An input that leaves its row is written to the same database, and goes with the run."""
    large = RunCreate(workflow_id="payment", input="x" * 100_000)
    run_sync(within(connection, kernel).dispatch(large))
    assert connection.execute("SELECT count(*) FROM holdfast.blob").fetchall() == [(1,)]
    connection.rollback()
    assert connection.execute("SELECT count(*) FROM holdfast.blob").fetchall() == [(0,)]
    run_sync(within(connection, kernel).dispatch(large))
    connection.commit()
    assert connection.execute("SELECT length(convert_from(data, 'UTF8')) FROM holdfast.blob").fetchall() == [(100_002,)]


def test_blobs_elsewhere_are_written_at_once(url: str, connection: psycopg.Connection[Any]) -> None:
    """Another place for large payloads is written before the commit; rolled back, nobody refers to what is there."""
    blobs = MemoryBlobStore()
    kernel = kernel_on(PostgresPersistence(url), blob_store=blobs)
    run_sync(within(connection, kernel).dispatch(RunCreate(workflow_id="payment", input="x" * 100_000)))
    connection.rollback()
    assert len(run_sync(blobs.list("", limit=10))) == 1
    assert connection.execute("SELECT count(*) FROM holdfast.run").fetchall() == [(0,)]
