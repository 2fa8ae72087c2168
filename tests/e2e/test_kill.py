"""Workers and clients are killed with -9 over and over; every run completes and nothing is done twice.

The default suite runs a small edition; the full one is ``python3 dev test -m slow tests/e2e/test_kill.py``.
"""

from __future__ import annotations

import asyncio
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter, defaultdict
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

import attrs
import pytest

from holdfast import Registry, RunStatus, StageStatus
from holdfast.events import EventType, fold
from holdfast.ports.queries import RunFilter
from holdfast_hosts.wiring import Opened, open_kernel

PROCESS: Final = Path(__file__).with_name("kill_process.py")
STAGES: Final = 5
WORKERS: Final = 2
MANY: Final = 100_000
#: Lease, reap interval and one poll of `kill_process`, and what starting Python takes on a busy machine.
GRACE_SECONDS: Final = 60.0


@attrs.define
class Theatre:
    """The processes of one test and the files that they share."""

    folder: Path
    seed: int
    workers: list[subprocess.Popen[bytes]] = attrs.field(factory=list)
    client: subprocess.Popen[bytes] | None = None
    kills: int = 0
    chance: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.chance = random.Random(self.seed)

    @property
    def store(self) -> str:
        """The URL of the store."""
        return f"sqlite:///{self.folder / 'kill.db'}"

    def spawn(self, *words: str) -> subprocess.Popen[bytes]:
        """Start one process."""
        return subprocess.Popen([sys.executable, str(PROCESS), *words], stdin=subprocess.DEVNULL)

    def fill(self, runs: int) -> None:
        """Start what is not running: the workers, and the client until it has created every run."""
        self.workers = [process for process in self.workers if process.poll() is None]
        while len(self.workers) < WORKERS:
            self.workers.append(self.spawn("worker", self.store, str(self.folder / "ledger")))
        if self.client is None or self.client.poll() not in (None, 0):
            self.client = self.spawn("client", self.store, str(self.folder / "acknowledged"), str(runs))

    def kill_one(self) -> None:
        """Kill a worker, or now and then the client, without warning."""
        victims = list(self.workers)
        if self.client is not None and self.client.poll() is None:
            victims.append(self.client)
        victim = self.chance.choice(victims)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        self.kills += 1

    def close(self) -> None:
        """End every process."""
        for process in [*self.workers, *([self.client] if self.client else [])]:
            if process.poll() is None:
                process.kill()
            process.wait()

    def lines(self, name: str) -> list[list[str]]:
        """Return the words of each line of a ledger."""
        path = self.folder / name
        return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def completed(database: Path) -> int:
    """Count completed runs, read-only and beside the engine; none while the store is being made."""
    if not database.exists():
        return 0
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    try:
        (count,) = connection.execute("SELECT count(*) FROM run WHERE status = 'COMPLETED'").fetchone()
    except sqlite3.OperationalError:
        return 0
    finally:
        connection.close()
    return int(count)


def perform(theatre: Theatre, *, runs: int, kills: int) -> None:
    """Kill until enough was killed, then let the survivors finish."""
    database = theatre.folder / "kill.db"
    while theatre.kills < kills:
        theatre.fill(runs)
        # The pause is the nemesis's rhythm: kills are to land at any point of a worker's life, its start included.
        time.sleep(theatre.chance.uniform(0.05, 0.9))
        theatre.kill_one()
    deadline = time.monotonic() + GRACE_SECONDS
    while completed(database) < runs:
        theatre.fill(runs)
        assert time.monotonic() < deadline, f"{completed(database)} of {runs} runs completed in time"
        time.sleep(0.1)


