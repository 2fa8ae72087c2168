"""What names, keys, short texts and numbers from outside may look like, so that every store can hold them."""

from __future__ import annotations

from typing import Final

from holdfast.errors import InvalidInput

#: Longest key, id or short text that is taken, in characters.
MAX_NAME: Final = 255
#: The most that one command may be asked to take in one go, so that every transaction stays bounded.
MAX_LIMIT: Final = 1_000_000


def check_text(what: str, text: object) -> None:
    """Check a short text that may be empty.

    Raises:
        InvalidInput: If it is no text, is too long, or holds NUL, other control characters or lone surrogates.
    """
    # A caller that checks no types may hand in anything.
    if not isinstance(text, str):
        raise InvalidInput(what, ["it should be text"])
    problems: list[str] = []
    if len(text) > MAX_NAME:
        problems.append(f"it has {len(text)} characters; the limit is {MAX_NAME}")
    if not text.isprintable():
        # isprintable is false for control characters and for surrogates alike.
        problems.append("it holds control characters or lone surrogates, which not every store can keep")
    if problems:
        raise InvalidInput(what, problems)


def check_name(what: str, name: object) -> None:
    """Check a name or key that may be absent but not empty.

    Raises:
        InvalidInput: If it is empty, too long, or holds NUL, other control characters or lone surrogates.
    """
    if name is None:
        return
    if name == "":
        raise InvalidInput(what, ["it is empty; leave it out instead"])
    check_text(what, name)


def check_number(what: str, number: object, *, least: int = 0, most: int = MAX_LIMIT) -> None:
    """Check an integer from outside.

    Raises:
        InvalidInput: If it is no integer, or out of bounds.
    """
    if not isinstance(number, int) or isinstance(number, bool):
        raise InvalidInput(what, ["it should be an integer"])
    if not least <= number <= most:
        raise InvalidInput(what, [f"it should be between {least:,} and {most:,}"])
