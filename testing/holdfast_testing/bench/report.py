"""The figures of all rounds, and what is aimed at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from holdfast_testing.bench.machine import Machine
from holdfast_testing.bench.numbers import median
from holdfast_testing.bench.plan import Plan
from holdfast_testing.bench.profiling import Profile
from holdfast_testing.bench.scenarios import Baselines, Figures


@attrs.frozen(kw_only=True)
class Aim:
    """A bound that a median is to keep."""

    scenario: str
    store: str
    figure: str
    at_least: float | None = None
    at_most: float | None = None

    def is_met(self, value: float) -> bool:
        """Return whether *value* keeps the bound."""
        return (self.at_least is None or value >= self.at_least) and (self.at_most is None or value <= self.at_most)

    @property
    def words(self) -> str:
        """The bound, such as ``≥ 8,000``."""
        return f"≥ {self.at_least:,g}" if self.at_least is not None else f"≤ {self.at_most:,g}"


AIMS: Final = (
    Aim(scenario="throughput", store="memory", figure="stages_per_second", at_least=20_000),
    Aim(scenario="throughput", store="sqlite", figure="stages_per_second", at_least=8_000),
    Aim(scenario="latency", store="sqlite", figure="bare_commits", at_most=1.5),
    *(Aim(scenario="length", store=store, figure="long_to_short", at_most=1.3) for store in ("memory", "sqlite")),
    *(Aim(scenario="history", store=store, figure="empty_to_full", at_most=1.3) for store in ("memory", "sqlite")),
    *(Aim(scenario="map", store=store, figure="long_to_short", at_most=1.5) for store in ("memory", "sqlite")),
    Aim(scenario="map", store="sqlite", figure="grown_megabytes", at_most=100),
    *(
        Aim(scenario=scenario, store="postgresql", figure=figure, at_least=least, at_most=most)
        for scenario, figure, least, most in (
            ("throughput", "cpu_us", None, 60),
            ("workers", "two_to_one", 1.5, None),
            ("traffic", "round_trips_per_stage", None, 1),
            ("latency", "bare_commits", None, 1.3),
            ("latency", "p99_bare_commits", None, 3),
            ("start", "p50_us", None, 5_000),
            ("start", "p99_us", None, 20_000),
            ("idle", "cpu_percent", None, 0.5),
            ("idle", "queries_per_second", None, 0.2),
            ("history", "empty_to_past_100000", None, 1.1),
            ("history", "empty_to_past_1000000", None, 1.1),
            ("waiting", "empty_to_full", None, 1.1),
            ("waiting", "full_idle_cpu_percent", None, 0.5),
            ("snapshot", "loss_percent", None, 30),
        )
    ),
)

#: Settings of a server that have to be on.
DURABLE: Final = ("fsync", "synchronous_commit", "full_page_writes")


@attrs.frozen(kw_only=True)
class Result:
    """One scenario on one store, over all rounds."""

    scenario: str
    store: str
    rounds: tuple[Figures, ...]

    def all_of(self, figure: str) -> list[float]:
        """Return a value or ratio of every round."""
        return [{**each.values, **each.ratios}[figure] for each in self.rounds]

    def median_of(self, figure: str) -> float:
        """Return the median of a value or ratio."""
        return median(self.all_of(figure))

    def aim_of(self, figure: str) -> Aim | None:
        """Return what is aimed at for a value or ratio, if anything is."""
        sought = (self.scenario, self.store, figure)
        return next((aim for aim in AIMS if (aim.scenario, aim.store, aim.figure) == sought), None)


@attrs.frozen(kw_only=True)
class Report:
    """Everything that was measured."""

    plan: Plan
    machine: Machine
    #: The version and settings of the database server; empty if there was none.
    server: Mapping[str, str]
    baselines: tuple[Baselines, ...]
    results: tuple[Result, ...]
    profiles: tuple[Profile, ...]

    @property
    def is_durable(self) -> bool:
        """Whether what was committed would have survived a power cut; if not, its figures say nothing."""
        return all(self.server.get(name, "on") == "on" for name in DURABLE)

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON values; times are in microseconds."""
        plan = self.plan
        return {
            "machine": attrs.asdict(self.machine),
            "server": dict(self.server),
            "is_durable": self.is_durable,
            "settings": {
                "stores": [place.kind for place in plan.places],
                "repeat": plan.repeat,
                "concurrency": plan.concurrency,
                "journal_mode": "WAL",
                "synchronous": "FULL",
                "sizes": attrs.asdict(plan.sizes),
            },
            "baselines": {
                field.name: _spread([getattr(each, field.name) for each in self.baselines])
                for field in attrs.fields(Baselines)
            },
            "results": [_result(result) for result in self.results],
            "profiles": [attrs.asdict(profile) for profile in self.profiles],
        }


def _result(result: Result) -> dict[str, Any]:
    first = result.rounds[0]
    return {
        "scenario": result.scenario,
        "store": result.store,
        "values": {name: _spread(result.all_of(name)) for name in first.values},
        "ratios": {name: _spread(result.all_of(name)) for name in first.ratios},
        "aims": {
            name: {
                "at_least": aim.at_least,
                "at_most": aim.at_most,
                "is_met": aim.is_met(result.median_of(name)),
            }
            for name in (*first.values, *first.ratios)
            if (aim := result.aim_of(name)) is not None
        },
    }


def _spread(values: Sequence[float]) -> Mapping[str, Any]:
    return {"median": median(values), "all": list(values)}
