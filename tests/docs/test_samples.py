"""What the pages show of the command line and of pytest, executed, and that nothing else is shown."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import pytest

from tests.docs.samples import PAGES, ROOT, files_of, name_of, normal, said, samples_of

#: A page on which a process is killed in between has a test of its own.
SAMPLED: Final = [
    page for page in PAGES if samples_of(page) and "<!-- killed -->" not in page.read_text(encoding="utf-8")
]
PYTEST: Final = re.compile(r"<!-- pytest -->\n```console\n\$ python -m pytest (.*)\n(?s:.*?)\d+ passed in .*\n```")
TESTED: Final = [page for page in PAGES if PYTEST.search(page.read_text(encoding="utf-8"))]
BLOCK: Final = re.compile(r"^(<!-- [^\n]* -->)?\n```(?:bash|console|sh|shell)\n(.*?)```", re.MULTILINE | re.DOTALL)
PATIENCE_SECONDS: Final = 30.0
LAUNCHER: Final = re.compile(r"`?python3 dev (\w+)")


def write_files(page: Path, folder: Path) -> None:
    """Write the files that the page shows."""
    for name, text in files_of(page).items():
        (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.parametrize("page", SAMPLED, ids=name_of)
def test_samples_are_true(page: Path, folder: Path) -> None:
    """Each sample of a page shows what its command says, ids, times and durations aside."""
    write_files(page, folder)
    for words, shown in samples_of(page):
        assert normal(shown) == normal(said(words)), words


@pytest.mark.parametrize("page", TESTED, ids=name_of)
def test_shown_test_files_pass(page: Path, folder: Path) -> None:
    """A page's test file passes under pytest with nothing but Holdfast installed, as its reader would run it."""
    write_files(page, folder)
    (words,) = PYTEST.findall(page.read_text(encoding="utf-8"))
    # A disk in memory, where there is one, spares hundreds of syncs.
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as root:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words.split()],
            env={**os.environ, "PYTEST_DEBUG_TEMPROOT": root},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d+ passed", done.stdout)


def test_the_shown_worker_works_until_it_is_stopped(folder: Path) -> None:
    """The worker of the page on workers executes a run, and ends well when it is told to."""
    page = ROOT / "docs" / "how-to" / "run-a-worker.md"
    write_files(page, folder)
    (shown,) = re.findall(r"<!-- until stopped -->\n```bash\nholdfast (.*)\n```", page.read_text(encoding="utf-8"))
    said("run flows.py --input '\"hello\"'")
    worker = subprocess.Popen(
        [sys.executable, "-m", "holdfast_hosts.cli.main", *shown.split()], stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + PATIENCE_SECONDS
    while "1 run" not in said("runs list --status completed"):
        assert time.monotonic() < end
        time.sleep(0.05)
    worker.send_signal(signal.SIGTERM)
    story = worker.communicate(timeout=PATIENCE_SECONDS)[1]
    assert "8 slots · loud@1.0.0" in story
    assert "worker stopped · 1 job: 1 completed" in story
    assert worker.returncode == 0


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_nothing_is_shown_that_no_test_executes(page: Path) -> None:
    """Every block for a shell is marked as one that a test executes, or holds the launcher's verbs alone."""
    known = {"<!-- sample -->", "<!-- pytest -->", "<!-- until stopped -->", "<!-- killed -->"}
    for mark, block in BLOCK.findall(page.read_text(encoding="utf-8")):
        assert mark in known or all(line.startswith("python3 dev ") for line in block.splitlines()), block


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "AGENTS.md"])
def test_the_launcher_knows_its_verbs(name: str) -> None:
    """Whatever a page asks of the launcher is a verb of it."""
    helped = subprocess.run([sys.executable, ROOT / "dev", "help"], capture_output=True, text=True, check=True)
    verbs = LAUNCHER.findall((ROOT / name).read_text(encoding="utf-8"))
    assert len(verbs) > 1
    assert [verb for verb in verbs if not re.search(rf"\b{verb}\b", helped.stdout.splitlines()[0])] == []
