"""What is measured on a database server only: several processes, large tables, what goes over the wire."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Final

import attrs

from holdfast.authoring.flow import Flow
from holdfast.entities.run import RunStatus
from holdfast_testing.bench.crowd import Errand, Hand, Vitals, crowd
from holdfast_testing.bench.flows import PATIENT, FinishLine, patient, stamped, straight
from holdfast_testing.bench.hosts import Server
from holdfast_testing.bench.load import Site, carry
from holdfast_testing.bench.numbers import percentile
from holdfast_testing.bench.scenarios import Figures, Round, one_run, steps_of

#: Runs whose time is taken when each is alone.
LONE_RUNS: Final = 3
#: Pause between two looks at whether a load is done that other processes carry.
_LOOK_SECONDS: Final = 0.05
#: Runs that a steady load keeps waiting for the worker, and how often it adds to them.
_BACKLOG: Final = 2_000
_TOP_UP_SECONDS: Final = 0.25


@attrs.frozen(kw_only=True)
class Carried:
    """How a load went that workers in processes of their own carried."""

    stages_per_second: float
    #: CPU microseconds of all worker processes for one stage.
    cpu: float
    resident_bytes: int


async def workers(given: Round) -> Figures:
    """Measure what a second worker process adds on the same machine."""
    one, two = [await _fresh_load(given, workers=number) for number in (1, 2)]
    return Figures(
        values={
            "one_stages_per_second": one.stages_per_second,
            "two_stages_per_second": two.stages_per_second,
            "one_cpu_us": one.cpu,
            "two_cpu_us": two.cpu,
        },
        ratios={"two_to_one": two.stages_per_second / one.stages_per_second},
    )


async def drain(given: Round) -> Figures:
    """Measure how many runs of a single stage one worker executes in a second."""
    with given.place.fresh() as store:
        async with given.opening.site(store, stages=1) as site:
            done = await carry(site, runs=given.sizes.singles, stages=1)
    return Figures(
        values={"runs_per_second": done.stages_per_second, "cpu_us": done.cpu},
        ratios={"batched_rows": given.base.rows_per_second / done.stages_per_second},
    )


async def traffic(given: Round) -> Figures:
    """Measure what goes over the wire and into the log for a stage that does nothing, under load."""
    server, sizes = _server(given), given.sizes
    with given.place.fresh() as store:
        async with given.opening.site(store, stages=sizes.stages) as site:
            counted: dict[str, float] = {}
            await carry(site, runs=sizes.runs, stages=sizes.stages, around=_counted(server, site, counted))
    stages = sizes.runs * sizes.stages
    return Figures(values={f"{name}_per_stage": value / stages for name, value in counted.items()}, ratios={})


@contextmanager
def _counted(server: Server, site: Site, counted: dict[str, float]) -> Generator[None]:
    """Note what was sent and logged within the context."""
    (trips, statements), log = server.traffic(site.opened.persistence), server.log_bytes()
    yield
    trips_now, statements_now = server.traffic(site.opened.persistence)
    counted.update(
        round_trips=trips_now - trips, statements=statements_now - statements, log_bytes=server.log_bytes() - log
    )


async def start_apart(given: Round) -> Figures:
    """Measure the time from a request for a run until its stage begins in another process, with nothing else to do."""
    sizes = given.sizes
    waits: list[float] = []
    with given.place.fresh() as store:
        errand = _errand(given, store, stamped)
        async with given.opening.site(store, make=stamped) as site, crowd(errand, workers=1) as (hand,):
            await hand.go()
            for _ in range(sizes.apart_starts):
                await asyncio.sleep(sizes.apart_pause_seconds)
                begun = time.time_ns()
                run_id = await site.create()
                await site.ended([run_id])
                waits.append((await _stamp(site, run_id) - begun) / 1e3)
    p50, p99 = percentile(waits, 50), percentile(waits, 99)
    return Figures(values={"p50_us": p50, "p99_us": p99}, ratios=given.to_commits(p50))


async def _stamp(site: Site, run_id: str) -> int:
    outputs = await site.opened.persistence.get_outputs(run_id, ["stamp"])
    text = outputs["stamp"].text
    assert text is not None, "a small output is kept in its row"
    return int(text)


async def alone(given: Round) -> Figures:
    """Measure the time from commit to commit of one run that is alone, between bare commits of the same seconds."""
    sizes, server = given.sizes, _server(given)
    steps: list[float] = []
    bare: list[float] = []
    with given.place.fresh() as store, server.bare(store) as insert:
        async with given.opening.site(store, stages=sizes.latency_stages) as site, site.working():
            for number in range(sizes.latency_warm_up + LONE_RUNS):
                commits = [_timed(insert) for _ in range(sizes.latency_stages)]
                run = await one_run(site)
                if number >= sizes.latency_warm_up:
                    bare += commits
                    steps += await steps_of(site.opened.persistence, run)
    p50, p99, commit = percentile(steps, 50), percentile(steps, 99), percentile(bare, 50)
    return Figures(
        values={"p50_us": p50, "p99_us": p99, "bare_commit_p50_us": commit, "bare_commit_p99_us": percentile(bare, 99)},
        ratios={"bare_commits": p50 / commit, "p99_bare_commits": p99 / commit},
    )


def _timed(insert: Callable[[int], object]) -> float:
    begun = time.perf_counter()
    insert(1)
    return (time.perf_counter() - begun) * 1e6


async def idle_apart(given: Round) -> Figures:
    """Measure what a worker costs that has nothing to do."""
    with given.place.fresh() as store:
        errand = _errand(given, store, partial(straight, stages=1))
        async with given.opening.site(store), crowd(errand, workers=1) as (hand,):
            await hand.go()
            spent = await _idle(hand, given)
    return Figures(values=spent, ratios={})


async def _idle(hand: Hand, given: Round) -> Mapping[str, float]:
    await asyncio.sleep(given.sizes.settle_seconds)
    before = await hand.vitals()
    await asyncio.sleep(given.sizes.apart_idle_seconds)
    after = await hand.vitals()
    seconds = after.at - before.at
    return {
        "cpu_percent": (after.cpu_seconds - before.cpu_seconds) / seconds * 100,
        "queries_per_second": (after.statements - before.statements) / seconds,
        "round_trips_per_second": (after.trips - before.trips) / seconds,
    }


async def past(given: Round) -> Figures:
    """Measure whether runs that ended long ago slow down those of today."""
    empty = await _fresh_load(given, workers=1)
    values, ratios = {"empty_stages_per_second": empty.stages_per_second}, dict[str, float]()
    for finished in given.sizes.past:
        with given.place.fresh() as store:
            async with given.opening.site(store, stages=1) as site:
                await carry(site, runs=min(given.sizes.seeds, finished), stages=1)
            await _multiply(given, store, runs=finished)
            full = await _load(given, store, workers=1)
        values[f"past_{finished}_stages_per_second"] = full.stages_per_second
        ratios[f"empty_to_past_{finished}"] = empty.stages_per_second / full.stages_per_second
    return Figures(values=values, ratios=ratios)


async def waiting(given: Round) -> Figures:
    """Measure what runs cost that wait: half of them for an instant, half for an answer."""
    none = await _beside_waiting(given, runs=0)
    many = await _beside_waiting(given, runs=given.sizes.waiting)
    return Figures(
        values={
            "empty_stages_per_second": none["stages_per_second"],
            "full_stages_per_second": many["stages_per_second"],
            "empty_idle_cpu_percent": none["cpu_percent"],
            "full_idle_cpu_percent": many["cpu_percent"],
            "full_idle_queries_per_second": many["queries_per_second"],
            "grown_megabytes": (many["resident_bytes"] - none["resident_bytes"]) / 1e6,
        },
        ratios={"empty_to_full": none["stages_per_second"] / many["stages_per_second"]},
    )


async def _beside_waiting(given: Round, *, runs: int) -> Mapping[str, float]:
    with given.place.fresh() as store:
        if runs:
            async with given.opening.site(store, beside=patient) as site:
                await wait_for_ever(site, runs=max(min(given.sizes.seeds, runs), 2))
            await _multiply(given, store, runs=runs)
        done = await _load(given, store, workers=1, beside=patient)
        errand = _errand(given, store, partial(straight, stages=given.sizes.stages), beside=patient)
        async with crowd(errand, workers=1) as (hand,):
            await hand.go()
            spent = await _idle(hand, given)
    return {**spent, "stages_per_second": done.stages_per_second, "resident_bytes": done.resident_bytes}


async def wait_for_ever(site: Site, *, runs: int) -> None:
    """Bring *runs* runs to where they wait: half of them for an instant, half for an answer."""
    for workflow_id in PATIENT:
        await site.create_many(runs // len(PATIENT), workflow_id=workflow_id)
    wanted = runs // len(PATIENT) * len(PATIENT)
    async with site.working():
        while (await site.opened.persistence.count()).runs.get(RunStatus.WAITING, 0) < wanted:  # noqa: ASYNC110 - the store tells nobody
            await asyncio.sleep(_LOOK_SECONDS)


async def snapshot(given: Round) -> Figures:
    """Measure what a transaction costs that is open elsewhere and does nothing, while many runs come and go."""
    sizes, server = given.sizes, _server(given)
    beside = timedelta(seconds=(sizes.steady_seconds - sizes.snapshot_seconds) / 2)
    open_for = timedelta(seconds=sizes.snapshot_seconds)
    with given.place.fresh() as store:
        errand = _errand(given, store, partial(straight, stages=sizes.stages))
        async with given.opening.site(store, stages=sizes.stages) as site, crowd(errand, workers=1) as (hand,):
            steady = asyncio.create_task(_keep_busy(site, server, store))
            try:
                await hand.go()
                plain = await _ended_at_last(server, store, within=beside)
                with server.old_snapshot(store):
                    held = await _ended_at_last(server, store, within=open_for)
                after = await _ended_at_last(server, store, within=beside)
            finally:
                steady.cancel()
                await asyncio.gather(steady, return_exceptions=True)
    stages = sizes.stages
    return Figures(
        values={
            "before_stages_per_second": plain * stages,
            "held_stages_per_second": held * stages,
            "after_stages_per_second": after * stages,
            "loss_percent": (1 - held / plain) * 100,
        },
        ratios={},
    )


async def _keep_busy(site: Site, server: Server, store: str) -> None:
    """Create runs so that the worker never runs out of them, until the task is cancelled."""
    begun, created = datetime.now(UTC), 0
    while True:
        ended = await asyncio.to_thread(server.ended, store, since=begun, until=datetime.max.replace(tzinfo=UTC))
        wanted = _BACKLOG - (created - ended)
        if wanted > 0:
            created += len(await site.create_many(wanted))
        await asyncio.sleep(_TOP_UP_SECONDS)


async def _ended_at_last(server: Server, store: str, *, within: timedelta) -> float:
    """Let time pass and return how many runs ended in a second of its second half."""
    await asyncio.sleep(within.total_seconds())
    until = datetime.now(UTC)
    ended = await asyncio.to_thread(server.ended, store, since=until - within / 2, until=until)
    return ended / (within / 2).total_seconds()


async def _fresh_load(given: Round, *, workers: int) -> Carried:
    with given.place.fresh() as store:
        return await _load(given, store, workers=workers)


async def _load(
    given: Round, store: str, *, workers: int, beside: Callable[[], Sequence[Flow[Any, Any]]] = tuple
) -> Carried:
    """Create runs and have worker processes execute them."""
    sizes = given.sizes
    make = partial(straight, stages=sizes.stages)
    errand = _errand(given, store, make, beside=beside)
    async with given.opening.site(store, make=make, beside=beside) as site:
        run_ids = await site.create_many(sizes.runs)
        async with crowd(errand, workers=workers) as hands:
            before = [await hand.go() for hand in hands]
            runs = await site.ended(run_ids, look_seconds=_LOOK_SECONDS)
            after = [await hand.vitals() for hand in hands]
    begun = min(run.started_at for run in runs if run.started_at is not None)
    ended = max(run.finished_at for run in runs if run.finished_at is not None)
    stages = sizes.runs * sizes.stages
    return Carried(
        stages_per_second=stages / (ended - begun).total_seconds(),
        cpu=_cpu(before, after) / stages * 1e6,
        resident_bytes=max(vitals.resident_bytes for vitals in after),
    )


def _cpu(before: Sequence[Vitals], after: Sequence[Vitals]) -> float:
    return sum(late.cpu_seconds - early.cpu_seconds for early, late in zip(before, after, strict=True))


def _errand(
    given: Round,
    store: str,
    make: Callable[[FinishLine], Flow[Any, Any]],
    *,
    beside: Callable[[], Sequence[Flow[Any, Any]]] = tuple,
) -> Errand:
    return Errand(opening=given.opening, store=store, server=_server(given), make=make, beside=beside)


async def _multiply(given: Round, store: str, *, runs: int) -> None:
    server = _server(given)
    await asyncio.to_thread(server.multiply, store, runs=runs)
    await asyncio.to_thread(server.settle, store)


def _server(given: Round) -> Server:
    server = given.place.server
    assert server is not None, "this is measured on servers only"
    return server
