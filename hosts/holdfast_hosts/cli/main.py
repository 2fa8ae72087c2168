"""The entry point: arguments to a command, its errors to words and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import IO, TYPE_CHECKING

from holdfast_hosts.cli.menu import MENU, Entry, overview

if TYPE_CHECKING:
    from cyclopts import App

HELP_FLAGS = frozenset({"--help", "-h"})


def main(words: Sequence[str] | None = None) -> int:
    """Carry out the command line *words*, those of the process when None, and return the exit code."""
    given = list(sys.argv[1:] if words is None else words)
    for stream in (sys.stdout, sys.stderr):
        _soften(stream)
    try:
        return _carry_out(given)
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough; what is still buffered must not fail at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - the last place that can put it into words
        return _told(error, given)


def _carry_out(words: list[str]) -> int:
    named = tuple(word for word in words if word not in HELP_FLAGS)
    text = overview(named)
    if text is not None:
        asked = not words or bool(HELP_FLAGS & {*words})
        print(text, file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    if words[0] != "--version":
        from holdfast_hosts.cli.usage import check_words

        check_words(named)
    result = parser()(words, exit_on_error=False, print_error=False, result_action="return_value")
    return result if isinstance(result, int) else 0


def parser() -> App:
    """Return the parser of the whole menu; a command's module is imported when its word is used."""
    from cyclopts import App, Parameter

    from holdfast_hosts.cli.commands.version import installed

    def build(app: App, entries: tuple[Entry, ...]) -> App:
        for entry in entries:
            if entry.entries:
                app.command(build(App(name=entry.word, help=entry.summary, version_flags=()), entry.entries))
            else:
                target = f"holdfast_hosts.cli.commands.{entry.target}"
                app.command(target, name=entry.word, help=entry.summary, version_flags=())
        return app

    top = App(
        name="holdfast",
        version=installed,
        default_parameter=Parameter(negative=()),
        help_format="plaintext",
        help="Durable workflows: run them, watch them, repair them.",
    )
    return build(top, MENU)


def _told(error: BaseException, words: list[str]) -> int:
    """Tell of *error* on stderr, and with --json also as the object on stdout; return its exit code."""
    from holdfast_hosts.cli.output import answer
    from holdfast_hosts.cli.telling import problem_of
    from holdfast_hosts.cli.usage import usage_problem

    if "--debug" in words:
        import traceback

        traceback.print_exception(error)
    problem = usage_problem(error) or problem_of(error)
    print(problem.as_text(), file=sys.stderr)
    if "--json" in words:
        answer(problem.as_json())
    return int(problem.exit)


def _soften(stream: IO[str]) -> None:
    """Let a stream that cannot write a letter write its number instead of failing."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    sys.exit(main())
