"""`python -m tests.benchmarks peers | bench | serve`: compare with others, measure, or only have a server.

Figures for machines and people go to stdout, all else to stderr.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from holdfast_adapters.postgres.measuring import PostgresServer
from tests.benchmarks import comparing
from tests.benchmarks.serving import served
from tests.benchmarks.work import QUICK, NotInstalled, Work, peer


def main(words: Sequence[str]) -> int:
    """Do what is asked for and return the exit code."""
    if words[:1] == ["perform"]:
        return _perform(*words[1:])
    if words[:1] == ["bench"]:
        return _bench(words[1:])
    options = _options(words)
    if options.verb == "serve":
        with served(options.data) as url:
            sys.stdout.write(f"{url}\n")
            sys.stdout.flush()
            signal.sigwait({signal.SIGINT, signal.SIGTERM})
        return 0
    try:
        return _peers(options)
    except NotInstalled as error:
        sys.stderr.write(f"{error}\n")
        return 2


def _options(words: Sequence[str]) -> Any:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("verb", choices=("peers", "bench", "serve"), nargs="?", default="peers")
    parser.add_argument("--store", help="a server to use, in place of one of its own")
    parser.add_argument("--data", type=Path, help="the folder for the data of its own server")
    parser.add_argument("--quick", action="store_true", help="do little")
    parser.add_argument("--repeat", type=int, default=1, help="rounds, of which medians are shown")
    parser.add_argument("--only", action="append", choices=tuple(comparing.ENGINES), help="an engine; may be repeated")
    parser.add_argument("--task", action="append", choices=tuple(comparing.TASKS), help="a task; may be repeated")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(words)


def _peers(options: Any) -> int:
    names = options.only or list(comparing.ENGINES)
    for name in names:
        peer(comparing.ENGINES[name].package.replace("-", "_"))
    with nullcontext(options.store) if options.store else served(options.data) as url:
        server = PostgresServer(url)
        scores = comparing.compare(
            server,
            names=names,
            tasks=options.task or list(comparing.TASKS),
            work=QUICK if options.quick else Work(),
            repeat=options.repeat,
        )
        told: dict[str, Any] = {"commit_us": comparing.bare_commit_us(server), "facts": server.facts()}
    if options.json:
        sys.stdout.write(json.dumps(comparing.as_json(scores, **told), indent=2) + "\n")
    else:
        sys.stdout.write("\n".join(comparing.lines(scores, **told)) + "\n")
    return 0


def _bench(words: Sequence[str]) -> int:
    """Run `holdfast bench` on a server of its own."""
    with served() as url:
        command = [sys.executable, "-m", "holdfast_hosts.cli.main", "bench", "--store", url, *words]
        return subprocess.run(command, check=False).returncode


def _perform(name: str, task: str, url: str, work: str) -> int:
    figures = comparing.perform(name, task, url, Work(**json.loads(work)))
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()
    # Threads of engines that never end are none of ours.
    os._exit(0)


if __name__ == "__main__":
    # So that a server of its own is stopped and removed.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    sys.exit(main(sys.argv[1:]))
