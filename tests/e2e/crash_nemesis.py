"""What goes wrong in the crash test, and when: a server is crashed and processes are killed, as a seed says."""

from __future__ import annotations

import contextlib
import enum
import json
import os
import random
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TextIO
from urllib.parse import quote

import attrs
import psycopg

from tests.e2e.crash_process import Plan
from tests.e2e.crash_troupe import WORKERS, Process, Troupe
from tests.postgres import Server

#: A crash loses nothing that was committed only if these are so.
SAFE: Final = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
#: The part of the kills that hits the client.
CLIENT_SHARE: Final = 0.15
#: The part of the kills before which all workers have started, so that the others hit somebody who may be starting.
START_SHARE: Final = 0.75
#: How long after the end of a process the server may still do what it was sent.
POSTHUMOUS_SECONDS: Final = 1.0
#: How long the client is waited for when a fault is to hit it in the middle of a request.
AIM_SECONDS: Final = 1.0
#: What has not moved for so long once all faults are over never will.
STUCK_SECONDS: Final = 120.0


class Kind(enum.Enum):
    """The kinds of faults."""

    CRASH = "crash of the database"
    OUTAGE = "database away for longer than a lease"
    KILL = "kill of a worker"
    MASSACRE = "kill of all workers"
    FREEZE = "worker stopped for longer than its lease"


@attrs.frozen(kw_only=True)
class Fault:
    """Something that went wrong."""

    kind: Kind
    #: When it struck, and when it was over: the database answered, the replacement was started.
    at: float
    over: float
    #: The processes that it struck; None for all.
    pids: frozenset[int] | None = None

    def strikes(self, began: float, ended: float, *, pid: int | None) -> bool:
        """Return whether it struck in the middle of what the process did from one instant to another."""
        if self.pids is None:
            return began <= self.at < ended
        # What a process had asked for may still be granted to it when it is dead.
        return pid in self.pids and began - POSTHUMOUS_SECONDS <= self.at < ended


@attrs.frozen(kw_only=True)
class Rhythm:
    """How the faults follow each other, in seconds."""

    #: How long ordinary faults go on; what is done once comes on top of it.
    length: float
    crash: tuple[float, float] = (5.0, 10.0)
    #: How long the database stays away after a crash.
    down: tuple[float, float] = (0.0, 1.0)
    kill: tuple[float, float] = (0.5, 3.0)
    #: How long it takes until a replacement is started.
    replace: tuple[float, float] = (0.0, 5.0)
    #: How long the database stays away once: longer than a lease.
    outage: float
    #: How long a worker is stopped at most, until another has taken its work over.
    freeze: float


