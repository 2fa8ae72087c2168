"""Words for a person: the nearest of some names, counts with their plural, text that cannot disturb a terminal."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(given: str, known: Iterable[str]) -> tuple[str, ...]:
    """Return the question that offers the known name nearest to *given*, or nothing when none is near."""
    near = difflib.get_close_matches(given, sorted(set(known)), n=1, cutoff=0.5)
    return (f'Did you mean "{near[0]}"?',) if near else ()


def counted(number: int, noun: str) -> str:
    """Return *number* with *noun* in the right number, such as ``1 run`` or ``2 retries``."""
    if number == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {plural}"


def clean(text: str) -> str:
    """Return *text* with every control character made visible, so that stored data cannot steer a terminal."""
    return "".join(letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text)


def one_line(text: str, *, limit: int = 200) -> str:
    """Return *text* as one clean line of at most *limit* characters."""
    line = clean(" ".join(text.split()))
    return line if len(line) <= limit else f"{line[: limit - 1]}…"


def sentence(text: str) -> str:
    """Return *text* with a capital if it begins like a sentence, and as it is if it begins with the path of a field."""
    first = text.partition(" ")[0]
    return text if first.endswith(":") else text[:1].upper() + text[1:]
