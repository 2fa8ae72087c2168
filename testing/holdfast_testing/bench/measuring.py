"""Carries out a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Final

from holdfast_testing.bench.baselines import measure_bare_stage, measure_disk, measure_server
from holdfast_testing.bench.hosts import MakeWorker, Opened, OpenStore
from holdfast_testing.bench.load import Opening
from holdfast_testing.bench.machine import machine
from holdfast_testing.bench.plan import Place, Plan
from holdfast_testing.bench.profiling import profile
from holdfast_testing.bench.report import Report, Result
from holdfast_testing.bench.scenarios import SCENARIOS, Baselines, Figures, Round, Scenario, throughput
from holdfast_testing.bench.serving import (
    alone,
    drain,
    idle_apart,
    past,
    snapshot,
    start_apart,
    traffic,
    waiting,
    workers,
)

#: What is measured on a database server, in the order in which it is.
SERVER_SCENARIOS: Final[Mapping[str, Scenario]] = MappingProxyType(
    {
        "throughput": throughput,
        "workers": workers,
        "traffic": traffic,
        "drain": drain,
        "latency": alone,
        "start": start_apart,
        "idle": idle_apart,
        "history": past,
        "waiting": waiting,
        "snapshot": snapshot,
    }
)


def scenarios_of(place: Place) -> Mapping[str, Scenario]:
    """Return what is measured at *place*, by name."""
    return SCENARIOS if place.server is None else SERVER_SCENARIOS


def _say_nothing(_: str) -> None:
    return


async def measure(
    plan: Plan,
    *,
    open_store: OpenStore[Opened],
    make_worker: MakeWorker[Opened],
    process: Callable[[], AbstractContextManager[object]] = nullcontext,
    tell: Callable[[str], object] = _say_nothing,
) -> Report:
    """Measure everything that *plan* asks for, round by round, and return the report.

    Args:
        plan: What to measure.
        open_store: Opens a store.
        make_worker: Makes a worker on it.
        process: What a process is surrounded by that a worker has to itself; like both, it can be pickled.
        tell: Called with what is measured next.
    """
    opening = Opening(open_store=open_store, make_worker=make_worker, concurrency=plan.concurrency, process=process)
    baselines: list[Baselines] = []
    rounds: dict[tuple[str, str], list[Figures]] = {}
    for number in range(1, plan.repeat + 1):
        for place, name in _what(plan):
            tell(f"round {number} of {plan.repeat}: {name} on {place.kind}")
            # Before each scenario, for a disk that others use too changes from one second to the next.
            base = await _baselines(plan)
            baselines.append(base)
            figures = await scenarios_of(place)[name](Round(opening=opening, place=place, sizes=plan.sizes, base=base))
            rounds.setdefault((name, place.kind), []).append(figures)
    profiles = [await profile(opening, place, plan.sizes) for place in plan.places if plan.profile]
    return Report(
        plan=plan,
        machine=machine(),
        server=_server_facts(plan),
        baselines=tuple(baselines),
        results=tuple(
            Result(scenario=name, store=kind, rounds=tuple(figures)) for (name, kind), figures in rounds.items()
        ),
        profiles=tuple(profiles),
    )


def _what(plan: Plan) -> Iterator[tuple[Place, str]]:
    for place in plan.places:
        yield from ((place, name) for name in scenarios_of(place) if name in plan.only)


def _server_facts(plan: Plan) -> Mapping[str, str]:
    for place in plan.places:
        if place.server is not None:
            return place.server.facts()
    return {}


async def _baselines(plan: Plan) -> Baselines:
    directory = next((place.directory for place in plan.places if place.directory is not None), Path())
    server = next((place.server for place in plan.places if place.server is not None), None)
    disk = measure_disk(directory, plan.sizes) if server is None else measure_server(server, plan.sizes)
    return Baselines(
        commit_p50=disk.commit_p50,
        commit_p99=disk.commit_p99,
        rows_per_second=disk.rows_per_second,
        bare_stage=await measure_bare_stage(plan.sizes),
    )
