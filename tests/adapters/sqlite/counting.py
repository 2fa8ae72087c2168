"""Counts the instructions of SQLite's machine."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable


def counted(connection: sqlite3.Connection, do: Callable[[], object]) -> int:
    """Return how many instructions of SQLite's machine *do* takes."""
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection.set_progress_handler(step, 1)
    try:
        do()
    finally:
        connection.set_progress_handler(None, 1)
    return steps
