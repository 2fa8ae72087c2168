"""`holdfast version`: what one types, and what it prints."""

from __future__ import annotations

from holdfast_hosts.cli.options import DEFAULTS, Common
from holdfast_hosts.cli.output import answer, show


def installed() -> str:
    """Return the installed version of Holdfast."""
    from importlib.metadata import version as version_of

    return version_of("holdfast")


def version(*, common: Common = DEFAULTS) -> int:
    """Print the version.

    The JSON form adds the versions of Python and SQLite.
    """
    if common.json:
        import platform
        import sqlite3

        answer({"holdfast": installed(), "python": platform.python_version(), "sqlite": sqlite3.sqlite_version})
    else:
        show(f"holdfast {installed()}")
    return 0
