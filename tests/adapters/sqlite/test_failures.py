"""What becomes of a batch when SQLite, the disk or a value in it fails."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from holdfast.change import Change, Committed, Finish
from holdfast.driving import run_sync
from holdfast.entities.stage import StageStatus
from holdfast.errors import CommitUnknown, InvalidInput, StoreUnavailable
from holdfast.traces import NewLog
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_adapters.sqlite.lanes import Control
from holdfast_adapters.sqlite.transactions import Writer
from holdfast_testing.clock import START
from holdfast_testing.contracts.samples import (
    begin,
    commit,
    completed,
    created,
    events_of,
    everything,
    header,
    job,
    key,
    noted,
    operation,
    payload,
    run_id,
    settled,
    stand,
    take,
    the_run,
    the_stage,
)

#: Larger than what a full disk below still takes.
HUGE = '"' + "x" * 4_000_000 + '"'


@pytest.fixture
def writer(store: SqlitePersistence) -> Writer:
    """Return the writer of the store."""
    found = store._access.opened.writer
    assert found is not None
    return found


class Faulty:
    """A connection on which one statement fails, before or after it was carried out."""

    def __init__(self, connection: sqlite3.Connection, statement: str, *, code: int, after: bool = False) -> None:
        self._connection = connection
        self._statement = statement
        self._code = code
        self._after = after
        self.failed = 0

    def execute(self, text: str, parameters: Any = ()) -> sqlite3.Cursor:
        """Execute *text*, or fail."""
        if text.lstrip().startswith(self._statement):
            if self._after:
                self._connection.execute(text, parameters)
            self.failed += 1
            error = sqlite3.OperationalError("made to fail")
            error.sqlite_errorcode = self._code
            raise error
        return self._connection.execute(text, parameters)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def make_fail(writer: Writer, statement: str, *, code: int = sqlite3.SQLITE_IOERR, after: bool = False) -> Faulty:
    """Let statements that begin so fail on the writing connection."""
    faulty = Faulty(writer._connection, statement, code=code, after=after)
    writer._connection = faulty  # type: ignore[assignment]  # behaves as a connection but where it fails
    return faulty


def repair(writer: Writer, faulty: Faulty) -> None:
    """Let them succeed again."""
    writer._connection = faulty._connection


def together(store: SqlitePersistence, *changes: Change) -> list[Any]:
    """Commit each of *changes* in a call of its own, all in one batch, and return answers and errors."""
    entered, leave = threading.Event(), threading.Event()

    def wait(_: sqlite3.Connection, __: int) -> None:
        entered.set()
        leave.wait()

    async def gathered() -> list[Any]:
        blocking = asyncio.ensure_future(store._access.write(wait))
        while not entered.is_set():
            await asyncio.sleep(0)
        tasks = [asyncio.ensure_future(store.commit([change])) for change in changes]
        while store._access.opened.writing._queue.qsize() < len(changes):
            await asyncio.sleep(0)
        leave.set()
        await asyncio.gather(blocking, return_exceptions=True)
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    return asyncio.run(gathered())


# A failure of one change-set.


def test_a_value_without_a_form_is_refused_alone(store: SqlitePersistence) -> None:
    """Text that is no Unicode, or a number of more than 64 bits, fails its own change-set and none beside it."""
    broken = attrs.evolve(noted(2), logs=(log("\ud800"),))
    large = created(3, head=attrs.evolve(header(3), priority=2**70))
    begin(store, run=2)
    before = (the_run(store, 2), events_of(store, 2))
    first, unicode, second, number, third = together(store, created(4), broken, created(5), large, created(6))
    assert first == second == third == [Committed(version=1)]
    assert isinstance(unicode, InvalidInput)
    assert isinstance(unicode.__cause__, UnicodeEncodeError)
    assert isinstance(number, InvalidInput)
    assert isinstance(number.__cause__, OverflowError)
    assert run_sync(store.find_run(run_id(3))) is None
    assert (the_run(store, 2), events_of(store, 2)) == before


def log(message: str) -> NewLog:
    """Return a log line."""
    return NewLog(key=key(run=2), attempt=1, level="info", message=message, data={}, at=START)


def test_a_defect_is_told_to_its_caller(store: SqlitePersistence) -> None:
    """A change-set that no kernel would make, such as a second job of one key, fails alone and writes nothing."""
    begin(store)
    twice = attrs.evolve(noted(), step=attrs.evolve(noted().step, jobs=(job(key("b")), job(key("b")))))
    before = the_run(store)
    good, bad, other = together(store, created(2), twice, created(3))
    assert good == other == [Committed(version=1)]
    assert isinstance(bad, StoreUnavailable)
    assert isinstance(bad.__cause__, sqlite3.IntegrityError)
    assert the_run(store) == before


def test_what_cannot_be_encoded_never_reaches_the_writer(store: SqlitePersistence, writer: Writer) -> None:
    """A value that is no JSON fails on its caller's side."""
    stand(store, created())
    before = writer.transactions
    with pytest.raises(TypeError):
        commit(store, attrs.evolve(noted(), logs=(attrs.evolve(log("x"), data={"n": object()}),)))
    assert writer.transactions == before


