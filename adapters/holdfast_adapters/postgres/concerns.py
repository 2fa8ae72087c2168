"""What change-sets of one wave may have in common, so that the later cannot be judged before the earlier is written."""

from __future__ import annotations

from typing import NamedTuple

from holdfast_adapters.postgres.prepared import Prepared, Scope
from holdfast_adapters.postgres.singles import SingleKey


class Kin(NamedTuple):
    """The runs that what happens to the run of a change-set may concern."""

    #: Id of the run that started it, or is to start it.
    parent: str | None
    #: The singleton key of its run, if the change-set concerns others of it.
    single: SingleKey | None


class Concerns:
    """What some change-sets may concern that others are judged by, across runs."""

    def __init__(self) -> None:
        self.runs: set[str] = set()
        #: Parents of the runs.
        self.parents: set[str] = set()
        self.operations: set[tuple[str, str, str]] = set()
        self.scopes: set[Scope] = set()
        self.singles: set[SingleKey] = set()

    def add(self, change: Prepared, kin: Kin) -> None:
        """Add what *change* may concern."""
        self.runs.add(change.run_id)
        self.operations.update(change.operations)
        if kin.parent is not None:
            self.parents.add(kin.parent)
        if kin.single is not None:
            self.singles.add(kin.single)
        if change.scope is not None:
            self.scopes.add(change.scope)

    def is_related(self, change: Prepared, kin: Kin) -> bool:
        """Return whether the run of *change* is the parent or a child of one of these, or its key is one of theirs."""
        return (
            change.run_id in self.parents
            or kin.parent in self.runs
            or change.scope in self.scopes
            or kin.single in self.singles
        )
