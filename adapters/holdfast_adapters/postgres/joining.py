"""Commands within a transaction of the application's: its rows and its workflow stand or fall together."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, TypeVar, cast
from weakref import WeakSet

from psycopg import errors

from holdfast.errors import TransactionLost, UnusableTransaction
from holdfast.joining import JoinedKernel
from holdfast.kernel import Kernel
from holdfast_adapters.postgres.access import IDENTITY, Access
from holdfast_adapters.postgres.blobs import PostgresBlobStore
from holdfast_adapters.postgres.driver import Driver, check, driver_of, run
from holdfast_adapters.postgres.notices import CHANNEL, Notice, written
from holdfast_adapters.postgres.persistence import PostgresPersistence
from holdfast_adapters.postgres.prepared import Prepared
from holdfast_adapters.postgres.refusals import FAULTS, MEETINGS, refused
from holdfast_adapters.postgres.statements import Call, Statement
from holdfast_adapters.postgres.wave import Outcome, judge
from holdfast_adapters.postgres.wire import Rows, Wire

T = TypeVar("T")

#: How often a change-set is tried that met another transaction and may see what that one did.
MOST_MEETINGS: Final = 3

#: Around a command: whatever it is refused for must not abort the transaction.
SAVEPOINT: Final = Statement("SAVEPOINT holdfast")
RELEASE: Final = Statement("RELEASE SAVEPOINT holdfast")
ROLLBACK_TO: Final = Statement("ROLLBACK TO SAVEPOINT holdfast")
#: Around each try of its change-set.
TRY: Final = Statement("SAVEPOINT holdfast_try")
END_TRY: Final = Statement("RELEASE SAVEPOINT holdfast_try")
ROLLBACK_TRY: Final = Statement("ROLLBACK TO SAVEPOINT holdfast_try")

_LEVEL: Final = Statement("SELECT current_setting('transaction_isolation')")
_IDENTITY: Final = Statement(IDENTITY)
_NOTIFY: Final = Statement("SELECT pg_notify($1::text, $2::text)")
#: Postgres sends it when the transaction is committed, and forgets it when it is rolled back.
_SOMETHING_IS_DUE: Final[Call] = (_NOTIFY, (CHANNEL, written(Notice(now=True), name="")))

_READ_COMMITTED: Final = "read committed"
#: Connections with a command under way. Another one between its savepoints would be taken back, or kept, with it.
_UNDER_WAY: Final[WeakSet[Driver]] = WeakSet()


def within(connection: object, kernel: Kernel) -> Kernel:
    """Return *kernel* within the transaction that is open, or begins with this, on *connection*.

    What its commands do stands when you commit, together with what else you wrote, and vanishes when you roll back.
    A refused command leaves the transaction as it was. Create, resume, pause, retry, rerun and cancel runs with it::

        with psycopg.connect(url) as connection:
            connection.execute("INSERT INTO orders …")
            run_sync(within(connection, kernel).dispatch(RunCreate(workflow_id="order", input=…)))

    Args:
        connection: A connection of psycopg, or a session or connection of SQLAlchemy on it, each sync or async, to the
            database of the kernel's store. With a sync one, dispatch is driven by `run_sync`, otherwise awaited.
        kernel: A kernel on a Postgres store, which need not be open.

    Raises:
        UnusableTransaction: If the kernel's store is not Postgres. Dispatching raises it for what *connection* is.
    """
    persistence: object = kernel.ports.persistence
    if not isinstance(persistence, PostgresPersistence) or isinstance(persistence, JoinedPersistence):
        raise UnusableTransaction(
            f"The store of the kernel is {type(persistence).__name__}.",
            fix="Transactions can be shared with a kernel on PostgresPersistence alone.",
        )
    return JoinedKernel(kernel, JoinedTransaction(connection, kernel, persistence.access))


class JoinedAccess(Access):
    """The database as one transaction of the application's sees it."""

    def __init__(self, given: object, store: Access) -> None:
        super().__init__(store.settings)
        self._given = given
        self._store = store
        self._driver: Driver | None = None
        self._is_known = False
        self._level = ""

    async def begin(self) -> None:
        """Look at the transaction, and remember where it stands.

        Raises:
            UnusableTransaction: If nothing can be part of it.
        """
        driver = await driver_of(self._given)
        check(driver)
        if driver in _UNDER_WAY:
            raise UnusableTransaction(
                "Another command is under way on the connection.", fix="Dispatch one after the other."
            )
        self._is_known = self._is_known and driver is self._driver
        self._driver = driver
        _UNDER_WAY.add(driver)
        try:
            _, ((self._level,),) = await self.run((SAVEPOINT, ()), (_LEVEL, ()))
        except BaseException:
            self.rest()
            raise

    def rest(self) -> None:
        """Let the next command have the connection."""
        assert self._driver is not None, "the transaction was looked at"
        _UNDER_WAY.discard(self._driver)

    async def look(self) -> None:
        """Look at the database, the first time that it is met.

        Raises:
            UnusableTransaction: If it is not that of the store, as far as anybody can tell.
        """
        if self._is_known:
            return
        (found,) = await self.run((_IDENTITY, ()))
        expected = self._store.identity
        if expected is not None and found != [(expected,)]:
            raise UnusableTransaction(
                f"The connection is to another database than the store {self.name}.",
                fix="A transaction stays within one database: connect to that of the store.",
            )
        self._is_known = True

    async def end(self) -> None:
        """Leave what was done in the transaction."""
        await self.run((RELEASE, ()))

    async def take_back(self) -> None:
        """Leave the transaction as it was; if that cannot be, it is aborted already and will not be committed."""
        with suppress(*FAULTS):
            await self.run((ROLLBACK_TO, ()), (RELEASE, ()))

    async def run(self, *calls: Call) -> list[Rows]:
        """Execute the calls in the transaction."""
        assert self._driver is not None, "the transaction was looked at"
        return await run(self._driver, calls)

    async def commit(self, changes: Sequence[Prepared]) -> list[Outcome]:
        """Apply change-sets; they become durable, and others are told of them, when the caller commits."""
        for tries in range(1, MOST_MEETINGS + 1):
            try:
                verdict = await judge(self, changes, now=self.instant(), opening=TRY)
                await self.run(*verdict.calls, (END_TRY, ()), _SOMETHING_IS_DUE)
            except MEETINGS:
                # Above this level the transaction sees for ever what it saw at first.
                if self._level != _READ_COMMITTED or tries == MOST_MEETINGS:
                    raise
                await self.run((ROLLBACK_TRY, ()), (END_TRY, ()))
            else:
                return verdict.outcomes
        raise AssertionError("the last try returns or raises")

    async def read(self, *calls: Call) -> list[Rows]:
        """Return what the calls find."""
        if any("\x00" in value for _, values in calls for value in values if isinstance(value, str)):
            # No row can hold NUL, so nothing is found by a text that does; asking would abort the transaction.
            return [[] for _ in calls]
        return await self.run(*calls)

    async def use(self, act: Callable[[Wire], Awaitable[T]]) -> T:
        """Do something in the transaction."""
        # All that a blob store does with a wire is to run statements.
        return await act(cast(Wire, self))

    async def write(self, act: Callable[[Wire], Awaitable[T]]) -> T:
        """Do something in the transaction."""
        return await self.use(act)


