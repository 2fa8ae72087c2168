"""The part of the context by which a stage writes rows of the application's own together with its outcome."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from holdfast.authoring.watch import Watch
from holdfast.errors import InvalidInput
from holdfast.traces import Statement

#: A stage that has more to write than this writes a statement for many rows.
MAX_STATEMENTS: Final = 1_000
#: What a statement may begin with. Whatever ends the transaction, or changes the session it runs in, is not among it.
_WRITING: Final = frozenset({"CALL", "DELETE", "INSERT", "MERGE", "REPLACE", "SELECT", "UPDATE", "WITH"})
#: The first word behind comments. A comment within a comment is read differently by each database, so there is none.
_FIRST_WORD: Final = re.compile(r"(?:\s|--[^\n]*\n|/\*(?:(?!/\*|\*/).)*\*/)*([A-Za-z]+)", re.DOTALL)


class Writing:
    """Statements that stand or fall with the stage."""

    __slots__ = ()

    _watch: Watch

    def on_commit(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] | None = None, /) -> None:
        """Execute a statement in the transaction that completes this stage: exactly once, whatever crashes.

        It is executed when the stage has returned and in the order of the calls. An attempt that fails, waits or is
        cut off executes nothing. If the database refuses the statement, the attempt has failed with `StatementFailed`.
        Call it outside of `once`: a later attempt does not call a function whose result is kept.

        Args:
            sql: One INSERT, UPDATE, DELETE, MERGE, REPLACE, SELECT, WITH or CALL, on tables in the database of the
                store: with ``%s`` or ``%(name)s`` for values on Postgres, ``?`` or ``:name`` on SQLite.
            parameters: The values, of any type that psycopg or sqlite3 can write.

        Raises:
            InvalidInput: If it is another kind of statement, or one too many.
        """
        what = "statement of ctx.on_commit"
        if self._watch.is_undoing:
            raise InvalidInput(what, ["a compensation has none; it may be called again after it has returned"])
        first = _FIRST_WORD.match(sql)
        if first is None or first[1].upper() not in _WRITING:
            raise InvalidInput(what, [f"it should begin with one of {', '.join(sorted(_WRITING))}: {sql[:80]!r}"])
        if isinstance(parameters, str | bytes):
            raise InvalidInput(what, ["its values should be a sequence or a mapping; write (value,) for a single one"])
        if len(self._watch.statements) >= MAX_STATEMENTS:
            raise InvalidInput(what, [f"a stage has at most {MAX_STATEMENTS:,}; write many rows with one statement"])
        # What the caller does with its list afterwards is no concern of the statement.
        if parameters is not None:
            parameters = dict(parameters) if isinstance(parameters, Mapping) else tuple(parameters)
        self._watch.statements.append(Statement(sql, parameters))
