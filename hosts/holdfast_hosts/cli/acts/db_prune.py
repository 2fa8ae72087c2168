"""`holdfast db prune`."""

from __future__ import annotations

import sys
from collections.abc import Callable

import attrs

from holdfast.commands.blob_collect import BlobCollect
from holdfast.commands.run_prune import RunPrune
from holdfast.kernel import Kernel
from holdfast_hosts.cli.commands.db_prune import PruneOptions
from holdfast_hosts.cli.exits import Exit
from holdfast_hosts.cli.opening import opened
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, note, show
from holdfast_hosts.cli.problem import Problem, Told
from holdfast_hosts.cli.spelling import clean, counted
from holdfast_hosts.cli.usage import given_span


@attrs.define(kw_only=True)
class Tally:
    """What has gone so far, or would go."""

    runs: int = 0
    #: Runs that ended long enough ago and are still needed by something.
    kept: int = 0
    #: Blobs of runs that went, and those whose run was not there.
    blobs: int = 0
    orphans: int = 0
    operations: int = 0


async def prune(options: PruneOptions, *, common: Common) -> int:
    """Count what may go and remove it, batch by batch.

    Raises:
        Told: If there is no store, an option cannot be read, or nobody agreed.
        UnusableStore: If the store cannot be used.
        StoreUnavailable: If it cannot be reached; what went before has gone.
    """
    runs = RunPrune(
        older_than=given_span(options.older_than, option="--older-than"),
        keep_results=given_span(options.keep_results, option="--keep-results"),
        keep_operations=given_span(options.keep_operations, option="--keep-operations"),
        limit=options.batch,
    )
    blobs = BlobCollect(grace=given_span(options.grace, option="--grace")) if options.blobs else None
    async with opened(common) as store:
        if options.dry_run or not options.yes:
            tally = await _pass(store.kernel, attrs.evolve(runs, trial=True), _trial(blobs))
            if options.dry_run:
                return _tell(tally, options, common=common)
            if not _agreed(tally, has_more=bool(options.forget_sink)):
                raise _refused(tally, common=common)
        for name in options.forget_sink:
            is_known = await store.persistence.forget_sink(name)
            note(f"The sink {clean(name)} is {'forgotten' if is_known else 'none that has ever asked for events'}.")
        return _tell(await _pass(store.kernel, runs, blobs), options, common=common)


def _trial(blobs: BlobCollect | None) -> BlobCollect | None:
    return None if blobs is None else attrs.evolve(blobs, trial=True)


async def _pass(kernel: Kernel, runs: RunPrune, blobs: BlobCollect | None) -> Tally:
    """Send the commands until there is nothing behind the last batch."""
    tally, tell = Tally(), _progress()
    is_over = False
    while True:
        batch = await kernel.dispatch(runs)
        tally.runs += batch.pruned
        # Those behind the last place were counted when they were looked at first.
        tally.kept += 0 if is_over else batch.looked_at - batch.pruned
        tally.blobs += batch.blobs
        tally.operations += batch.operations
        tell(f"{counted(tally.runs, 'run')} …")
        is_over = batch.next is None
        # Behind the last run there may still be records whose time has come.
        if is_over and (runs.trial or batch.operations < runs.limit):
            break
        runs = attrs.evolve(runs, after=batch.next or runs.after)
    while blobs is not None:
        looked = await kernel.dispatch(blobs)
        tally.orphans += looked.collected
        tell(f"{counted(tally.runs, 'run')}, {counted(tally.orphans, 'orphaned blob')} …")
        blobs = None if looked.next is None else attrs.evolve(blobs, after=looked.next)
    tell("")
    return tally


def _progress() -> Callable[[str], None]:
    """Return what shows how far it is: in one line of a terminal, or nowhere."""
    if not sys.stderr.isatty():
        return lambda _: None

    def tell(words: str) -> None:
        sys.stderr.write(f"\r\x1b[K{words}")
        sys.stderr.flush()

    return tell


def _agreed(tally: Tally, *, has_more: bool) -> bool:
    """Ask the person at the terminal; where there is none, nobody agrees to anything but to nothing at all."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return not (tally.runs or tally.orphans or has_more)
    sys.stderr.write(f"Remove {_counted(tally, has_blobs=bool(tally.orphans))} for good? [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in {"y", "yes"}


def _refused(tally: Tally, *, common: Common) -> Told:
    would = _counted(tally, has_blobs=bool(tally.orphans))
    return Told(
        Problem(
            code="E2143",
            what=f"Nothing was removed: {would} would go, and nobody agreed.",
            fix=(f"If that is right: {common.command('db', 'prune')} --yes, with the other options as before",),
            exit=Exit.REFUSED,
        )
    )


def _tell(tally: Tally, options: PruneOptions, *, common: Common) -> int:
    if common.json:
        answer(
            {
                "dryRun": options.dry_run,
                "runs": tally.runs,
                "kept": tally.kept,
                "blobs": tally.blobs,
                "orphanedBlobs": tally.orphans,
                "operations": tally.operations,
            }
        )
        return Exit.DONE
    show(f"{_counted(tally, has_blobs=options.blobs)} {'would go' if options.dry_run else 'went'}")
    if not options.dry_run and (tally.blobs or tally.operations):
        note(f"With them {counted(tally.blobs, 'blob')} and, of earlier ones, {counted(tally.operations, 'record')}.")
    if tally.kept:
        note(
            f"{counted(tally.kept, 'run')} ended as long ago, but a live run, a sink that has not taken all events, "
            "or a result under a key still needs them."
        )
    return Exit.DONE


def _counted(tally: Tally, *, has_blobs: bool) -> str:
    runs = counted(tally.runs, "run")
    return f"{runs} and {counted(tally.orphans, 'orphaned blob')}" if has_blobs else runs
