"""Postgres is crashed and workers are killed over and over; every run completes, and nothing counts twice.

The default suite runs an edition of less than a minute, with leases so short that they end in it. The full one takes
seven minutes for each seed and prints its report: ``python3 dev test -n 0 -s -m slow tests/e2e/test_crash.py``. What a
performance leaves to look at after a failure is in the test's folder, and the server's data where it says.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Final

import pytest

from tests.e2e.crash_nemesis import Rhythm, Theatre
from tests.e2e.crash_process import Plan
from tests.e2e.crash_verdict import judge

pytestmark = pytest.mark.postgres

#: A lease of 30 seconds that begins when its worker dies, what passes until that is seen, and the work itself.
RECOVERY_SECONDS: Final = 36.0
#: For leases of 3 seconds on a machine that may be busy with anything.
GENEROUS_SECONDS: Final = 45.0


def survive(plan: Plan, rhythm: Rhythm, *, seed: int, within: float) -> None:
    """Perform, judge and print the report; fail if anything is wrong, or 99 of 100 recoveries took too long."""
    theatre = Theatre(plan, rhythm, seed=seed)
    is_well = False
    try:
        theatre.perform()
        verdict = asyncio.run(judge(theatre))
        report = f"seed: {seed}\n{verdict.report()}"
        (plan.folder / "report").write_text(report)
        print(report)
        assert verdict.wrong == [], f"{report}\n" + "\n".join(verdict.wrong)
        assert verdict.recovery(0.99) <= within, report
        # Otherwise nobody came back to work that was not his any more.
        assert verdict.figures["leases that frozen workers lost"] > 0, report
        is_well = True
    finally:
        theatre.close(keep=not is_well)


def test_runs_survive_crashes_of_the_database_and_of_workers(tmp_path: Path) -> None:
    """In half a minute of crashes and kills 300 runs complete, each stage once, and no answer to a client is wrong."""
    plan = Plan(store="", folder=tmp_path, runs=300, pace=12.0, lease=3.0, reap=0.5, drain=10.0, work=(0.1, 0.5))
    rhythm = Rhythm(length=14.0, replace=(0.0, 1.5), outage=4.0, freeze=10.0)
    survive(plan, rhythm, seed=1, within=GENEROUS_SECONDS)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [11, 12])
def test_many_runs_survive_five_minutes_of_crashes(tmp_path: Path, seed: int) -> None:
    """With leases of 30 seconds 2,000 runs complete, and 99 of 100 faults are recovered from within 36 seconds."""
    plan = Plan(store="", folder=tmp_path, runs=2_000, pace=7.0, lease=30.0, reap=5.0, drain=30.0, work=(0.1, 0.5))
    rhythm = Rhythm(length=300.0, outage=40.0, freeze=60.0)
    survive(plan, rhythm, seed=seed, within=RECOVERY_SECONDS)
