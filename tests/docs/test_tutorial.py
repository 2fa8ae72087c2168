"""The first tutorial, followed step by step: its process really is killed."""

from __future__ import annotations

import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tests.docs.samples import ROOT, files_of, normal, said, samples_of

PAGE: Final = ROOT / "docs" / "tutorials" / "first-workflow.md"
KILLED: Final = re.compile(r"<!-- killed -->\n```bash\nholdfast (.*) &\nsleep 4\nkill -9 \$!\n```")
#: The page predicts for 20 seconds, so that a reader has time to kill; here a config makes that shorter.
QUICK: Final = """ --config '{"predict": {"seconds": 2}}'"""
PATIENCE_SECONDS: Final = 60.0


def wait_for_the_prediction(database: Path) -> None:
    """Return when the second stage is executing."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        if database.exists():
            connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
            try:
                if connection.execute("SELECT 1 FROM job WHERE stage_id = 'predict' AND lease_until > 0").fetchone():
                    return
            except sqlite3.OperationalError:
                pass  # The store is being made.
            finally:
                connection.close()
        time.sleep(0.02)
    raise AssertionError("the second stage did not begin in time")


def end_leases(database: Path) -> None:
    """End every lease now, as 30 seconds of waiting would."""
    with sqlite3.connect(database) as connection:
        connection.execute("UPDATE job SET lease_until = 0 WHERE lease_until > 0")
    connection.close()


def test_the_tutorial_leads_where_it_says(folder: Path) -> None:
    """Written, started, killed, looked at, continued and read: every sample shows what its command says."""
    (folder / "tides.py").write_text(files_of(PAGE)["tides.py"], encoding="utf-8")
    killed = KILLED.search(PAGE.read_text(encoding="utf-8"))
    assert killed is not None
    process = subprocess.Popen(
        [sys.executable, "-m", "holdfast_hosts.cli.main", *shlex.split(killed[1] + QUICK)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_the_prediction(folder / "holdfast.db")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    (looked, as_it_stands), (again, ended), (read, story) = samples_of(PAGE)

    assert normal(as_it_stands) == normal(said(looked))
    end_leases(folder / "holdfast.db")
    assert again == killed[1]
    assert normal(ended) == normal(said(again + QUICK))
    assert normal(story) == normal(said(read))
