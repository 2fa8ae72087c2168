"""Where the CPU time of a stage goes: of the whole process by its clocks, of the event loop's thread by its calls."""

from __future__ import annotations

import cProfile
import pstats
from pathlib import Path
from typing import Any, Final, cast

import attrs

from holdfast_testing.bench.load import Opening, carry
from holdfast_testing.bench.plan import Place, Sizes

#: So many functions are told of.
MOST_TOLD: Final = 25
#: Packages of this distribution, by the first of which a path is cut short.
_OURS: Final = ("holdfast", "holdfast_adapters", "holdfast_hosts", "holdfast_testing")


@attrs.frozen(kw_only=True)
class Spent:
    """What one function cost for each stage."""

    function: str
    calls: float
    #: Microseconds within the function itself, its part of the time of the unprofiled round.
    own: float


@attrs.frozen(kw_only=True)
class Profile:
    """Where the CPU time of a stage goes on one store, in microseconds."""

    store: str
    #: All threads, without the profiler.
    cpu: float
    #: The event loop's thread, without the profiler.
    loop_cpu: float
    #: Microseconds by the first two parts of module names: the kernel, each adapter, the hosts, and all the rest.
    parts: dict[str, float]
    functions: tuple[Spent, ...]


async def profile(opening: Opening[Any], place: Place, sizes: Sizes) -> Profile:
    """Carry the load of throughput twice, the second time under cProfile, which sees the event loop's thread only.

    The profiler makes calls more expensive than they are and so shifts the picture towards small functions. Its times
    are scaled down to what the first round took.
    """
    with place.fresh() as store:
        async with opening.site(store, stages=sizes.stages) as site:
            plain = await carry(site, runs=sizes.runs, stages=sizes.stages)
    profiler = cProfile.Profile()
    with place.fresh() as store:
        async with opening.site(store, stages=sizes.stages) as site:
            await carry(site, runs=sizes.runs, stages=sizes.stages, around=profiler)
    return _read(profiler, store=place.kind, plain=(plain.cpu, plain.loop_cpu), stages=sizes.runs * sizes.stages)


def _read(profiler: cProfile.Profile, *, store: str, plain: tuple[float, float], stages: int) -> Profile:
    stats = cast(
        "dict[tuple[str, int, str], tuple[int, int, float, float, Any]]", cast("Any", pstats.Stats(profiler)).stats
    )
    # Waiting is no CPU time.
    rows = [(place, calls, own) for place, (_, calls, own, _, _) in stats.items() if "epoll" not in place[2]]
    cpu, loop_cpu = plain
    scale = loop_cpu / sum(own for _, _, own in rows)
    parts: dict[str, float] = {}
    for place, _, own in rows:
        part = _part(place[0])
        parts[part] = parts.get(part, 0.0) + own * scale
    rows.sort(key=lambda row: row[2], reverse=True)
    return Profile(
        store=store,
        cpu=cpu,
        loop_cpu=loop_cpu,
        parts=dict(sorted(parts.items(), key=lambda item: item[1], reverse=True)),
        functions=tuple(
            Spent(function=_name(place), calls=calls / stages, own=own * scale)
            for place, calls, own in rows[:MOST_TOLD]
        ),
    )


def _module(file: str) -> tuple[str, ...]:
    """Return the parts of a module's name, empty if the module is not ours."""
    parts = Path(file).with_suffix("").parts
    starts = [index for index, part in enumerate(parts) if part in _OURS]
    return parts[starts[-1] :] if starts else ()


def _part(file: str) -> str:
    # Made by attrs, and named after the class that is made.
    if file.startswith("<attrs"):
        return "making values"
    return ".".join(_module(file)[:2]) or "the interpreter and its library"


def _name(place: tuple[str, int, str]) -> str:
    file, line, function = place
    if file == "~":
        return function
    if file.startswith("<attrs"):
        return f"{function} {file.strip('<>').removeprefix('attrs generated methods ')}"
    return f"{'.'.join(_module(file)) or Path(file).name}:{line} {function}"
