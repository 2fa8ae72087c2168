"""The contract of statements: what a stage writes to tables of the application's stands exactly when its outcome does.

It is for stores with a database. Beside the store it asks for `book`, a table in that database.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import attrs
import pytest

from holdfast.change import Change, Committed, Refusal, Step
from holdfast.driving import run_sync
from holdfast.entities.stage import Lease, StageStatus
from holdfast.errors import LeaseLost, StaleVersion, StatementFailed
from holdfast.ports.persistence import Persistence
from holdfast.traces import Statement
from holdfast_testing.contracts.samples import (
    begin,
    commit,
    completed,
    events_of,
    everything,
    key,
    noted,
    refuse,
    run_id,
    stand,
    take,
    the_run,
    the_stage,
)


class Book(Protocol):
    """A table ``book`` in the database of the store, with a text ``entry`` that is its key and an integer ``amount``.

    No amount may be below zero.
    """

    def note(self, entry: str, amount: int) -> Statement:
        """Return the statement that inserts a row, with placeholders."""
        ...

    def entries(self) -> Sequence[tuple[str, int]]:
        """Return the rows in order of entry, as another connection sees them."""
        ...


def writing(lease: Lease, *statements: Statement) -> Change:
    """Return the change-set that completes the stage with *statements*."""
    return attrs.evolve(completed(lease), statements=statements)


class StatementsContract:
    """What every store with a database must do with statements."""

    def test_statements_stand_with_the_change_set(self, persistence: Persistence, book: Book) -> None:
        """Rows of the application's are there when the change-set is."""
        begin(persistence)
        assert book.entries() == []
        stand(persistence, writing(take(persistence), book.note("one", 1), book.note("two", 2)))
        assert book.entries() == [("one", 1), ("two", 2)]
        assert the_stage(persistence).status is StageStatus.COMPLETED

    def test_statements_are_executed_in_order(self, persistence: Persistence, book: Book) -> None:
        """A later statement sees what an earlier one wrote."""
        begin(persistence)
        double = Statement("UPDATE book SET amount = 2 * amount")
        stand(persistence, writing(take(persistence), book.note("one", 1), double, book.note("two", 2), double))
        assert book.entries() == [("one", 4), ("two", 4)]

    def test_statements_may_return_rows(self, persistence: Persistence, book: Book) -> None:
        """What a statement finds is left alone."""
        begin(persistence)
        returning = Statement("INSERT INTO book (entry, amount) VALUES ('one', 1), ('two', 2) RETURNING entry")
        stand(persistence, writing(take(persistence), returning, Statement("SELECT * FROM book")))
        assert len(book.entries()) == 2

    @pytest.mark.parametrize("kind", ["lost", "stale", "repeated"])
    def test_statements_of_a_refused_change_set(self, persistence: Persistence, book: Book, kind: str) -> None:
        """Nothing of a change-set that is refused is executed."""
        begin(persistence)
        lease = take(persistence)
        change = writing(lease, book.note("one", 1))
        if kind == "lost":
            change = writing(attrs.evolve(lease, epoch=lease.epoch + 1), book.note("one", 1))
        elif kind == "stale":
            change = attrs.evolve(change, require=attrs.evolve(change.require, version=99))
        else:
            stand(persistence, writing(lease, book.note("zero", 0)))
        refusal = refuse(persistence, change)
        assert isinstance(refusal, StaleVersion if kind == "stale" else LeaseLost)
        assert ("one", 1) not in book.entries()

    @pytest.mark.parametrize(
        "bad",
        [
            Statement("INSERT INTO book (entry, amount) VALUES ('bad', -1)"),
            Statement("INSERT INTO book (entry, amount) VALUES ('one', 1)"),
            Statement("INSERT INTO nowhere (entry) VALUES ('one')"),
            Statement("INSERT INTO book"),
            Statement("INSERT INTO book (entry, amount) VALUES ('bad', 1); DELETE FROM book"),
            Statement("INSERT INTO book (entry, amount) VALUES ('bad', 1); COMMIT"),
        ],
        ids=["constraint", "key", "table", "syntax", "two", "commit"],
    )
    def test_a_statement_that_fails_refuses_its_change_set(
        self, persistence: Persistence, book: Book, bad: Statement
    ) -> None:
        """Nothing of a change-set stands that has a statement which the database refuses; its lease does."""
        begin(persistence)
        lease = take(persistence)
        before = everything(persistence)
        refusal = refuse(persistence, writing(lease, book.note("one", 1), bad))
        assert isinstance(refusal, StatementFailed)
        assert refusal.sql == bad.sql
        assert book.entries() == []
        assert everything(persistence) == before
        stand(persistence, writing(lease, book.note("one", 1)))
        assert book.entries() == [("one", 1)]

    @pytest.mark.parametrize(
        "values", [(1,), (1, 2, 3), (object(), 1), {"entry": "one"}], ids=["few", "many", "type", "named"]
    )
    def test_values_that_do_not_fit_refuse_the_change_set(
        self, persistence: Persistence, book: Book, values: Any
    ) -> None:
        """Too few and too many values, and those of a type that no driver knows, are failures of the statement."""
        begin(persistence)
        bad = attrs.evolve(book.note("one", 1), parameters=values)
        assert isinstance(refuse(persistence, writing(take(persistence), bad)), StatementFailed)
        assert book.entries() == []

    def test_neighbours_are_untouched(self, persistence: Persistence, book: Book) -> None:
        """Of change-sets in one call only that with the bad statement is refused, and each sees those before it."""
        begin(persistence, "a", "b", "c")
        bad = Statement("UPDATE book SET amount = -1")
        outcomes: list[Committed | Refusal] = commit(
            persistence,
            noted(),
            writing(take(persistence), book.note("one", 1)),
            writing(take(persistence, key("b")), book.note("two", 2), bad),
            writing(take(persistence, key("c")), Statement("UPDATE book SET amount = amount + 10")),
            noted(),
        )
        assert [isinstance(outcome, Committed) for outcome in outcomes] == [True, True, False, True, True]
        assert book.entries() == [("one", 11)]
        versions = [outcome.version for outcome in outcomes if isinstance(outcome, Committed)]
        assert versions == sorted(versions)

    def test_a_change_set_may_do_anything_besides(self, persistence: Persistence, book: Book) -> None:
        """Statements go with change-sets of any kind, fenced or not."""
        begin(persistence)
        stand(persistence, Change(run_id=run_id(), step=Step(), statements=(book.note("one", 1),)))
        assert book.entries() == [("one", 1)]
        told = len(events_of(persistence))
        stand(persistence, attrs.evolve(noted(), statements=(book.note("two", 2),)))
        assert len(events_of(persistence)) == told + 1
        assert the_run(persistence).version > 1
        assert run_sync(persistence.is_settled(key(), epoch=1)) is False
