"""The options that every command takes."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from pathlib import Path
from typing import Annotated, Final

import attrs
from cyclopts import Parameter

from holdfast_hosts.cli.menu import DEFAULT_STORE, STORE_VARIABLE
from holdfast_hosts.store_url import without_password


@Parameter(name="*")
@attrs.frozen(kw_only=True)
class Common:
    """Where the runs live and how answers look."""

    store: Annotated[
        str,
        Parameter(
            env_var=STORE_VARIABLE,
            help="Where the runs live: memory:, sqlite:///path or postgresql://user@host/database.",
        ),
    ] = DEFAULT_STORE
    json: Annotated[bool, Parameter(help="Print one JSON object on stdout.")] = False
    utc: Annotated[bool, Parameter(help="Show times in UTC instead of local time.")] = False
    debug: Annotated[bool, Parameter(help="Show the traceback of an error.")] = False

    def command(self, *words: str) -> str:
        """Return a command that a person can copy: it starts this program and names this store."""
        named = self.store in {DEFAULT_STORE, os.environ.get(STORE_VARIABLE)}
        return shlex.join([program(), *words, *([] if named else ["--store", without_password(self.store)])])


DEFAULTS: Final = Common()


def program() -> str:
    """Return how this program is called from the present folder.

    A launcher may have put the environment on its own PATH only, so a program below the present folder is named by
    its path, which works with that environment activated or not.
    """
    path = Path(sys.argv[0]).absolute()
    if path.stem != "holdfast":
        return "holdfast"
    if path.is_relative_to(Path.cwd()):
        return str(path.relative_to(Path.cwd()))
    found = shutil.which("holdfast")
    return "holdfast" if found is not None and Path(found).absolute() == path else str(path)
