"""What is measured, where, how large and how often."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote
from uuid import uuid4

import attrs

from holdfast_testing.bench.hosts import Server


@attrs.frozen(kw_only=True)
class Sizes:
    """How much is done in one repetition."""

    #: Runs and stages of a run, for throughput.
    runs: int = 1_000
    stages: int = 10
    #: Stages of the one run whose latency is measured.
    latency_stages: int = 100
    #: Such runs before it, which bring the log of a store to the size that it has in use.
    latency_warm_up: int = 5
    #: Stages of the long run, and of the short ones that it is compared with.
    long_stages: int = 1_000
    short_stages: int = 10
    short_runs: int = 20
    #: Finished runs in the store beside which throughput is measured again.
    finished_runs: int = 100_000
    #: Items of the long map, and of the short ones that it is compared with.
    long_items: int = 100_000
    short_items: int = 1_000
    short_maps: int = 5
    #: Runs that are created one by one while nothing else is to do.
    starts: int = 100
    #: Pause before each of them.
    start_pause_seconds: float = 0.05
    #: How long an idle worker is watched, and how long it gets before that to become idle; a disk gets as long after a
    #: store was filled.
    idle_seconds: float = 5.0
    settle_seconds: float = 2.0
    #: One-row transactions, and transactions of 100 rows, of a baseline.
    commits: int = 400
    batches: int = 200
    #: Bytes of log that are written before a baseline is measured.
    log_bytes: int = 8 * 1024 * 1024
    #: Stages without an engine around them.
    bare_stages: int = 20_000
    #: Runs of one stage that are drained.
    singles: int = 10_000
    #: Finished runs, and waiting ones, in the tables of a server.
    past: tuple[int, ...] = (100_000,)
    waiting: int = 100_000
    #: Runs that are truly executed before the others are copied from them.
    seeds: int = 500
    #: What the figures of workers in processes of their own are taken from: starts, and idle time.
    apart_starts: int = 40
    apart_pause_seconds: float = 0.3
    apart_idle_seconds: float = 15.0
    #: How long a steady load lasts, and how long in the middle of it an old snapshot stays open elsewhere.
    steady_seconds: float = 30.0
    snapshot_seconds: float = 15.0


USUAL: Final = Sizes()
#: What is documented: an hour on a machine that does nothing else.
FULL: Final = Sizes(
    past=(100_000, 1_000_000),
    waiting=1_000_000,
    apart_starts=200,
    apart_pause_seconds=1.0,
    apart_idle_seconds=120.0,
    steady_seconds=600.0,
    snapshot_seconds=300.0,
)
QUICK: Final = Sizes(
    runs=200,
    latency_stages=50,
    latency_warm_up=1,
    long_stages=200,
    short_runs=5,
    finished_runs=5_000,
    long_items=2_000,
    short_items=200,
    short_maps=2,
    starts=10,
    idle_seconds=1.0,
    settle_seconds=0.2,
    commits=100,
    batches=50,
    bare_stages=5_000,
    singles=1_000,
    past=(5_000,),
    waiting=5_000,
    seeds=100,
    apart_starts=10,
    apart_idle_seconds=3.0,
    steady_seconds=6.0,
    snapshot_seconds=3.0,
)


@attrs.frozen(kw_only=True)
class Place:
    """Where measured stores lie: in memory, or as files of their own in a directory."""

    #: ``memory``, ``sqlite`` or ``postgresql``.
    kind: str
    #: Where files are made and removed again; None unless stores are files.
    directory: Path | None = None
    #: Where databases are made and dropped again; None unless stores are databases.
    server: Server | None = None

    @property
    def has_disk(self) -> bool:
        """Whether what is committed is written to a disk."""
        return self.directory is not None or self.server is not None

    @contextmanager
    def fresh(self) -> Generator[str, None, None]:
        """Give the URL of a store that does not exist yet; remove its files at the end."""
        if self.server is not None:
            with self.server.fresh(uuid4().hex[:12]) as url:
                yield url
            return
        if self.directory is None:
            yield "memory:"
            return
        with tempfile.TemporaryDirectory(prefix=".holdfast-bench-", dir=self.directory) as folder:
            # Four slashes make the path absolute.
            yield f"sqlite:///{quote(str(Path(folder).resolve() / 'bench.db'))}"


MEMORY: Final = Place(kind="memory")


@attrs.frozen(kw_only=True)
class Plan:
    """What to measure."""

    places: tuple[Place, ...] = (MEMORY, Place(kind="sqlite", directory=Path()))
    #: Names of scenarios.
    only: frozenset[str]
    sizes: Sizes = USUAL
    #: Whole rounds; figures are the medians over them.
    repeat: int = 3
    #: Jobs that the worker executes at once.
    concurrency: int = 16
    #: Whether to tell where the CPU time of a stage goes, from one further round of throughput.
    profile: bool = False