# A failure of the disk.


@pytest.fixture
def full(store: SqlitePersistence, writer: Writer) -> Iterator[None]:
    """Let the file take about a hundred pages more."""
    connection = writer._connection
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 100}").fetchone()
    yield
    connection.execute("PRAGMA max_page_count = 1000000").fetchone()


@pytest.mark.usefixtures("full")
def test_a_full_disk_writes_nothing(store: SqlitePersistence, writer: Writer) -> None:
    """What does not fit is refused whole, with SQLite's reason, and the store goes on with what does."""
    begin(store)
    lease = take(store)
    before = everything(store)
    with pytest.raises(StoreUnavailable) as caught:
        commit(store, completed(lease, output=HUGE))
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert caught.value.__cause__.sqlite_errorcode == sqlite3.SQLITE_FULL
    assert everything(store) == before
    assert not run_sync(store.is_settled(lease.key, epoch=lease.epoch))
    stand(store, completed(lease, output='"small"'))


@pytest.mark.usefixtures("full")
def test_a_full_disk_spares_the_neighbours(store: SqlitePersistence) -> None:
    """A change-set that does not fit fails alone; smaller ones of its batch stand."""
    begin(store)
    lease = take(store)
    first, huge, last = together(store, created(2), completed(lease, output=HUGE), created(3))
    assert first == last == [Committed(version=1)]
    assert isinstance(huge, StoreUnavailable)
    assert the_stage(store).status is StageStatus.RUNNING


def test_room_again_is_enough(store: SqlitePersistence, writer: Writer) -> None:
    """When the disk has room again the same change-set stands, without opening the store anew."""
    begin(store)
    lease = take(store)
    (pages,) = writer._connection.execute("PRAGMA page_count").fetchone()
    writer._connection.execute(f"PRAGMA max_page_count = {pages + 10}").fetchone()
    with pytest.raises(StoreUnavailable):
        commit(store, completed(lease, output=HUGE))
    writer._connection.execute("PRAGMA max_page_count = 1000000").fetchone()
    stand(store, completed(lease, output=HUGE))


# A failure of a statement, and one of COMMIT.


def test_a_failing_batch_is_tried_one_by_one(store: SqlitePersistence, writer: Writer) -> None:
    """When a statement of the common transaction fails, each request has a transaction of its own, in order."""
    before = writer.transactions
    faulty = make_fail(writer, "INSERT INTO operation")
    with_operation = attrs.evolve(created(3), operations=(operation(),))
    answers = together(store, created(1), created(2), with_operation)
    repair(writer, faulty)
    assert answers[:2] == [[Committed(version=1)]] * 2
    assert isinstance(answers[2], StoreUnavailable)
    assert faulty.failed == 2
    assert writer.transactions == before + 1 + 2


