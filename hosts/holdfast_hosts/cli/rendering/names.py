"""What stages, edges and rounds are called: as their author wrote them, and in words what the compiler put between."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from holdfast.entities.definition import UNDO
from holdfast.entities.graph import END, START, TURN_BITS
from holdfast.entities.stage import StageKey

#: What stands behind the "~" in the id of a stage that the compiler put in, and what such a stage is called.
_BETWEEN: Final[Mapping[str, str]] = {
    "split": "map {}",
    "join": "join {}",
    "branch": "choice after {}",
    "end": "end of {}",
    "item": "item of {}",
    "or": "{} or instead",
    "pass": "hand on {}",
}
_PUT_IN: Final = re.compile(r"(?P<base>.+)~(?P<word>[a-z]+)(?P<number>\d*)")
_EDGE: Final = re.compile(r"(?P<source>.+)>(?P<target>.+?)(?:\+(?P<more>\d+))?(?:#\d+)?")
_MASK: Final = (1 << TURN_BITS) - 1


def is_between(stage_id: str) -> bool:
    """Return whether the compiler put the stage in; its author does not know of it."""
    return "~" in stage_id


def stage_words(stage_id: str) -> str:
    """Return what a stage is called."""
    if stage_id in _ENDS:
        return _ENDS[stage_id]
    put_in = _PUT_IN.fullmatch(stage_id)
    if put_in is None:
        return stage_id
    number = f" {put_in['number']}" if put_in["number"] else ""
    return _BETWEEN.get(put_in["word"], f"{put_in['word']} {{}}").format(stage_words(put_in["base"])) + number


_ENDS: Final[Mapping[str, str]] = {UNDO: "undo", START: "the start", END: "the end"}


def mapped_by(split: str) -> str | None:
    """Return the stage that the map is named after that *split* begins, or None if that begins none."""
    put_in = _PUT_IN.fullmatch(split)
    return put_in["base"] if put_in is not None and put_in["word"] == "split" else None


def instance_words(key: StageKey) -> str:
    """Return what a stage instance is called, with what tells it from others of its stage."""
    generation = f" #{key.generation}" if key.generation > 1 else ""
    turn = f" {round_words(key.turn)}" if key.turn else ""
    item = f" [{key.item}]" if key.item else ""
    return f"{stage_words(key.stage_id)}{generation}{turn}{item}"


def round_words(turn: int) -> str:
    """Return which round of the loops around it a stage is in, from 1, the outermost loop first."""
    rounds: list[int] = []
    while turn:
        rounds.insert(0, (turn & _MASK) + 1)
        turn >>= TURN_BITS
    return f"round {'.'.join(map(str, rounds))}"


def way_words(edge: str, because: object = None) -> str:
    """Return where an edge leads, and why it was taken if that is said."""
    named = _EDGE.fullmatch(edge)
    if named is None:
        return f"→ {edge}"
    more = f" and {named['more']} more" if named["more"] else ""
    return f"→ {stage_words(named['target'])}{more}{_because(because)}"


def _because(because: object) -> str:
    match because:
        case None | "":
            return ""
        case "otherwise":
            return " because nothing else matched"
        case "timeout":
            return " because nobody answered in time"
        case _:
            return f" because {because}"


def listed(stages: Iterable[Any]) -> str:
    """Return stages as a person would list them."""
    return ", ".join(stage_words(str(stage)) for stage in stages)
