"""What is measured; each scenario gives numbers, with their units last in their names, and ratios to the baselines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final

import attrs

from holdfast.authoring.flow import Flow
from holdfast.entities.run import Run
from holdfast.events import EventType
from holdfast.ports.persistence import Persistence
from holdfast_testing.bench.counting import counted_calls
from holdfast_testing.bench.filling import fill
from holdfast_testing.bench.flows import FinishLine, line, mapped
from holdfast_testing.bench.load import Opening, Site, carry
from holdfast_testing.bench.numbers import median, percentile, resident_bytes
from holdfast_testing.bench.plan import Place, Sizes

#: More events than any measured run has.
_EVENTS: Final = 1_000_000


@attrs.frozen(kw_only=True)
class Baselines:
    """The baselines beside which one scenario was measured; times in microseconds."""

    commit_p50: float
    commit_p99: float
    rows_per_second: float
    bare_stage: float


@attrs.frozen(kw_only=True)
class Figures:
    """What one round of one scenario gave."""

    values: Mapping[str, float]
    ratios: Mapping[str, float]


@attrs.frozen(kw_only=True)
class Round:
    """What a scenario is given."""

    opening: Opening[Any]
    place: Place
    sizes: Sizes
    base: Baselines

    def to_commits(self, microseconds: float) -> Mapping[str, float]:
        """Return a time as a number of bare commits; nothing is committed to a disk in memory."""
        if not self.place.has_disk:
            return {}
        return {"bare_commits": microseconds / self.base.commit_p50}


async def throughput(given: Round) -> Figures:
    """Measure how many stages of many runs are executed in a second."""
    sizes, base = given.sizes, given.base
    with given.place.fresh() as store:
        async with given.opening.site(store, stages=sizes.stages) as site:
            done = await carry(site, runs=sizes.runs, stages=sizes.stages)
    ratios = {"bare_stages_of_cpu": done.cpu / base.bare_stage}
    if given.place.has_disk:
        ratios["batched_rows"] = base.rows_per_second / done.stages_per_second
    return Figures(
        values={
            "stages_per_second": done.stages_per_second,
            "creates_per_second": done.creates_per_second,
            "cpu_us": done.cpu,
            "loop_cpu_us": done.loop_cpu,
        },
        ratios=ratios,
    )


async def latency(given: Round) -> Figures:
    """Measure the time from commit to commit of one run that is alone."""
    sizes = given.sizes
    with given.place.fresh() as store:
        async with given.opening.site(store, stages=sizes.latency_stages) as site, site.working():
            for _ in range(sizes.latency_warm_up):
                await one_run(site)
            run = await one_run(site)
            steps = await steps_of(site.opened.persistence, run)
    p50, p99 = percentile(steps, 50), percentile(steps, 99)
    return Figures(values={"p50_us": p50, "p99_us": p99}, ratios=given.to_commits(p50))


async def length(given: Round) -> Figures:
    """Measure whether a stage of a long run takes longer than one of a short run."""
    sizes = given.sizes
    with given.place.fresh() as store:
        async with given.opening.site(store, stages=sizes.short_stages) as site, site.working():
            short = [_stage_time(await one_run(site), sizes.short_stages) for _ in range(sizes.short_runs)]
    with given.place.fresh() as store:
        async with given.opening.site(store, stages=sizes.long_stages) as site, site.working():
            long = _stage_time(await one_run(site), sizes.long_stages)
    return Figures(
        values={"short_stage_us": median(short), "long_stage_us": long}, ratios={"long_to_short": long / median(short)}
    )


async def history(given: Round) -> Figures:
    """Measure whether runs that ended long ago slow down those of today."""
    sizes = given.sizes
    with given.place.fresh() as store:
        async with given.opening.site(store, stages=sizes.stages) as site:
            empty = await carry(site, runs=sizes.runs, stages=sizes.stages)
    with given.place.fresh() as store:
        async with given.opening.site(store, stages=sizes.stages) as site:
            past = line("past", stages=1, finish=FinishLine())
            await fill(site.opened.kernel, past.definition(), runs=sizes.finished_runs)
            # The disk still has to take what filling has written.
            await asyncio.sleep(sizes.settle_seconds)
            full = await carry(site, runs=sizes.runs, stages=sizes.stages)
    return Figures(
        values={"empty_stages_per_second": empty.stages_per_second, "full_stages_per_second": full.stages_per_second},
        ratios={"empty_to_full": empty.stages_per_second / full.stages_per_second},
    )


async def start(given: Round) -> Figures:
    """Measure the time from a request for a run until its first stage begins, with nothing else to do."""
    waits: list[float] = []
    with given.place.fresh() as store:
        async with given.opening.site(store, stages=1) as site, site.working():
            for _ in range(given.sizes.starts):
                await asyncio.sleep(given.sizes.start_pause_seconds)
                site.finish.expect(1)
                begun = time.perf_counter()
                run_id = await site.create()
                await site.finish.wait()
                waits.append((site.finish.at - begun) * 1e6)
                await site.ended([run_id])
    p50, p99 = percentile(waits, 50), percentile(waits, 99)
    return Figures(values={"p50_us": p50, "p99_us": p99}, ratios=given.to_commits(p50))


async def idle(given: Round) -> Figures:
    """Measure what a worker costs that has nothing to do."""
    seconds = given.sizes.idle_seconds
    with given.place.fresh() as store:
        async with given.opening.site(store, stages=1) as site, site.working():
            await asyncio.sleep(given.sizes.settle_seconds)
            with counted_calls(site.opened.persistence) as calls:
                cpu, begun = time.process_time(), time.perf_counter()
                await asyncio.sleep(seconds)
                cpu, seconds = time.process_time() - cpu, time.perf_counter() - begun
                number = sum(calls.values())
    return Figures(values={"cpu_percent": cpu / seconds * 100, "queries_per_second": number / seconds}, ratios={})


async def mapping(given: Round) -> Figures:
    """Measure whether an item of a long map takes longer than one of a short map, and how much memory it takes."""
    sizes, limit = given.sizes, given.opening.concurrency
    make = partial(_map, limit=limit)
    with given.place.fresh() as store:
        async with given.opening.site(store, stages=1, make=make) as site, site.working():
            runs = [await one_run(site, sizes.short_items) for _ in range(sizes.short_maps)]
    short = [_stage_time(run, sizes.short_items) for run in runs]
    with given.place.fresh() as store:
        async with given.opening.site(store, stages=1, make=make) as site, site.working():
            before = resident_bytes()
            long = _stage_time(await one_run(site, sizes.long_items), sizes.long_items)
            grown = max(resident_bytes() - before, 0)
    return Figures(
        values={"short_item_us": median(short), "long_item_us": long, "grown_megabytes": grown / 1e6},
        ratios={"long_to_short": long / median(short)},
    )


def _map(finish: FinishLine, *, limit: int) -> Flow[Any, Any]:
    return mapped("mapped", limit=limit, finish=finish)


Scenario = Callable[[Round], Awaitable[Figures]]

#: By name, in the order in which they are measured.
SCENARIOS: Final[Mapping[str, Scenario]] = MappingProxyType(
    {
        "throughput": throughput,
        "latency": latency,
        "length": length,
        "history": history,
        "map": mapping,
        "start": start,
        "idle": idle,
    }
)


async def one_run(site: Site, number: int = 0) -> Run:
    """Create one run and return it when it has ended."""
    site.finish.expect(1)
    run_id = await site.create(number)
    await site.finish.wait()
    (run,) = await site.ended([run_id])
    return run


async def steps_of(persistence: Persistence, run: Run) -> Sequence[float]:
    """Return the microseconds from each completion of a stage to the next."""
    events = await persistence.list_events(run.id, limit=_EVENTS)
    done = [event.at for event in events if event.type is EventType.STAGE_COMPLETED]
    return [(after - before).total_seconds() * 1e6 for before, after in pairwise(done)]


def _stage_time(run: Run, stages: int) -> float:
    assert run.started_at is not None, "a run that has ended was started"
    assert run.finished_at is not None, "a run that has ended has its instant"
    return (run.finished_at - run.started_at).total_seconds() / stages * 1e6
