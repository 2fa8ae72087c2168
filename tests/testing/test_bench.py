"""The benchmark at the smallest sizes: what it measures, what it reports, and that it leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from holdfast.driving import run_sync
from holdfast.ports.queries import RunFilter
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.system import SystemClock
from holdfast_hosts.settings import WorkerSettings
from holdfast_hosts.wiring import Opened, open_kernel
from holdfast_hosts.worker import Worker
from holdfast_testing.bench import SCENARIOS, Place, Plan, Report, Sizes, measure, table
from holdfast_testing.bench.counting import counted_calls
from holdfast_testing.bench.filling import fill
from holdfast_testing.bench.flows import FinishLine, line
from holdfast_testing.bench.load import Opening
from holdfast_testing.bench.numbers import median, percentile
from holdfast_testing.bench.report import Aim

TINY: Final = Sizes(
    runs=3,
    stages=2,
    latency_stages=3,
    latency_warm_up=1,
    long_stages=4,
    short_stages=2,
    short_runs=2,
    finished_runs=3,
    long_items=4,
    short_items=2,
    short_maps=1,
    starts=2,
    start_pause_seconds=0.001,
    idle_seconds=0.02,
    settle_seconds=0.001,
    commits=3,
    batches=2,
    log_bytes=10_000,
    bare_stages=3,
)


def make_worker(opened: Opened, /, *, concurrency: int) -> Worker:
    return Worker(opened, settings=WorkerSettings(concurrency=concurrency))


def measured(plan: Plan, tell: Callable[[str], object] = str) -> Report:
    return asyncio.run(measure(plan, open_store=open_kernel, make_worker=make_worker, tell=tell))


@pytest.fixture
def places(tmp_path: Path) -> Iterator[tuple[Place, ...]]:
    """Give both kinds of places; nothing may be left in the folder of files."""
    yield Place(kind="memory"), Place(kind="sqlite", directory=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_every_scenario_is_measured_on_every_store(places: tuple[Place, ...]) -> None:
    """The report has every scenario on both stores with as many rounds as were asked for, and survives JSON."""
    told: list[str] = []
    plan = Plan(places=places, only=frozenset(SCENARIOS), sizes=TINY, repeat=2, concurrency=2, profile=True)
    report = measured(plan, told.append)
    shape: Any = json.loads(json.dumps(report.as_json()))
    assert [(each["store"], each["scenario"]) for each in shape["results"]] == [
        (store, scenario) for store in ("memory", "sqlite") for scenario in SCENARIOS
    ]
    assert all(len(spread["all"]) == 2 for each in shape["results"] for spread in each["values"].values())
    assert len(told) == 2 * 2 * len(SCENARIOS)
    assert shape["settings"]["sizes"] == json.loads(json.dumps(attrs.asdict(TINY)))
    assert {"python", "sqlite", "cores", "cores_usable"} <= set(shape["machine"])
    assert set(shape["baselines"]) == {"commit_p50", "commit_p99", "rows_per_second", "bare_stage"}
    assert [profile["store"] for profile in shape["profiles"]] == ["memory", "sqlite"]
    assert len(table(report)) > len(SCENARIOS) * 2


def test_figures_and_ratios_have_their_names(places: tuple[Place, ...]) -> None:
    """Every aim bounds a figure that is there, and times on a disk are told as numbers of bare commits too."""
    plan = Plan(places=places, only=frozenset(SCENARIOS), sizes=TINY, repeat=1)
    results = {(each["store"], each["scenario"]): each for each in measured(plan).as_json()["results"]}
    assert {key: set(each["aims"]) for key, each in results.items() if each["aims"]} == {
        ("memory", "throughput"): {"stages_per_second"},
        ("sqlite", "throughput"): {"stages_per_second"},
        ("sqlite", "latency"): {"bare_commits"},
        ("memory", "length"): {"long_to_short"},
        ("sqlite", "length"): {"long_to_short"},
        ("memory", "history"): {"empty_to_full"},
        ("sqlite", "history"): {"empty_to_full"},
        ("memory", "map"): {"long_to_short"},
        ("sqlite", "map"): {"long_to_short", "grown_megabytes"},
    }
    assert set(results["sqlite", "throughput"]["ratios"]) == {"bare_stages_of_cpu", "batched_rows"}
    assert set(results["memory", "latency"]["ratios"]) == set()
    assert all(spread["median"] > 0 for spread in results["sqlite", "start"]["values"].values())
    assert results["memory", "idle"]["values"]["queries_per_second"]["median"] > 0


def test_only_what_is_asked_for_is_measured(places: tuple[Place, ...]) -> None:
    """A plan for one scenario on one store gives that one result and no profile."""
    report = measured(Plan(places=places[:1], only=frozenset({"start"}), sizes=TINY, repeat=1))
    assert [(result.scenario, result.store) for result in report.results] == [("start", "memory")]
    assert report.profiles == ()


def test_bounds() -> None:
    """An aim is met on its bound and on the right side of it."""
    fast = Aim(scenario="throughput", store="memory", figure="stages_per_second", at_least=8_000)
    near = Aim(scenario="latency", store="sqlite", figure="bare_commits", at_most=1.5)
    assert (fast.words, near.words) == ("≥ 8,000", "≤ 1.5")
    assert [fast.is_met(value) for value in (7_999, 8_000, 8_001)] == [False, True, True]
    assert [near.is_met(value) for value in (1.4, 1.5, 1.6)] == [True, True, False]


def test_percentiles_are_measured_values() -> None:
    """A percentile is one of the values and not exceeded by that part of them."""
    values = [float(number) for number in range(100, 0, -1)]
    assert (percentile(values, 50), percentile(values, 99), percentile(values, 100)) == (50, 99, 100)
    assert percentile([7.0], 50) == percentile([7.0], 99) == 7
    assert median([1.0, 2.0, 9.0]) == 2


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
def test_a_filled_store_holds_finished_runs(kind: str, tmp_path: Path) -> None:
    """Filling makes completed runs with output and events, as if they had been executed."""
    asyncio.run(_fill_and_look(Place(kind=kind, directory=tmp_path if kind == "sqlite" else None)))


async def _fill_and_look(place: Place) -> None:
    opening = Opening(open_store=open_kernel, make_worker=make_worker, concurrency=1)
    with place.fresh() as store:
        async with opening.site(store, stages=2) as site:
            past = line("past", stages=3, finish=FinishLine()).definition()
            await fill(site.opened.kernel, past, runs=7)
            persistence = site.opened.persistence
            counts, runs = await persistence.count(), await persistence.list_runs(RunFilter(), limit=99)
            assert {status.value: number for status, number in counts.runs.items()} == {"COMPLETED": 7}
            assert {run.events for run in runs} == {2 + 2 * 3 + 1}
            assert counts.leased == counts.ready == 0
            assert set(await persistence.get_outputs(runs[0].id, ["last"])) == {"last"}


def test_counting_calls_ends_with_the_context() -> None:
    """Calls are counted by method within the context and no longer after it."""
    store = MemoryPersistence(clock=SystemClock())
    with counted_calls(store) as calls:
        run_sync(store.count())
        run_sync(store.count())
        run_sync(store.find_run("none"))
    run_sync(store.count())
    assert calls == {"count": 2, "find_run": 1}