class JoinedPersistence(PostgresPersistence):
    """The store as one transaction of the application's sees it; it is open for as long as that is."""

    def __init__(self, access: JoinedAccess) -> None:
        super().__init__(access.settings.url)
        self._access = access
        self.blob_store = PostgresBlobStore(access)

    async def open(self) -> None:
        """Do nothing."""

    async def close(self) -> None:
        """Do nothing."""


class JoinedTransaction:
    """The application's transaction, joined by commands one after the other."""

    def __init__(self, given: object, kernel: Kernel, store: Access) -> None:
        self._access = JoinedAccess(given, store)
        joined = JoinedPersistence(self._access)
        self.persistence = joined
        # Elsewhere it is written at once; rolled back it is a blob that nobody refers to, as after a crash.
        given_blobs = kernel.ports.blob_store
        self.blob_store = joined.blob_store if isinstance(given_blobs, PostgresBlobStore) else given_blobs

    async def within(self, act: Callable[[], Awaitable[T]]) -> T:
        """Return what *act* returns; if it raises, nothing that it wrote is left in the transaction, which goes on."""
        access = self._access
        try:
            await access.begin()
            try:
                result = await self._within(act)
            finally:
                access.rest()
        except FAULTS as error:
            raise _told(error) from error
        return result

    async def _within(self, act: Callable[[], Awaitable[T]]) -> T:
        access = self._access
        try:
            await access.look()
            result = await act()
        except BaseException:
            # Also when it was cancelled: half a command must not be committed.
            await access.take_back()
            raise
        await access.end()
        return result


def _told(error: Exception) -> Exception:
    """Return what to tell a caller of whose command nothing is left because of *error*."""
    if isinstance(error, MEETINGS):
        return TransactionLost(str(error).strip().partition("\n")[0])
    for kinds, why, fix in _UNUSABLE:
        if isinstance(error, kinds):
            return UnusableTransaction(why, fix=fix)
    return refused(error)


#: What tells that the transaction, and not the server, is in the way.
_UNUSABLE: Final = (
    (
        (errors.UndefinedTable, errors.InvalidSchemaName, errors.UndefinedColumn, errors.UndefinedFunction),
        "There is no store in the database of the connection, or one of another version.",
        "Connect to the database of the store, and bring it up to date: holdfast db migrate",
    ),
    (
        errors.InsufficientPrivilege,
        "The user of the connection may not use the store.",
        "Grant it what the user of the workers may do in the schema holdfast.",
    ),
    (errors.ReadOnlySqlTransaction, "The transaction is read-only.", "Begin one that may write."),
    (errors.InFailedSqlTransaction, "The transaction is aborted.", "Roll it back and begin another one."),
)