async def _look(opened: Opened, acknowledged: dict[str, str]) -> tuple[list[str], dict[tuple[str, str], int]]:
    """Return what is wrong, and the epoch under which each stage of each run was committed."""
    wrong: list[str] = []
    epochs: dict[tuple[str, str], int] = {}
    runs = await opened.persistence.list_runs(RunFilter(), limit=MANY)
    by_key = {run.idempotency_key: run.id for run in runs}
    wrong += [f"{key} is lost" for key, run_id in acknowledged.items() if by_key.get(key) != run_id]
    wrong += [f"orphan {run_id}" for run_id in await opened.persistence.list_orphans(limit=MANY)]
    for run in runs:
        events = await opened.persistence.list_events(run.id, limit=MANY)
        stages = await opened.persistence.list_stages(run.id)
        told = Counter(event.key for event in events if event.type is EventType.STAGE_COMPLETED)
        folded = fold(events)
        if run.status is not RunStatus.COMPLETED or folded.status is not run.status:
            wrong.append(f"{run.id} is {run.status.value}, its events say {folded.status}")
        if [event.number for event in events] != list(range(1, run.events + 1)):
            wrong.append(f"{run.id} has gaps in its events")
        if len(stages) != STAGES or any(stage.status is not StageStatus.COMPLETED for stage in stages):
            wrong.append(f"{run.id} has stages {[(stage.key.stage_id, stage.status.value) for stage in stages]}")
        wrong += [f"{stage.key} was committed {told[stage.key]} times" for stage in stages if told[stage.key] != 1]
        epochs.update({(run.id, stage.key.stage_id): stage.epoch for stage in stages})
    return wrong, epochs


async def verdict(theatre: Theatre) -> list[str]:
    """Return everything that is wrong after the performance."""
    acknowledged: dict[str, str] = {}
    wrong: list[str] = []
    for number, run_id in theatre.lines("acknowledged"):
        if acknowledged.setdefault(f"run-{number}", run_id) != run_id:
            wrong.append(f"run-{number} was acknowledged as two runs")
    async with open_kernel(theatre.store, registry=Registry([])) as opened:
        found, epochs = await _look(opened, acknowledged)
    wrong += found
    effects: dict[tuple[str, str], list[int]] = defaultdict(list)
    keys: dict[tuple[str, str], set[str]] = defaultdict(set)
    for run_id, stage_id, executed, _, key in theatre.lines("ledger"):
        effects[run_id, stage_id].append(int(executed))
        keys[run_id, stage_id].add(key)
    for instance, epoch in epochs.items():
        done = effects[instance]
        if done.count(epoch) != 1:
            wrong.append(f"{instance} was committed under epoch {epoch}, executed under {done}")
        if max(done) > epoch:
            wrong.append(f"{instance} was executed again after its commit: {done} after {epoch}")
        if len(keys[instance]) != 1:
            wrong.append(f"{instance} offered several idempotency keys: {keys[instance]}")
    return wrong


def survive(folder: Path, *, runs: int, kills: int, seed: int) -> dict[str, Any]:
    """Perform, check, and return what happened in figures."""
    theatre = Theatre(folder, seed)
    began = time.monotonic()
    try:
        perform(theatre, runs=runs, kills=kills)
    finally:
        theatre.close()
    wrong = asyncio.run(verdict(theatre))
    assert wrong == [], f"seed {seed}:\n" + "\n".join(wrong)
    with sqlite3.connect(folder / "kill.db") as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
    executed = len(theatre.lines("ledger"))
    return {
        "kills": theatre.kills,
        "executed": executed,
        "repeated": executed - runs * STAGES,
        "took": timedelta(seconds=time.monotonic() - began),
    }


def test_runs_survive_killed_workers_and_clients(tmp_path: Path) -> None:
    """After 8 kills of two workers on one file, 40 runs are complete and no stage was committed twice."""
    assert survive(tmp_path, runs=40, kills=8, seed=1)["kills"] == 8


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12, 13])
def test_many_runs_survive_many_kills(tmp_path: Path, seed: int) -> None:
    """After 50 kills of two workers on one file, 200 runs are complete and no stage was committed twice."""
    assert survive(tmp_path, runs=200, kills=50, seed=seed)["kills"] == 50
