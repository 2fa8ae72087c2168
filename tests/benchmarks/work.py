"""What every engine is given to do, and what it is told by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, Final

import attrs

EXTRA: Final = 'pip install -e ".[bench-peers]"'


class NotInstalled(Exception):
    """An engine that is to be compared is not there."""

    def __init__(self, package: str) -> None:
        super().__init__(f"{package} is not installed. Install the peers: {EXTRA}")


@attrs.frozen(kw_only=True)
class Work:
    """How much is done."""

    #: Runs of so many steps that do nothing, all there at once.
    runs: int = 1_000
    stages: int = 10
    #: Runs, or jobs, of a single step, all there at once.
    singles: int = 10_000
    #: Steps of the one run that is alone.
    alone: int = 100
    #: Runs that are asked for one by one while nothing else is to do, and the pause before each.
    starts: int = 30
    pause_seconds: float = 0.3


QUICK: Final = Work(runs=100, singles=500, alone=30, starts=5)


@attrs.frozen(kw_only=True)
class Engine:
    """One way to run an engine.

    Each function takes the address of an empty database and how much is to be done, and returns seconds: what all of
    it took, or for starts each one.
    """

    package: str
    #: The settings that differ from those it has by itself.
    settings: str
    steps: Callable[[str, int, int], float]
    #: None where an engine has no runs of several steps.
    alone: Callable[[str, int], float] | None = None
    starts: Callable[[str, Work], list[float]] | None = None


def peer(package: str) -> Any:
    """Return the module of a package that only the extra brings.

    Raises:
        NotInstalled: If it is not there.
    """
    try:
        return import_module(package)
    except ModuleNotFoundError as error:
        raise NotInstalled(package) from error


Engines = Mapping[str, Engine]
