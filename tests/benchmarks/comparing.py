"""Has every engine do the same work on the same server, one after the other, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any, Final
from uuid import uuid4

import attrs

from holdfast_adapters.postgres.measuring import PostgresServer
from holdfast_testing.bench.numbers import median, percentile
from tests.benchmarks import absurd, dbos, holdfast, pgqueuer, procrastinate
from tests.benchmarks.work import Engine, Engines, Work

ENGINES: Final[Engines] = {
    **holdfast.ENGINES,
    **dbos.ENGINES,
    **absurd.ENGINES,
    **procrastinate.ENGINES,
    **pgqueuer.ENGINES,
}
OURS: Final = "holdfast"
#: An engine that is stuck is given up after this long.
PATIENCE_SECONDS: Final = 900.0
#: What is told of each engine, with whether more of it is better.
FIGURES: Final[Mapping[str, bool]] = {
    "steps_per_second": True,
    "singles_per_second": True,
    "step_us": False,
    "start_p50_us": False,
    "start_p99_us": False,
}


def _steps(engine: Engine, url: str, work: Work) -> dict[str, float]:
    return {"steps_per_second": work.runs * work.stages / engine.steps(url, work.runs, work.stages)}


def _singles(engine: Engine, url: str, work: Work) -> dict[str, float]:
    return {"singles_per_second": work.singles / engine.steps(url, work.singles, 1)}


def _alone(engine: Engine, url: str, work: Work) -> dict[str, float]:
    assert engine.alone is not None, "only asked of engines that can"
    return {"step_us": _called_alone(engine.alone, url, work) / work.alone * 1e6}


def _called_alone(alone: Callable[..., float], url: str, work: Work) -> float:
    return alone(url, stages=work.alone)


def _starts(engine: Engine, url: str, work: Work) -> dict[str, float]:
    assert engine.starts is not None, "only asked of engines that can"
    waits = engine.starts(url, work)
    return {"start_p50_us": percentile(waits, 50) * 1e6, "start_p99_us": percentile(waits, 99) * 1e6}


TASKS: Final[Mapping[str, Callable[[Engine, str, Work], dict[str, float]]]] = {
    "steps": _steps,
    "singles": _singles,
    "alone": _alone,
    "starts": _starts,
}


def tasks_of(engine: Engine) -> Sequence[str]:
    """Return what *engine* can be asked for."""
    able = {"alone": engine.alone is not None, "starts": engine.starts is not None}
    return [name for name in TASKS if able.get(name, True)]


def perform(name: str, task: str, url: str, work: Work) -> dict[str, float]:
    """Have one engine do one task, in this process, and return its figures.

    Raises:
        NotInstalled: If the engine is not there.
    """
    return TASKS[task](ENGINES[name], url, work)


@attrs.frozen(kw_only=True)
class Score:
    """What one engine with certain settings reached."""

    name: str
    version: str
    settings: str
    figures: Mapping[str, float]

    @property
    def package(self) -> str:
        """Return the package that it is a variant of."""
        return ENGINES[self.name].package


def compare(
    server: PostgresServer, *, names: Sequence[str], tasks: Sequence[str], work: Work, repeat: int
) -> list[Score]:
    """Have the engines work, each task on an empty database, and return medians."""
    found: dict[str, dict[str, list[float]]] = {name: {} for name in names}
    for _ in range(repeat):
        for task in tasks:
            for name in names:
                if task in tasks_of(ENGINES[name]):
                    sys.stderr.write(f"▶ {task}: {name}\n")
                    for figure, value in _elsewhere(server, name, task, work).items():
                        found[name].setdefault(figure, []).append(value)
    return [
        Score(
            name=name,
            version=version(ENGINES[name].package),
            settings=ENGINES[name].settings,
            figures={figure: median(values) for figure, values in figures.items()},
        )
        for name, figures in found.items()
    ]


def _elsewhere(server: PostgresServer, name: str, task: str, work: Work) -> dict[str, float]:
    with server.fresh(uuid4().hex[:12]) as url:
        command = [sys.executable, "-m", "tests.benchmarks", "perform", name, task, url]
        done = subprocess.run(
            [*command, json.dumps(attrs.asdict(work))],
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
            check=False,
        )
    if done.returncode:
        raise RuntimeError(f"{name} did not do {task}: {done.stderr.strip()[-2_000:]}")
    figures: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return figures


def bare_commit_us(server: PostgresServer, *, commits: int = 300) -> float:
    """Return what one row and its commit take on the bare server."""
    taken: list[float] = []
    with server.fresh(uuid4().hex[:12]) as url, server.bare(url) as insert:
        for _ in range(commits):
            begun = time.perf_counter()
            insert(1)
            taken.append(time.perf_counter() - begun)
    return median(taken) * 1e6


def best(scores: Sequence[Score], figure: str) -> dict[str, Score]:
    """Return for each package the variant with the best *figure*."""
    chosen: dict[str, Score] = {}
    for score in scores:
        if figure not in score.figures:
            continue
        other = chosen.get(score.package)
        if other is None or (score.figures[figure] > other.figures[figure]) is FIGURES[figure]:
            chosen[score.package] = score
    return chosen


def ratios(scores: Sequence[Score]) -> dict[str, dict[str, float]]:
    """Return by figure and package how many times better we are, each at its best."""
    told: dict[str, dict[str, float]] = {}
    for figure, is_more in FIGURES.items():
        chosen = best(scores, figure)
        if OURS not in chosen:
            continue
        ours = chosen[OURS].figures[figure]
        told[figure] = {
            package: ours / score.figures[figure] if is_more else score.figures[figure] / ours
            for package, score in chosen.items()
            if package != OURS
        }
    return told


def as_json(scores: Sequence[Score], *, commit_us: float, facts: Mapping[str, str]) -> dict[str, Any]:
    """Return everything as JSON values."""
    return {
        "server": dict(facts),
        "bare_commit_us": commit_us,
        "engines": [attrs.asdict(score) for score in scores],
        "times_better": ratios(scores),
    }


def lines(scores: Sequence[Score], *, commit_us: float, facts: Mapping[str, str]) -> list[str]:
    """Return everything as lines for a terminal."""
    said = [", ".join(f"{name} {value}" for name, value in facts.items()), f"bare commit {commit_us:,.0f} μs", ""]
    said.append("engine".ljust(16) + "".join(figure.rjust(20) for figure in FIGURES))
    for score in scores:
        cells = (f"{score.figures[figure]:,.0f}" if figure in score.figures else "–" for figure in FIGURES)
        said.append(score.name.ljust(16) + "".join(cell.rjust(20) for cell in cells))
    said += ["", "Holdfast is so many times better, each at its best:"]
    for figure, by_package in ratios(scores).items():
        said.append(f"  {figure}: " + ", ".join(f"{package} {ratio:.1f} ×" for package, ratio in by_package.items()))
    said.append("")
    said += [f"{score.name}: {score.package} {score.version}, {score.settings}" for score in scores]
    return said
