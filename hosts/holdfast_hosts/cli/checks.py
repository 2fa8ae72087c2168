"""The checks of `holdfast doctor`: facts in, verdicts out."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import attrs

from holdfast.ports.queries import Counts
from holdfast.ports.work import KnownWorkflow
from holdfast_adapters.sqlite import StoreFacts, all_migrations
from holdfast_hosts.cli.spelling import counted
from holdfast_hosts.roster import Card, lacking

#: A log above this size was not checkpointed for long: some reader holds a snapshot, or nobody writes.
LARGE_LOG: Final = 1_000_000_000


class Verdict(enum.IntEnum):
    """What a check came to; the worst one is the doctor's."""

    OK = 0
    LOOK = 1
    WRONG = 2


@attrs.frozen(kw_only=True)
class Check:
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    #: What was found.
    words: str
    #: Why that matters, unless all is well or the words say it.
    why: str = ""
    #: What to do, unless all is well.
    fix: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the check as JSON values."""
        told = {"name": self.name, "verdict": self.verdict.name.lower(), "words": self.words}
        return {**told, "why": self.why, "fix": self.fix}


def check_facts(facts: StoreFacts, *, url: str) -> Iterator[Check]:
    """Yield what the file and the library that serves it are like."""
    yield Check(
        name="store", verdict=Verdict.OK, words=f"{url} opens and may be written; {size_of(facts.database_bytes)}"
    )
    yield found("schema", facts.schema_version == len(all_migrations()), f"version {facts.schema_version}")
    guarded = " has the WAL-reset bug; a file lock around every write and checkpoint keeps it away"
    sqlite = facts.sqlite_version + (guarded if facts.wal_reset_bug else ", without the WAL-reset bug")
    yield Check(name="sqlite", verdict=Verdict.OK, words=sqlite)
    yield found(
        "durability",
        facts.synchronous in {"FULL", "EXTRA"} and facts.journal_mode == "wal",
        f"journal {facts.journal_mode}, synchronous {facts.synchronous}",
        fix="Something else changed the file's journal mode; stop it, then open the store again.",
    )
    yield found(
        "log",
        facts.wal_bytes <= LARGE_LOG and facts.checkpoint_error is None,
        f"{size_of(facts.wal_bytes)} long"
        + (f"; the last checkpoint failed: {facts.checkpoint_error}" if facts.checkpoint_error else ""),
        fix="Look for a program that keeps the file open for reading.",
        otherwise=Verdict.LOOK,
    )
    yield found(
        "integrity",
        not facts.problems,
        "quick_check found nothing" if not facts.problems else "; ".join(facts.problems),
        fix="Stop all workers, copy the file with its -wal, and restore it from a backup.",
    )
    yield found(
        "permissions",
        not facts.readable_by_others,
        "only the owner can read it" if not facts.readable_by_others else "others than the owner can read it",
        fix=f"Unless that is meant: chmod 600 {facts.path}*",
        otherwise=Verdict.LOOK,
    )


def check_orphans(run_ids: Sequence[str], *, named: int) -> Check:
    """Return whether every live run has something that will advance it."""
    if not run_ids:
        return Check(name="liveness", verdict=Verdict.OK, words="every live run has a job, a timer or a wait")
    more = " and more" if len(run_ids) > named else ""
    return Check(
        name="liveness",
        verdict=Verdict.WRONG,
        words=f"nothing will ever advance {', '.join(run_ids[:named])}{more}",
        fix="This is a defect of Holdfast: report it. Then cancel those runs, or rerun them from a stage.",
    )


def check_counts(counts: Counts) -> Iterator[Check]:
    """Yield what there is, and what of it waits for somebody."""
    runs = ", ".join(f"{number:,} {status.value.lower()}" for status, number in counts.runs.items()) or "none"
    yield Check(name="runs", verdict=Verdict.OK, words=runs)
    jobs = (
        f"{counts.ready:,} ready, {counts.leased:,} leased, {counts.suspended:,} suspended, {counts.waiting:,} waiting"
    )
    yield Check(name="jobs", verdict=Verdict.OK, words=jobs)
    yield found(
        "leases",
        not counts.expired,
        f"{counted(counts.expired, 'lease')} past the end" if counts.expired else "none is past its end",
        fix="A worker takes them back within seconds; start one if none runs.",
        otherwise=Verdict.LOOK,
    )
    waiting = f"{counted(counts.undelivered, 'stream')} to be delivered" if counts.undelivered else "all delivered"
    yield found(
        "events",
        not counts.parked,
        f"{waiting}, {counts.parked:,} parked at an event that its sink refuses" if counts.parked else waiting,
        fix="Repair the sink, then dispatch plugin.replayDLQ.",
        otherwise=Verdict.LOOK,
    )


def check_waits(overdue: Sequence[tuple[str, str]], *, named: int) -> Check:
    """Return whether the limits of waits are acted on; *overdue* are runs with names of waits long past theirs."""
    if not overdue:
        return Check(name="waits", verdict=Verdict.OK, words="none is past its limit")
    words = ", ".join(f'"{name}" of run {run_id}' for run_id, name in overdue[:named])
    more = " and more" if len(overdue) > named else ""
    return Check(
        name="waits",
        verdict=Verdict.LOOK,
        words=f"past the limit: {words}{more}",
        fix="A worker ends them within seconds; start one if none runs.",
    )


def check_workers(
    cards: Sequence[Card], live: Sequence[tuple[str, str, int]], *, runs: Mapping[tuple[str, str], Sequence[str]]
) -> Check:
    """Return whether some worker that is there has each version with live runs.

    Args:
        cards: The workers that are there.
        live: Workflow id, version and number of live runs.
        runs: The newest runs of each version that no worker has.
    """
    there = f"{counted(len(cards), 'worker')} there" if cards else "no worker there"
    missing = lacking(live, cards)
    if not missing:
        every = "" if not live else "; every version that has live runs is known to one"
        return Check(name="workers", verdict=Verdict.OK, words=f"{there}{every}")
    words = "; ".join(
        f"{workflow_id}@{version}, {counted(number, 'live run')}: {_some(runs.get((workflow_id, version), ()), number)}"
        for workflow_id, version, number in missing
    )
    return Check(
        name="workers",
        verdict=Verdict.LOOK,
        words=f"{there}; none has {words}",
        fix="Start a worker with those versions, or cancel the runs. Functions that are called do not show here.",
    )


def _some(run_ids: Sequence[str], number: int) -> str:
    return ", ".join(run_ids) + (" and more" if number > len(run_ids) else "")


def check_versions(live: Sequence[tuple[str, str, int]], *, known: frozenset[KnownWorkflow] | None) -> Check:
    """Return whether the workflow versions of live runs are *known*; None if no modules were named."""
    if not live:
        return Check(name="versions", verdict=Verdict.OK, words="no run is live")
    if known is None:
        words = ", ".join(f"{workflow_id}@{version} ({number:,} live)" for workflow_id, version, number in live)
        return Check(name="versions", verdict=Verdict.OK, words=f"{words}; name modules to compare them")
    missing = [one for one in live if one[:2] not in known]
    if not missing:
        return Check(name="versions", verdict=Verdict.OK, words="the modules know every version that has live runs")
    words = ", ".join(f"{workflow_id}@{version} ({counted(number, 'run')})" for workflow_id, version, number in missing)
    return Check(
        name="versions",
        verdict=Verdict.WRONG,
        words=f"the modules lack {words}",
        fix="Keep a worker with that version until its runs have ended, or cancel them.",
    )


def found(
    name: str, is_well: object, words: str, *, why: str = "", fix: str = "", otherwise: Verdict = Verdict.WRONG
) -> Check:
    """Return the check *name*: well, or with why it matters and what to do."""
    if is_well:
        return Check(name=name, verdict=Verdict.OK, words=words)
    return Check(name=name, verdict=otherwise, words=words, why=why, fix=fix)


def size_of(size: int) -> str:
    """Return a number of bytes as a person reads it."""
    amount, units = float(size), ("bytes", "KB", "MB", "GB")
    for unit in units:
        if amount < 1000 or unit == units[-1]:
            return f"{amount:,.0f} {unit}" if unit == "bytes" else f"{amount:,.1f} {unit}"
        amount /= 1000
    raise AssertionError("the last unit takes any amount")
