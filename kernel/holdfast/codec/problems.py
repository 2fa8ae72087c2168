"""What is wrong with a value, in words that name its place and never repeat its data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Final, Self, cast, get_args

from holdfast.codec.canonical import unreadable

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

MAX_PROBLEMS: Final = 10
#: All problems of one value together stay below this, so that with its heading an error stays below 2,000 characters.
MAX_TEXT: Final = 1_600
#: Words of a validator outside of this kernel are cut here, for they may quote the value.
MAX_FOREIGN: Final = 80
MAX_MESSAGE: Final = 200
#: A part of a path may be a key of a mapping, which is data.
MAX_KEY: Final = 40
MAX_PATH: Final = 120

#: Built-in messages that quote the value or the words of its own code.
_QUOTING: Final = frozenset(
    {"value_error", "assertion_error", "get_attribute_error", "iteration_error", "mapping_type", "union_tag_invalid"}
)


class Problem(str):
    """One fault in words, which begin with its place; the place can be had apart from them."""

    __slots__ = ("message", "path")

    path: str
    message: str

    def __new__(cls, path: str, message: str) -> Self:
        """Make the sentence of its two parts; a fault of the whole value has no path."""
        made = super().__new__(cls, f"{path}: {message}" if path else message)
        made.path, made.message = path, message
        return made

    def below(self, name: str) -> Problem:
        """Return the fault as one of something that holds the value under *name*."""
        return Problem(f"{name}.{self.path}" if self.path else name, self.message)


def cut(text: str, limit: int) -> str:
    """Return *text* in at most *limit* characters."""
    return text if len(text) <= limit else f"{text[: limit - 1]}…"


def bounded(problems: Sequence[str]) -> list[str]:
    """Return *problems*, at most ten and in all at most `MAX_TEXT` characters long; the last one counts the rest."""
    kept: list[str] = []
    length = 0
    for problem in problems:
        length += len(problem) + 2
        if length > MAX_TEXT or (len(kept) == MAX_PROBLEMS - 1 and len(problems) > MAX_PROBLEMS):
            return [*kept, f"and {len(problems) - len(kept):,} more"]
        kept.append(problem)
    return kept


def path_of(parts: Iterable[int | str]) -> str:
    """Return the place of a value as ``labels.3.score``."""
    return cut(".".join(cut(str(part), MAX_KEY) for part in parts), MAX_PATH)


def problems_of(error: ValidationError) -> list[str]:
    """Return one sentence for each fault that pydantic found, ``labels.3.score: Input should be a valid number``."""
    return bounded([_problem(detail) for detail in error.errors(include_url=False, include_input=False)])


def field_problems_of(error: ValidationError) -> list[str]:
    """Return the faults of fields that are there: neither what is missing nor what the whole is said to be."""
    details = error.errors(include_url=False, include_input=False)
    return bounded([_problem(detail) for detail in details if detail["loc"] and detail["type"] != "missing"])


def _problem(detail: ErrorDetails) -> Problem:
    return Problem(path_of(detail["loc"]), _message(detail))


def _message(detail: ErrorDetails) -> str:
    kind, message = detail["type"], detail["msg"]
    if kind == "json_invalid":
        return unreadable(ValueError(message.removeprefix("Invalid JSON: ")))
    if kind == "union_tag_invalid":
        context = detail.get("ctx", {})
        return cut(f"{context.get('discriminator')} should be one of {context.get('expected_tags')}", MAX_MESSAGE)
    foreign = kind in _QUOTING or kind not in _built_in()
    return cut(message, MAX_FOREIGN if foreign else MAX_MESSAGE)


@cache
def _built_in() -> frozenset[str]:
    from pydantic_core.core_schema import ErrorType

    return frozenset(cast("tuple[str, ...]", get_args(ErrorType)))