class Theatre:
    """The server, the processes and the files of one performance.

    Args:
        plan: What the processes are told; its store is this theatre's.
        rhythm: How often what goes wrong.
        seed: What all chance comes from, but that of the processes.
    """

    def __init__(self, plan: Plan, rhythm: Rhythm, *, seed: int) -> None:
        self._rhythm = rhythm
        self._seed = seed
        # A file system on a disk, and one that the server's own user reaches.
        self._place = Path(tempfile.mkdtemp(prefix="holdfast-crash-"))
        self.server = Server(settings=SAFE, folder=self._place)
        store = f"postgresql://postgres@/postgres?host={quote(str(self._place / 'data'), safe='')}"
        self.plan = attrs.evolve(plan, store=store)
        self.faults: list[Fault] = []
        self.troupe = Troupe(self.plan)
        #: Held by whoever stops the server, or needs it.
        self._database = threading.Lock()
        self._over = threading.Event()

    def perform(self) -> None:
        """Let everything go wrong, then wait until all is done."""
        chances = [random.Random(f"{self._seed} {name}") for name in ("database", "processes", "acts")]
        self.troupe.fill()
        self._await_work()
        with ThreadPoolExecutor(2) as pool:
            going = [pool.submit(self._crash_on, chances[0]), pool.submit(self._kill_on, chances[1])]
            try:
                acts = [self._freeze, self._drain, self._massacre, self._outage]
                for act in acts:
                    self._rest(self._rhythm.length / (len(acts) + 1), going)
                    act(chances[2])
                self._rest(self._rhythm.length / (len(acts) + 1), going)
            finally:
                self._over.set()
        for one in going:
            one.result()
        self._heal()

    def _await_work(self) -> None:
        latest = time.monotonic() + STUCK_SECONDS
        while not self.plan.ledger.exists() or not self.plan.ledger.stat().st_size:
            assert time.monotonic() < latest, "no worker begins any work"
            self._over.wait(0.05)

    def _rest(self, seconds: float, going: list[Future[None]]) -> None:
        """Leave the time to the other threads, unless one of them failed."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and not any(one.done() for one in going):
            self._over.wait(0.2)

    def _crash_on(self, chance: random.Random) -> None:
        while not self._over.wait(chance.uniform(*self._rhythm.crash)):
            with self._database:
                self._aim(chance)
                self._crash(chance.uniform(*self._rhythm.down), Kind.CRASH)

    def _aim(self, chance: random.Random) -> None:
        """Wait every other time until the client has just sent something, so that its answer is on its way."""
        if chance.random() < 0.5 or not self.plan.log.exists():
            return
        before, latest = self.plan.log.stat().st_size, time.monotonic() + AIM_SECONDS
        while self.plan.log.stat().st_size == before and time.monotonic() < latest:
            self._over.wait(0.0005)
        self._over.wait(chance.uniform(0.0, 0.01))

    def _crash(self, seconds: float, kind: Kind) -> None:
        """Stop the server as a power cut would, leave it away for a while and start it again."""
        at = time.time()
        self.server.stop(signal.SIGQUIT)
        # Not shortened by the end of the performance: an outage is meant to outlive leases.
        threading.Event().wait(seconds)
        self.server.start()
        self.faults.append(Fault(kind=kind, at=at, over=time.time()))

    def _kill_on(self, chance: random.Random) -> None:
        while not self._over.wait(chance.uniform(*self._rhythm.kill)):
            self.troupe.tend()
            if chance.random() < START_SHARE:
                # On a busy machine nobody would ever get to work otherwise.
                self.troupe.await_start(self._over)
            if chance.random() < CLIENT_SHARE:
                self._aim(chance)
                self.troupe.kill_client()
            else:
                self._kill(1, Kind.KILL, chance)

    def _kill(self, most: int, kind: Kind, chance: random.Random) -> None:
        """Kill workers, and start replacements a little later."""
        at = time.time()
        pids = self.troupe.kill(most, chance)
        self._over.wait(chance.uniform(*self._rhythm.replace))
        self.troupe.fill()
        self.faults.append(Fault(kind=kind, at=at, over=time.time(), pids=pids))

    def _massacre(self, chance: random.Random) -> None:
        self._aim(chance)
        with self.troupe.guard:
            self.troupe.kill_client()
            # Nobody starts a replacement meanwhile: for some time there is no worker at all.
            self._kill(WORKERS, Kind.MASSACRE, chance)

    def _outage(self, _: random.Random) -> None:
        with self._database:
            self._crash(self._rhythm.outage, Kind.OUTAGE)

    def _freeze(self, _: random.Random) -> None:
        """Stop a worker in the middle of its work, and let it go on when another has just begun the same anew."""
        with self._database, self._at_work() as (worker, ledger, line):
            at = time.time()
            worker.send_signal(signal.SIGSTOP)
            latest = time.monotonic() + self._rhythm.freeze
            while not self._is_again(ledger, line) and time.monotonic() < latest:
                self._over.wait(0.002)
            worker.send_signal(signal.SIGCONT)
            # The others need not wait for it, so for them the fault is over as soon as it has struck.
            self.faults.append(Fault(kind=Kind.FREEZE, at=at, over=at, pids=frozenset({worker.pid})))
            # It tries to commit while the other is at work.
            self._over.wait(1.0)

    def _is_again(self, ledger: TextIO, line: dict[str, Any]) -> bool:
        """Return whether the ledger has come to where the same work is begun by another worker."""
        for text in iter(ledger.readline, ""):
            said = json.loads(text)
            if (said["run"], said["stage"]) == (line["run"], line["stage"]) and said["pid"] != line["pid"]:
                return True
        return False

    def _drain(self, chance: random.Random) -> None:
        """Tell a worker to stop, and crash the database while it does."""
        with self._database, self._at_work() as (worker, _, _):
            worker.terminate()
            self._crash(chance.uniform(*self._rhythm.down), Kind.CRASH)
            self.troupe.await_end(worker)

    @contextlib.contextmanager
    def _at_work(self) -> Generator[tuple[Process, TextIO, dict[str, Any]]]:
        """Give the worker that began some work just now, and the ledger behind the line of it; spare it meanwhile."""
        worker: Process | None = None
        line: dict[str, Any] = {}
        latest = time.monotonic() + STUCK_SECONDS
        with self.plan.ledger.open(encoding="utf-8") as ledger:
            ledger.seek(0, os.SEEK_END)
            while worker is None:
                assert time.monotonic() < latest, "no worker begins any work"
                text = ledger.readline()
                if not text:
                    self._over.wait(0.005)
                    continue
                line = json.loads(text)
                worker = self.troupe.spare(line["pid"])
            try:
                yield worker, ledger, line
            finally:
                self.troupe.spare_nobody()

    def _heal(self) -> None:
        """Wait until the survivors have done everything, for as long as something moves."""
        before, since = -1, time.monotonic()
        while True:
            self.troupe.tend()
            with psycopg.connect(self.server.url) as connection:
                live, events = _row(connection, _PROGRESS)
            # Not a number of runs: whether any is lacking is for the verdict to say.
            if not live and self.troupe.has_created_all:
                break
            if events != before:
                before, since = events, time.monotonic()
            assert time.monotonic() - since < STUCK_SECONDS, f"nothing moves any more: {self.stuck()}"
            threading.Event().wait(0.2)
        self.troupe.dismiss()

    def stuck(self) -> str:
        """Tell what is left to do, and what the server's sessions do."""
        with psycopg.connect(self.server.url) as connection:
            return "\n".join(str(row) for query in _DIAGNOSIS for row in connection.execute(query.encode()).fetchall())

    def check_server(self) -> list[str]:
        """Return what is wrong with the server: its settings, or what is left in its hot tables."""
        with psycopg.connect(self.server.url) as connection:
            wrong = [
                f"{name} is {value}"
                for name, wanted in SAFE.items()
                if (value := _row(connection, f"SHOW {name}")[0]) != wanted
            ]
            for table in ("job", "timer", "gate"):
                (left,) = _row(connection, f"SELECT count(*) FROM holdfast.{table}")
                wrong += [f"{left} rows are left in {table}"] if left else []
        return wrong

    def close(self, *, keep: bool) -> None:
        """End everything; *keep* leaves the server's folder to look at."""
        self._over.set()
        self.troupe.close()
        told = "".join(f"{fault}\n" for fault in self.faults)
        (self.plan.folder / "faults").write_text(told)
        self.server.stop(signal.SIGINT)
        if keep:
            print(f"The server's data and log are left in {self._place}.")
        else:
            shutil.rmtree(self._place)


_PROGRESS: Final = """
    SELECT count(*) FILTER (WHERE status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED')), coalesce(sum(events), 0)::bigint
    FROM holdfast.run"""
_DIAGNOSIS: Final = (
    "SELECT id, status, events FROM holdfast.run WHERE status NOT IN ('COMPLETED', 'FAILED', 'CANCELLED') LIMIT 20",
    "SELECT * FROM holdfast.job LIMIT 20",
    "SELECT * FROM holdfast.timer LIMIT 20",
    "SELECT pid, state, wait_event, query FROM pg_stat_activity WHERE backend_type = 'client backend'",
)


def _row(connection: psycopg.Connection[Any], query: str) -> tuple[Any, ...]:
    row = connection.execute(query.encode()).fetchone()
    assert row is not None, "an aggregate has a row"
    return tuple(row)
