"""`holdfast worker`: a process that executes what others created."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable

from tests.hosts.cli.conftest import Cli

Process = Callable[..., "subprocess.Popen[str]"]


def wait_until(condition: Callable[[], bool], *, seconds: float = 20) -> None:
    """Return when *condition* holds; fail when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.05)


def test_a_worker_executes_runs_until_it_is_told_to_stop(cli: Cli, process: Process) -> None:
    """A worker completes the runs of its modules, drains on SIGTERM, and tells what it did."""
    ids = [cli("run", "flows.py:words", "--input", '{"text": "a b"}').out.strip() for _ in range(3)]
    running = process("worker", "flows.py", "--concurrency", "2", "--json")
    wait_until(lambda: len(cli("runs", "list", "--status", "completed", "--json").json["runs"]) == len(ids))
    running.send_signal(signal.SIGTERM)
    out, err = running.communicate(timeout=20)
    assert running.returncode == 0
    did = json.loads(out)
    assert did["claimed"] == 3
    assert did["jobs"]["completed"] == 6
    assert did["jobs"]["suspended"] == 3
    assert "2 slots" in err
    assert "words@1.0.0" in err
    assert "Traceback" not in err


def test_a_worker_refuses_what_it_cannot_do(cli: Cli) -> None:
    """Wrong numbers and modules that are not there end before anything begins."""
    assert cli("worker").code == 2
    assert cli("worker", "nothing.py").code == 3
    assert cli("worker", "flows.py", "--concurrency", "0").code == 2
