"""What names, keys and short texts from outside may look like, so that every store can hold them."""

from __future__ import annotations

from typing import Final

from holdfast.errors import InvalidInput

#: Longest key, id or short text that is taken, in characters.
MAX_NAME: Final = 255


def check_text(what: str, text: str) -> None:
    """Check a short text that may be empty.

    Raises:
        InvalidInput: If it is too long, or holds NUL, other control characters or lone surrogates.
    """
    problems: list[str] = []
    if len(text) > MAX_NAME:
        problems.append(f"it has {len(text)} characters; the limit is {MAX_NAME}")
    if not text.isprintable():
        # isprintable is false for control characters and for surrogates alike.
        problems.append("it holds control characters or lone surrogates, which not every store can keep")
    if problems:
        raise InvalidInput(what, problems)


def check_name(what: str, name: str | None) -> None:
    """Check a name or key that may be absent but not empty.

    Raises:
        InvalidInput: If it is empty, too long, or holds NUL, other control characters or lone surrogates.
    """
    if name is None:
        return
    if not name:
        raise InvalidInput(what, ["it is empty; leave it out instead"])
    check_text(what, name)
