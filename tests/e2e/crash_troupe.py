"""The processes of the crash test, as whoever operates them sees them: started, killed, replaced and stopped."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Final

from tests.e2e.crash_process import Plan

PROCESS: Final = Path(__file__).with_name("crash_process.py")
WORKERS: Final = 3
#: How long a process may take to start, or to end beside the time that it has for draining.
PATIENCE_SECONDS: Final = 30.0

Process = subprocess.Popen[bytes]


class Troupe:
    """Three workers and a client, and what they logged; usable from any thread.

    Args:
        plan: What the processes are told.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        #: What the processes did that they should not have done.
        self.wrong: list[str] = []
        #: Processes that ended at their start because the database was away.
        self.vain = 0
        self.client_kills = 0
        #: Held by whoever must not be disturbed by other threads.
        self.guard = threading.RLock()
        self._logs: dict[int, Path] = {}
        self._workers: list[Process] = []
        self._client: Process | None = None
        #: Processes that must not be killed now, and may end by themselves.
        self._spared: set[int] = set()

    def fill(self) -> None:
        """Start what is missing: workers, and the client until it has created every run."""
        with self.guard:
            while len(self._workers) < WORKERS:
                self._workers.append(self._spawn("worker"))
            if self._client is None or self._client.poll() not in (None, 0):
                self._client = self._spawn("client")

    def _spawn(self, role: str) -> Process:
        path = self._plan.folder / f"{role}-{len(self._logs) + 1:03}.log"
        with path.open("wb") as log:
            process = Process(
                [sys.executable, str(PROCESS), role, self._plan.dump()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._logs[process.pid] = path
        return process

    def tend(self) -> None:
        """Start again what ended by itself, as a supervisor does; only a start without a database is a reason to."""
        with self.guard:
            ended = [one for one in self._workers if one.poll() is not None and one.pid not in self._spared]
            for worker in ended:
                self._workers.remove(worker)
                if self._has_started(worker):
                    self.wrong.append(f"worker {worker.pid} ended by itself with {worker.returncode}")
                else:
                    self.vain += 1
            self.fill()

    def _has_started(self, worker: Process) -> bool:
        return "worker started" in self._logs[worker.pid].read_text()

    def await_start(self, over: threading.Event) -> None:
        """Wait until all workers work, or it is over."""
        latest = time.monotonic() + PATIENCE_SECONDS
        while not over.is_set() and time.monotonic() < latest:
            with self.guard:
                if all(self._has_started(one) for one in self._workers):
                    return
            over.wait(0.1)
            self.tend()

    def kill(self, most: int, chance: random.Random) -> frozenset[int]:
        """Kill so many workers without warning, and return their processes; there is no replacement yet."""
        with self.guard:
            there = [one for one in self._workers if one.poll() is None and one.pid not in self._spared]
            victims = chance.sample(there, min(most, len(there)))
            for victim in victims:
                victim.kill()
            for victim in victims:
                victim.wait()
                self._workers.remove(victim)
        return frozenset(one.pid for one in victims)

    def kill_client(self) -> None:
        """Kill the client if it is still at work, and start another that goes on."""
        with self.guard:
            if self._client is not None and self._client.poll() is None:
                self._client.kill()
                self._client.wait()
                self._client = None
                self.client_kills += 1
            self.fill()

    def spare(self, pid: int) -> Process | None:
        """Return the worker that is this process, if it lives, and kill it no more."""
        with self.guard:
            for worker in self._workers:
                if worker.pid == pid and worker.poll() is None:
                    self._spared.add(pid)
                    return worker
        return None

    def spare_nobody(self) -> None:
        """Treat all alike again; whoever ended meanwhile is replaced."""
        with self.guard:
            self._workers = [one for one in self._workers if one.poll() is None or one.pid not in self._spared]
            self._spared.clear()
            self.fill()

    @property
    def has_created_all(self) -> bool:
        """Whether the client has come to its end."""
        return self._client is not None and self._client.poll() == 0

    def dismiss(self) -> None:
        """Tell all workers to stop and wait until they have."""
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            self.await_end(worker)
        self._workers.clear()

    def await_end(self, worker: Process) -> None:
        """Wait until a worker that was told to stop has done so."""
        try:
            code = worker.wait(self._plan.drain + PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            worker.kill()
            worker.wait()
            self.wrong.append(f"worker {worker.pid} did not stop when it was told to")
            return
        if code:
            self.wrong.append(f"worker {worker.pid} was told to stop and ended with {code}")

    def pids(self) -> dict[str, int]:
        """Return the process of each worker that has started, by the worker's name."""
        found: dict[str, int] = {}
        for path in self._logs.values():
            for line in path.read_text().splitlines():
                # Python's own words, such as tracebacks, are no JSON.
                with contextlib.suppress(json.JSONDecodeError):
                    said = json.loads(line)
                    if said["event"] == "worker started":
                        found[said["worker"]] = said["pid"]
        return found

    def close(self) -> None:
        """End every process."""
        for process in [*self._workers, *([self._client] if self._client is not None else [])]:
            process.kill()
            process.wait()
