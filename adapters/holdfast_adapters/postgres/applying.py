"""Applying change-sets in a transaction: in one round trip where what is known suffices, otherwise judged in waves.

What a plain step is judged by is the row of its run and that of its job. An event loop that was the last to commit to
the run knows both, and decides without asking. What it sends then is one pipeline: the runs are locked and compared,
the writes follow, and the commit. Should a run have another version by then, or anything else not be as supposed, a
division by zero ends the transaction: nothing of it stands, and the change-sets are judged by what the store holds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from psycopg.errors import DivisionByZero

from holdfast.change import Committed, Finish
from holdfast.errors import CommitUnknown
from holdfast_adapters.postgres import rows
from holdfast_adapters.postgres.executing import execute
from holdfast_adapters.postgres.flow import GRANTING
from holdfast_adapters.postgres.found import Found, JobRow
from holdfast_adapters.postgres.known import Known, KnownRun
from holdfast_adapters.postgres.prepared import JobKey, Prepared
from holdfast_adapters.postgres.runstate import HOLDS, PARENT, SINGLETON
from holdfast_adapters.postgres.statements import Call, Statement, with_rows
from holdfast_adapters.postgres.wave import BEGIN, COMMIT, ROLLBACK, Outcome, Verdict, Wave, judge
from holdfast_adapters.postgres.wire import ConnectionLost, Wire

#: How long ago, in microseconds, the instant may be that was supposed, once the runs are locked.
LATEST: Final = 50_000

#: Locks the runs as `found.LOCK_RUNS` does, and fails unless their numbers and rows are those of the arrays. Every
#: commit and every lease makes another version of its run; what else is done to it, no plain step is judged by. The
#: rest of the row is compared for what no version tells: that the database went back, and on from there another way.
_SAME_RUNS: Final = """
    SELECT 1 / coalesce(array_agg(r.n) = $1::bigint[] AND array_agg(r.row) = $2::text[], false)::integer
    FROM {runs}"""
_LOCKED: Final = """(
        SELECT r.n, concat_ws(
            ' ', r.version, r.generation, r.events, r.active, r.waiting, r.holds, r.status, r.id
        ) AS row
        FROM holdfast.run r WHERE r.n = ANY($1::bigint[]) {more} ORDER BY r.n FOR UPDATE
    ) r"""
SAME_RUNS: Final = Statement(rows.select(_SAME_RUNS, runs=rows.select(_LOCKED, more="")))
SAME_RUNS_TO_GRANT: Final = Statement(
    rows.select(
        _SAME_RUNS,
        runs=rows.select(
            "{granting} CROSS JOIN LATERAL {locked}",
            granting=GRANTING,
            locked=rows.select(_LOCKED, more="AND flow.held"),
        ),
    )
)
#: Behind the locks, as `flow.CLOCK_AND_LIMITED` is: fails unless *$1*, if it is given, is an instant of just now, and
#: if one of the queues *$3* has limits. Tells the clock.
SAME_CLOCK: Final = Statement("""
    SELECT clock.at / (
        coalesce(clock.at BETWEEN $1::bigint AND $1::bigint + $2::bigint, true)
        AND NOT EXISTS (SELECT 1 FROM holdfast.queue q WHERE q.name = ANY($3::text[]))
    )::integer
    FROM (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS at OFFSET 0) clock""")


async def apply(wire: Wire, changes: Sequence[Prepared], *, now: int | None, known: Known) -> list[Outcome]:
    """Apply each of *changes* that stands, in order, in one transaction; return one outcome for each.

    Args:
        wire: A connection without a transaction; after an error there may be one to roll back.
        changes: What to apply.
        now: The instant; None for that of the database.
        known: What the event loop of the connection knows of runs.

    Raises:
        CommitUnknown: If the connection was lost when COMMIT was under way.
        StatementFailed: If the database refused a statement of the application's; nothing of any change-set stands.
    """
    if not changes:
        return []
    before = known.take(changes)
    instant = now
    if instant is None and before:
        instant = known.instant(not_before=max(run.at for run in before.values()))
    supposed = _suppose(changes, before, now=instant)
    if supposed is not None:
        check = _check(changes, before, at=supposed.now if now is None else None)
        if await _stands(wire, check, supposed, known=known):
            known.keep(changes, supposed.outcomes, supposed.runs, before=before, now=_instant(supposed))
            return supposed.outcomes
    verdict = await judge(wire, changes, now=now, opening=BEGIN, hear=known.anchor)
    wanted = [
        statement
        for change, outcome in zip(changes, verdict.outcomes, strict=True)
        if change.change.statements and isinstance(outcome, Committed)
        for statement in change.change.statements
    ]
    try:
        if wanted:
            await execute(wire, verdict.calls, wanted, closing=COMMIT)
        else:
            await wire.run(*verdict.calls, (COMMIT, ()))
    except ConnectionLost as error:
        raise _told(error) from error
    known.keep(changes, verdict.outcomes, verdict.runs, before=before, now=_instant(verdict))
    return verdict.outcomes


def _instant(verdict: Verdict) -> int:
    assert verdict.now is not None, "there was something to judge"
    return verdict.now


def _told(error: ConnectionLost) -> Exception:
    """Return what to tell of a connection that was lost when COMMIT was under way."""
    if error.undone:
        return error
    return CommitUnknown(f"Postgres did not say whether the commit stands: {error}")


def _is_plain(change: Prepared, row: tuple[Any, ...]) -> bool:
    """Return whether the change-set is judged by the rows of its run and its job alone, and concerns no other run.

    Args:
        change: The change-set.
        row: Its run, as `runstate.RUN_STATE`.
    """
    given = change.change
    if change.moves and (row[HOLDS] & SINGLETON or (change.may_close and row[PARENT] is not None)):
        return False
    return not (
        given.create is not None
        or given.fence is None
        or given.fence.expired
        or not isinstance(given.settle, Finish)
        or given.require.version is not None
        or given.statements
        or change.stands_alone
        or change.looks_further
    )


def _suppose(changes: Sequence[Prepared], known: Mapping[str, KnownRun], *, now: int | None) -> Verdict | None:
    """Return what becomes of *changes* if nothing has happened to their runs since; None if that cannot be told.

    Args:
        changes: What is to be applied.
        known: What is known of their runs.
        now: The instant, which is supposed as well; None if it is not known either.
    """
    if now is None or len(known) < len(changes):
        return None
    jobs: dict[tuple[str, JobKey], JobRow] = {}
    for change in changes:
        job = change.job
        run = known[change.run_id]
        row = None if job is None else run.jobs.get(job)
        if job is None or row is None or not _is_plain(change, run.row):
            return None
        jobs[change.run_id, job] = row
    found = Found.of({run_id: each.row for run_id, each in known.items()}, jobs)
    wave = Wave(found, now)
    outcomes: dict[int, Outcome] = {}
    later = wave.judge(list(enumerate(changes)), outcomes)
    if later or not all(isinstance(outcome, Committed) for outcome in outcomes.values()):
        return None
    return Verdict([outcomes[index] for index in range(len(changes))], wave.writes.calls(), wave.writes.runs, now)


def _check(changes: Sequence[Prepared], known: Mapping[str, KnownRun], *, at: int | None) -> list[Call]:
    """Return what fails unless the runs are as they are known, *at* was just now, and no grant has to be withheld."""
    runs = sorted((each.row[0], _known_as(run_id, each.row)) for run_id, each in known.items())
    granted = frozenset[str]().union(*(change.granted for change in changes))
    return [
        with_rows(SAME_RUNS_TO_GRANT if granted else SAME_RUNS, runs),
        (SAME_CLOCK, (at, LATEST, list(granted))),
    ]


def _known_as(run_id: str, row: tuple[Any, ...]) -> str:
    """Return what `SAME_RUNS` compares of a row of `runstate.RUN_STATE`."""
    _, status, version, generation, events, _, active, waiting, holds, *_ = row
    return f"{version} {generation} {events} {active} {waiting} {holds} {status} {run_id}"


async def _stands(wire: Wire, check: Sequence[Call], supposed: Verdict, *, known: Known) -> bool:
    """Commit what is supposed and return whether it stands; nothing of it does if not.

    Args:
        wire: A connection without a transaction.
        check: What fails unless everything is as supposed, and tells the clock last.
        supposed: What to write.
        known: What is known of runs.
    """
    try:
        _, _, found, *_ = await wire.run((BEGIN, ()), *check, *supposed.calls, (COMMIT, ()))
    except DivisionByZero:
        known.drop_anchor()
        await wire.run((ROLLBACK, ()))
        return False
    except ConnectionLost as error:
        raise _told(error) from error
    known.anchor(found[0][0])
    return True
