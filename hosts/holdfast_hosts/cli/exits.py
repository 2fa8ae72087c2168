"""The exit codes."""

from __future__ import annotations

import enum


class Exit(enum.IntEnum):
    """What a script learns from the exit code; the documentation promises these numbers."""

    #: Done; with --wait, the run completed.
    DONE = 0
    #: The run failed or was cancelled, or Holdfast itself failed in a way nobody foresaw.
    FAILED = 1
    #: Wrong usage: arguments, input or a module that cannot be used.
    USAGE = 2
    #: No such run, stage, workflow, module or file.
    NOT_FOUND = 3
    #: Refused: a conflict, the wrong status, or a choice that only a person can make.
    REFUSED = 4
    #: The store cannot be reached.
    UNREACHABLE = 5
    #: The settings or the schema are wrong; `holdfast doctor` explains.
    SETTINGS = 6
    #: --timeout ran out while the run goes on.
    TIMEOUT = 7
    #: The run waits, and only somebody outside can bring it on.
    WAITING = 8
    #: Interrupted; the run goes on.
    INTERRUPTED = 130