def test_a_transaction_that_cannot_begin_writes_nothing(store: SqlitePersistence, writer: Writer) -> None:
    """While the transaction cannot even begin, every request of the batch is refused with the reason."""
    faulty = make_fail(writer, "BEGIN", code=sqlite3.SQLITE_BUSY)
    with pytest.raises(StoreUnavailable) as caught:
        commit(store, created())
    repair(writer, faulty)
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert run_sync(store.find_run(run_id())) is None
    stand(store, created())


@pytest.mark.parametrize("happened", [True, False], ids=["happened", "did not happen"])
def test_a_commit_that_fails_is_unknown(store: SqlitePersistence, writer: Writer, happened: bool) -> None:
    """An I/O error out of COMMIT leaves open whether it happened; looking it up tells."""
    begin(store)
    lease = take(store)
    faulty = make_fail(writer, "COMMIT", after=happened)
    with pytest.raises(CommitUnknown) as caught:
        commit(store, settled(lease, Finish(status=StageStatus.COMPLETED, output=payload("1"))))
    repair(writer, faulty)
    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)
    assert run_sync(store.is_settled(lease.key, epoch=lease.epoch)) is happened
    stand(store, created(2))


def test_an_unknown_commit_is_not_repeated(store: SqlitePersistence, writer: Writer) -> None:
    """A batch whose commit is unknown is unknown to all of its callers and is not tried again."""
    faulty = make_fail(writer, "COMMIT", after=True)
    answers = together(store, created(1), created(2), created(3))
    repair(writer, faulty)
    assert all(isinstance(answer, CommitUnknown) for answer in answers)
    assert len({id(answer) for answer in answers}) == len(answers)
    assert [len(events_of(store, number)) for number in (1, 2, 3)] == [1, 1, 1]


@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_BUSY])
def test_a_commit_that_cannot_have_happened_is_known(store: SqlitePersistence, writer: Writer, code: int) -> None:
    """A full disk or a missing lock at COMMIT means that nothing was written."""
    faulty = make_fail(writer, "COMMIT", code=code)
    with pytest.raises(StoreUnavailable):
        commit(store, created())
    repair(writer, faulty)
    assert run_sync(store.find_run(run_id())) is None
    stand(store, created())


def deny(*_: object) -> int:
    """Allow nothing."""
    return sqlite3.SQLITE_DENY


def test_a_failing_read_is_unavailable(store: SqlitePersistence, path: Path) -> None:
    """A read that SQLite refuses raises with the reason, and the next one is answered."""
    stand(store, created())
    reader = store._access.opened._reader
    assert reader is not None
    reader.set_authorizer(deny)
    with pytest.raises(StoreUnavailable) as caught:
        run_sync(store.find_run(run_id()))
    reader.set_authorizer(None)
    assert isinstance(caught.value.__cause__, sqlite3.DatabaseError)
    assert the_run(store).version == 1


def rested(store: SqlitePersistence) -> None:
    """Wait until the writer has done what its last batch left to be done."""
    run_sync(store._access.opened.writing.submit(Control(lambda: None)))


def test_a_checkpoint_that_fails_costs_nothing_but_room(store: SqlitePersistence, writer: Writer) -> None:
    """A checkpoint that SQLite refuses is told to the doctor and tried again; commits stand meanwhile."""
    faulty = make_fail(writer, "PRAGMA wal_checkpoint")
    writer._checkpoint_above = 0
    stand(store, created())
    rested(store)
    assert faulty.failed == 1
    assert run_sync(store.facts()).checkpoint_error == "made to fail"
    repair(writer, faulty)
    writer._checkpoint_above = 0
    stand(store, created(2))
    rested(store)
    assert run_sync(store.facts()).checkpoint_error is None
