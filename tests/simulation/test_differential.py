"""Random sequences of commands have the same outcomes, and leave the same, in memory, on SQLite and on Postgres."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import pytest

from holdfast.entities.stage import StageKey
from holdfast_adapters.memory import MemoryPersistence
from holdfast_adapters.postgres import PostgresPersistence
from holdfast_adapters.sqlite import SqlitePersistence
from tests.postgres import empty_url
from tests.simulation.differential import Difference, StoreMakers, compare
from tests.simulation.stores import quick_folder

#: What a few sequences must have met between them: results of commands, refusals, and events of runs.
SOMETIMES: Final = frozenset(
    {
        *("RunCreated", "RunCancelResult", "RunPauseResult", "RunUnpauseResult", "RunRerunFromResult"),
        *("RunRetryResult", "RunResumeResult", "RunClaimPendingResult", "RunTransitionResult", "LeaseReapStaleResult"),
        *("TimerFireDueResult", "OutboxFlushResult", "PluginReplayDlqResult", "StagePollSuspendedResult"),
        *("IdempotencyMismatch", "IllegalTransition", "UnknownStage", "StoreUnavailable", "the process died"),
        *("run.completed", "run.failed", "run.cancelled", "run.paused", "run.unpaused", "run.rerun", "run.retried"),
        *("run.due", "stage.retrying", "stage.lease_expired", "stage.waiting", "stage.resumed", "stage.suspended"),
        *("stage.skipped", "stage.child_started", "stage.compensated"),
    }
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """Give a folder for the database files of one test."""
    with TemporaryDirectory(dir=quick_folder()) as path:
        yield Path(path)


def stores(path: Path) -> StoreMakers:
    """Return makers of an empty store of each kind."""
    url = empty_url()
    return {
        "memory": lambda clock: MemoryPersistence(clock=clock),
        "sqlite": lambda clock: SqlitePersistence(path, clock=clock),
        "postgres": lambda clock: PostgresPersistence(url, clock=clock, connections=2),
    }


def played(folder: Path, seeds: range, *, length: int, is_limited: bool = False) -> Counter[str]:
    """Play a sequence of *length* actions for each seed and return what happened in them."""
    happened: Counter[str] = Counter()
    for seed in seeds:
        makers = stores(folder / f"{seed}.db")
        happened += asyncio.run(compare(seed, makers, length=length, is_limited=is_limited))
    return happened


@pytest.mark.postgres
def test_all_stores_say_the_same(folder: Path) -> None:
    """Whatever clients, workers and faults do to them one after the other, no answer of any store tells it apart."""
    happened = played(folder, range(8), length=150)
    assert not SOMETIMES - happened.keys()


@pytest.mark.postgres
def test_all_stores_heed_limits_alike(folder: Path) -> None:
    """The same holds when the limits of the queue change again and again."""
    happened = played(folder, range(3), length=150, is_limited=True)
    assert happened["QueueConfigured"] > 3


@pytest.mark.slow
@pytest.mark.postgres
@pytest.mark.parametrize("is_limited", [False, True])
@pytest.mark.parametrize("first", range(1_000, 2_000, 100))
def test_all_stores_say_the_same_for_long(folder: Path, first: int, *, is_limited: bool) -> None:
    """Two thousand longer sequences show no difference either."""
    happened = played(folder, range(first, first + 100), length=300, is_limited=is_limited)
    assert not SOMETIMES - happened.keys()


class _Forgetful(MemoryPersistence):
    """A store that does not know whose lease settled a job."""

    async def is_settled(self, key: StageKey, *, epoch: int) -> bool:
        """Say that nobody's did."""
        return False


def test_a_store_that_forgets_is_told_apart() -> None:
    """A store that answers otherwise is found out, and the first difference told with what was done before."""
    makers: StoreMakers = {
        "whole": lambda clock: MemoryPersistence(clock=clock),
        "forgetful": lambda clock: _Forgetful(clock=clock),
    }
    with pytest.raises(Difference, match=r"(?s)settled\.\d+\.\d+\nwhole: True\nforgetful: False\nThe actions before:"):
        asyncio.run(compare(0, makers, length=150))
