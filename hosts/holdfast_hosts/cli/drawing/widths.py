"""How wide a text will be, estimated without a font, and how it is broken into lines."""

from __future__ import annotations

import textwrap
from typing import Final

#: Parts of the text size that letters of the usual sans-serif fonts take, the wider fonts among them counted more.
_NARROW: Final = dict.fromkeys("ijl.,:;!'|`", 0.30) | dict.fromkeys('ftr()[]{}/\\-I" ·', 0.40)
_WIDE: Final = dict.fromkeys("mwMW@%—", 0.96) | dict.fromkeys("ABCDGHKNOQRUVXY&→×<>=+~#", 0.74)
_USUAL: Final = 0.60
#: Part of the text size that every letter of a fixed-width font takes.
_FIXED: Final = 0.61
#: Letters from here on, such as those of Chinese, are as wide as high.
_SQUARE: Final = "\u1100"


def width_of(text: str, *, size: float, fixed: bool = False) -> float:
    """Return about how wide *text* is, rather too much than too little."""
    return size * sum(_width(letter, fixed=fixed) for letter in text)


def _width(letter: str, *, fixed: bool) -> float:
    if letter >= _SQUARE and letter not in "…→×":
        return 1.05
    if fixed:
        return _FIXED
    return _NARROW.get(letter) or _WIDE.get(letter) or _USUAL


def lines_of(text: str, *, letters: int, most: int) -> tuple[str, ...]:
    """Return *text* as at most *most* lines of about so many *letters*; what does not fit is an ellipsis."""
    flat = " ".join(text.split())
    return tuple(textwrap.wrap(flat, letters, max_lines=most, placeholder=" …", break_on_hyphens=False)) or ("",)
