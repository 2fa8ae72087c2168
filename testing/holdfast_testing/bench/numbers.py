"""Medians and percentiles of measured numbers, and one number of the system."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from os import sysconf
from pathlib import Path


def median(values: Sequence[float]) -> float:
    """Return the middle of *values*."""
    return float(statistics.median(values))


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest of *values* that at least *percent* of 100 of them do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(percent / 100 * len(ordered)) - 1)]


def resident_bytes() -> int:
    """Return the memory that this process holds, 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * sysconf("SC_PAGE_SIZE")
