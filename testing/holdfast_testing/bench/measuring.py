"""Carries out a plan."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from pathlib import Path

from holdfast_testing.bench.baselines import measure_bare_stage, measure_disk
from holdfast_testing.bench.hosts import MakeWorker, Opened, OpenStore
from holdfast_testing.bench.load import Opening
from holdfast_testing.bench.machine import machine
from holdfast_testing.bench.plan import Plan
from holdfast_testing.bench.profiling import profile
from holdfast_testing.bench.report import Report, Result
from holdfast_testing.bench.scenarios import SCENARIOS, Baselines, Figures, Round


def _say_nothing(_: str) -> None:
    return


async def measure(
    plan: Plan,
    *,
    open_store: OpenStore[Opened],
    make_worker: MakeWorker[Opened],
    tell: Callable[[str], object] = _say_nothing,
) -> Report:
    """Measure everything that *plan* asks for, round by round, and return the report.

    Args:
        plan: What to measure.
        open_store: Opens a store.
        make_worker: Makes a worker on it.
        tell: Called with what is measured next.
    """
    opening = Opening(open_store=open_store, make_worker=make_worker, concurrency=plan.concurrency)
    baselines: list[Baselines] = []
    rounds: dict[tuple[str, str], list[Figures]] = {}
    for number in range(1, plan.repeat + 1):
        for place, name in product(plan.places, (name for name in SCENARIOS if name in plan.only)):
            tell(f"round {number} of {plan.repeat}: {name} on {place.kind}")
            # Before each scenario, for a disk that others use too changes from one second to the next.
            base = await _baselines(plan)
            baselines.append(base)
            figures = await SCENARIOS[name](Round(opening=opening, place=place, sizes=plan.sizes, base=base))
            rounds.setdefault((name, place.kind), []).append(figures)
    profiles = [await profile(opening, place, plan.sizes) for place in plan.places if plan.profile]
    return Report(
        plan=plan,
        machine=machine(),
        baselines=tuple(baselines),
        results=tuple(
            Result(scenario=name, store=kind, rounds=tuple(figures)) for (name, kind), figures in rounds.items()
        ),
        profiles=tuple(profiles),
    )


async def _baselines(plan: Plan) -> Baselines:
    directory = next((place.directory for place in plan.places if place.directory is not None), Path())
    disk = measure_disk(directory, plan.sizes)
    return Baselines(
        commit_p50=disk.commit_p50,
        commit_p99=disk.commit_p99,
        rows_per_second=disk.rows_per_second,
        bare_stage=await measure_bare_stage(plan.sizes),
    )
