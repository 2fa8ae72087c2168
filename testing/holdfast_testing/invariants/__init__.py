"""The promises of the engine as checks that read through ports, and the ledger that they compare with.

Each invariant is one small function, named for what it promises, its number in its docstring. `witnessed` wraps a store
so that the cheap ones are checked at every write; `check_all` checks the others, and those again, once all is quiet. A
list of violations comes back, and an empty one is good.
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.ports.blob_store import BlobStore
from holdfast.ports.definitions import Definitions
from holdfast.ports.persistence import Persistence
from holdfast_testing.invariants.at_commit import fold_gives_the_rows, nobody_is_orphaned, nothing_is_lacking
from holdfast_testing.invariants.between_runs import (
    children_follow_their_parents,
    keyed_results_are_made_once,
    singletons_follow_each_other,
)
from holdfast_testing.invariants.history import History, histories
from holdfast_testing.invariants.ledger import Effect, Ledger, LedgerSink, Observation, Violation
from holdfast_testing.invariants.of_commands import (
    acknowledged_is_durable,
    identities,
    open_books,
    outcomes_can_be_found_out,
    retries_do_not_repeat,
    same_key_same_run,
)
from holdfast_testing.invariants.of_events import events_arrive_in_order, every_event_arrives
from holdfast_testing.invariants.of_graphs import (
    joins_fire_once,
    maps_keep_their_window,
    nothing_taken_is_missing,
    one_edge_is_taken,
    skipped_never_execute,
    stages_see_their_predecessors,
)
from holdfast_testing.invariants.of_runs import (
    attempts_are_bounded,
    effect_keys_are_stable,
    generations_do_not_mix,
    held_back_begins_nothing,
    nothing_happens_after_the_end,
    one_output_that_never_changes,
    what_was_done_is_undone,
    workers_know_what_counts,
)
from holdfast_testing.invariants.of_waits import accepted_is_not_lost, nothing_is_early, waits_end_once
from holdfast_testing.invariants.witness import observe, witnessed

__all__ = [
    "Effect",
    "Ledger",
    "LedgerSink",
    "Observation",
    "Violation",
    "check_all",
    "check_histories",
    "check_run",
    "identities",
    "observe",
    "witnessed",
]

_OF_RUNS = (
    one_output_that_never_changes,
    workers_know_what_counts,
    nothing_happens_after_the_end,
    held_back_begins_nothing,
    attempts_are_bounded,
    stages_see_their_predecessors,
    joins_fire_once,
    nothing_taken_is_missing,
    one_edge_is_taken,
    skipped_never_execute,
    maps_keep_their_window,
    generations_do_not_mix,
    effect_keys_are_stable,
    what_was_done_is_undone,
    waits_end_once,
    nothing_is_early,
)
_OF_COMMANDS = (
    same_key_same_run,
    retries_do_not_repeat,
    acknowledged_is_durable,
    outcomes_can_be_found_out,
    accepted_is_not_lost,
)


async def check_all(
    persistence: Persistence, *, ledger: Ledger, definitions: Definitions, blob_store: BlobStore
) -> list[Violation]:
    """Return every promise that is broken, those found by witnesses while the story went on first.

    Call it once nothing is left to do: it expects all events to be delivered.

    Args:
        persistence: The store, as a new process opens it.
        ledger: What is known outside of it.
        definitions: The workflows of its runs.
        blob_store: Where its large payloads live.
    """
    runs = await histories(persistence, definitions=definitions, blob_store=blob_store)
    found = [*ledger.violations, *nobody_is_orphaned(await persistence.list_orphans(limit=10))]
    found.extend(await check_histories(runs, ledger, persistence=persistence))
    return found


async def check_histories(runs: Sequence[History], ledger: Ledger, *, persistence: Persistence) -> list[Violation]:
    """Return the promises that are broken for runs that were read already, and for what the ledger knows.

    The work grows with the square of the ledger. Where it is long it can be split: into parts of which each holds runs
    and everything that was asked about them, under whatever key.
    """
    found: list[Violation] = []
    for history in runs:
        found.extend(check_run(history, ledger))
    books = await open_books(runs, ledger, persistence=persistence)
    for check in _OF_COMMANDS:
        found.extend(check(books))
    found.extend(keyed_results_are_made_once(runs))
    found.extend(children_follow_their_parents(runs))
    found.extend(singletons_follow_each_other(runs))
    found.extend(every_event_arrives(runs, ledger))
    found.extend(events_arrive_in_order(ledger))
    return found


def check_run(history: History, ledger: Ledger) -> list[Violation]:
    """Return the promises that are broken for one run."""
    found = [violation for check in _OF_RUNS for violation in check(history, ledger)]
    found.extend(fold_gives_the_rows(history.seen))
    if history.definition is not None:
        found.extend(nothing_is_lacking(history.seen, definition=history.definition))
    return found
