"""Facts about the machine without which figures say nothing."""

from __future__ import annotations

import os
import platform
import sqlite3
from importlib.metadata import version

import attrs


@attrs.frozen(kw_only=True)
class Machine:
    """Where something was measured."""

    holdfast: str
    python: str
    sqlite: str
    system: str
    cores: int
    #: Cores that this process may use.
    cores_usable: int


def machine() -> Machine:
    """Return the facts about this machine and process."""
    cores = os.cpu_count() or 1
    affinity = getattr(os, "sched_getaffinity", None)
    return Machine(
        holdfast=version("holdfast"),
        python=f"{platform.python_implementation()} {platform.python_version()}",
        sqlite=sqlite3.sqlite_version,
        system=f"{platform.system()} {platform.machine()}",
        cores=cores,
        cores_usable=cores if affinity is None else len(affinity(0)),
    )
