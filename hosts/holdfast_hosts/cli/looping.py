"""Runs a command's coroutine, so that Ctrl-C ends it as an interruption and nothing is left behind."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any


def carry_out(command: Coroutine[Any, Any, int]) -> int:
    """Return the exit code of *command*.

    Raises:
        KeyboardInterrupt: If a person interrupted it; what it opened is closed by then.
    """
    # Help is printed without a loop, and quicker for it.
    import asyncio

    return asyncio.run(command)
