"""A report as lines for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from holdfast_testing.bench.numbers import median
from holdfast_testing.bench.profiling import Profile
from holdfast_testing.bench.report import Report, Result

#: The unit at the end of a figure's name, and how it is written.
_UNITS: Final = {"_us": "μs", "_percent": "%", "_megabytes": "MB", "_per_second": "/s", "_per_stage": ""}

Row = tuple[str, str, str, str, str]


def table(report: Report) -> list[str]:
    """Return *report* as lines."""
    facts, plan = report.machine, report.plan
    lines = [
        f"Holdfast {facts.holdfast} · {facts.python} · {_database(report)} · {facts.system}",
        f"{facts.cores_usable} of {facts.cores} cores · {plan.concurrency} jobs at once · medians of {plan.repeat}",
        *(() if report.is_durable else ("NOT DURABLE: these figures say nothing.",)),
        "",
    ]
    lines += _aligned([("scenario", "store", "figure", "median", "aim"), *_baselines(report), *_results(report)])
    for profile in report.profiles:
        lines += ["", *_profile(profile)]
    return lines


def _database(report: Report) -> str:
    server = dict(report.server)
    if not server:
        return f"SQLite {report.machine.sqlite} (WAL, FULL)"
    version = server.pop("server_version")
    return f"PostgreSQL {version} ({', '.join(f'{name} {value}' for name, value in server.items())})"


def _baselines(report: Report) -> Iterator[Row]:
    for name in ("commit_p50", "commit_p99", "rows_per_second", "bare_stage"):
        value = median([getattr(each, name) for each in report.baselines])
        figure = name if name.endswith("_per_second") else f"{name}_us"
        yield "baseline", "", *_shown(figure, value), ""


def _results(report: Report) -> Iterator[Row]:
    for result in report.results:
        first = result.rounds[0]
        for figure in (*first.values, *first.ratios):
            yield result.scenario, result.store, *_shown(figure, result.median_of(figure)), _aim(result, figure)


def _shown(figure: str, value: float) -> tuple[str, str]:
    unit = next((unit for ending, unit in _UNITS.items() if figure.endswith(ending)), "×")
    number = f"{value:,.0f}" if value >= 1_000 else f"{value:.3g}"
    ending = next((ending for ending in ("_us", "_percent", "_megabytes") if figure.endswith(ending)), "")
    return figure.removesuffix(ending).replace("_", " "), f"{number} {unit}".rstrip()


def _aim(result: Result, figure: str) -> str:
    aim = result.aim_of(figure)
    if aim is None:
        return ""
    return f"{aim.words} {'✓' if aim.is_met(result.median_of(figure)) else '✕'}"


def _profile(profile: Profile) -> Iterator[str]:
    of_loop = f"{profile.loop_cpu:.1f} μs of it in the event loop's thread"
    yield f"CPU of a stage on {profile.store}: {profile.cpu:.1f} μs, {of_loop}"
    yield from (f"  {own:6.1f} μs  {part}" for part, own in profile.parts.items() if own >= 0.05)
    yield "by function:"
    yield from (f"  {spent.own:6.2f} μs {spent.calls:6.1f} ×  {spent.function}" for spent in profile.functions)


def _aligned(rows: Sequence[Row]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines: list[str] = []
    for scenario, store, figure, value, aim in rows:
        cells = (
            scenario.ljust(widths[0]),
            store.ljust(widths[1]),
            figure.ljust(widths[2]),
            value.rjust(widths[3]),
            aim,
        )
        lines.append("  ".join(cells).rstrip())
    return lines
