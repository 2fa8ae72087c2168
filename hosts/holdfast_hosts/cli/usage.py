"""Words on the command line that name nothing or that the parser refuses, told in the one form."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from holdfast_hosts.cli.exits import Exit
from holdfast_hosts.cli.menu import MENU
from holdfast_hosts.cli.problem import Problem, Told
from holdfast_hosts.cli.spelling import clean, did_you_mean


def check_words(words: Sequence[str]) -> None:
    """Check that *words* begin with a command of the menu.

    Raises:
        Told: If they do not. The parser would say so too, but imports every command to make its list.
    """
    entries, path = MENU, "holdfast"
    for word in words:
        known = {entry.word: entry for entry in entries}
        if word.startswith("-"):
            raise _refused(f"The option {clean(word)} comes after the command, not before it.", path=path)
        if word not in known:
            raise _refused(
                f'There is no command "{clean(word)}" in {path}.',
                path=path,
                why=f"There are: {', '.join(known)}.",
                near=did_you_mean(word, known),
            )
        entries, path = known[word].entries, f"{path} {word}"
        if not entries:
            return


def usage_problem(error: BaseException) -> Problem | None:
    """Return what the parser found wrong, or None if *error* is not the parser's."""
    from cyclopts import CycloptsError, UnusedCliTokensError

    if not isinstance(error, CycloptsError):
        return None
    path = " ".join(("holdfast", *(error.command_chain or ())))
    if isinstance(error, UnusedCliTokensError):
        given = " ".join(clean(token) for token in error.unused_tokens or ())
        return _refused(f"{path} takes no further argument: {given}", path=path).problem
    return _refused(clean(str(error)), path=path).problem


def misused(what: str, *, fix: str = "", why: str = "") -> Told:
    """Return the error that ends a command because it was not used as it is meant."""
    return Told(Problem(code="E2001", what=what, why=(why,) if why else (), fix=(fix,) if fix else (), exit=Exit.USAGE))


def given_span(text: str, *, option: str) -> timedelta:
    """Return the duration that was given with an option.

    Raises:
        Told: If it is none.
    """
    from holdfast.entities.retry import span

    try:
        return span(text)
    except (ValueError, OverflowError) as error:
        raise misused(f"{option} cannot be read: {error}") from None


def _refused(what: str, *, path: str, why: str = "", near: tuple[str, ...] = ()) -> Told:
    fix = (*near, f"See what there is: {path} --help")
    return Told(Problem(code="E2001", what=what, why=(why,) if why else (), fix=fix, exit=Exit.USAGE))
