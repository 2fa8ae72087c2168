"""`holdfast bench`: what one types."""

from __future__ import annotations

from typing import Annotated

import attrs
from cyclopts import Parameter

from holdfast_hosts.cli.options import DEFAULTS, Common


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class BenchOptions:
    """What to measure."""

    quick: Annotated[bool, Parameter(help="Measure little, in seconds instead of minutes.")] = False
    full: Annotated[
        bool, Parameter(help="Measure servers with a million runs in the tables, for most of an hour a round.")
    ] = False
    only: Annotated[list[str] | None, Parameter(help="A scenario to measure; may be repeated.  [default: all]")] = None
    repeat: Annotated[int, Parameter(help="Rounds, of which medians are shown.")] = 3
    concurrency: Annotated[int, Parameter(help="How many jobs are executed at once.")] = 16
    profile: Annotated[bool, Parameter(help="Show where the CPU time of a stage goes.")] = False


_ALL = BenchOptions()


def bench(*, options: BenchOptions = _ALL, common: Common = DEFAULTS) -> int:
    """Measure the engine on this machine, next to what the machine itself can do.

    Files of its own are made in the folder of --store and removed; a store that is there is not touched. Without
    --store it measures in memory too. Scenarios: throughput, latency, length, history, map, start, idle.

    On the server of a postgresql:// store databases of its own are made and dropped. Scenarios there: throughput,
    workers, traffic, drain, latency, start, idle, history, waiting, snapshot.
    """
    from holdfast_hosts.cli.acts.bench import bench as act

    return act(options, common=common)
