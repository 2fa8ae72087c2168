"""What is measured, where, how large and how often."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import quote

import attrs


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


FULL: Final = Sizes()
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
)


@attrs.frozen(kw_only=True)
class Place:
    """Where measured stores lie: in memory, or as files of their own in a directory."""

    #: ``memory`` or ``sqlite``.
    kind: str
    #: Where files are made and removed again; None for memory.
    directory: Path | None = None

    @contextmanager
    def fresh(self) -> Generator[str, None, None]:
        """Give the URL of a store that does not exist yet; remove its files at the end."""
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
    sizes: Sizes = FULL
    #: Whole rounds; figures are the medians over them.
    repeat: int = 3
    #: Jobs that the worker executes at once.
    concurrency: int = 16
    #: Whether to tell where the CPU time of a stage goes, from one further round of throughput.
    profile: bool = False
