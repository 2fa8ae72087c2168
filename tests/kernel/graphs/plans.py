"""Workflows as the reference interpreter reads them, and the script of what happens in them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Final, Literal, NamedTuple

import attrs

BEGIN: Final = "~start"
END: Final = "~end"

Kind = Literal["body", "pass", "split", "collect"]
Form = Literal["one", "tuple", "named", "item", "nothing"]


class At(NamedTuple):
    """One instance: a stage in one turn of each loop around it, the outermost first, for one item of its map."""

    stage: str
    turn: tuple[int, ...] = ()
    item: int = 0

    def __str__(self) -> str:
        return f"{self.stage}@{'.'.join(map(str, self.turn))}#{self.item}"


@attrs.frozen(kw_only=True)
class Arrow:
    """A way from a stage to others, all at once."""

    id: str
    source: str
    targets: tuple[str, ...]
    #: The choices that it is taken for; None for whatever no other one is taken for.
    when: frozenset[int] | None = None
    priority: int = 0


@attrs.frozen(kw_only=True)
class Node:
    """A stage."""

    id: str
    kind: Kind = "body"
    form: Form = "one"
    #: The heads of the loops around it, the outermost first.
    loops: tuple[str, ...] = ()
    #: Of a tuple, and of a collect: the last stage of the map.
    sources: tuple[str, ...] = ()
    need: int | None = None
    tolerate: int = 0
    attempts: int = 3
    #: The split of the map around it.
    within: str | None = None
    #: Of a split: the stages of the map, its end, how many items go on at a time and how many may fail.
    body: tuple[str, ...] = ()
    collect: str = ""
    limit: int = 1
    losses: int | float = 0


@attrs.frozen(kw_only=True)
class Mishap:
    """Attempts of one instance that raise."""

    stage: str
    turn: int
    item: int
    generations: frozenset[int]
    attempts: frozenset[int]


@attrs.frozen(kw_only=True)
class Script:
    """What the stages decide, give and suffer."""

    #: By stage; which of them counts depends on turn and generation.
    choices: Mapping[str, tuple[int, ...]]
    #: By stage that gives a list: its length in odd and in even generations.
    lengths: Mapping[str, tuple[int, int]]
    mishaps: tuple[Mishap, ...] = ()
    #: So many turns in all, then every stage chooses 0, which begins no turn.
    turns: int = 3

    def choice(self, at: At, generation: int) -> int:
        """Return what the stage decides."""
        choices = self.choices.get(at.stage, (0,))
        return 0 if sum(at.turn) >= self.turns else choices[(sum(at.turn) + generation) % len(choices)]

    def gives(self, at: At, generation: int, value: Any) -> Any:
        """Return what the stage gives for an input; what it was given shows in it."""
        if at.stage in self.lengths:
            return [[str(at), number] for number in range(self.lengths[at.stage][generation % 2])]
        text = json.dumps(value, sort_keys=True)
        seen = hashlib.sha256(text.encode()).hexdigest()[:12]
        return {"at": str(at), "by": generation, "choice": self.choice(at, generation), "saw": seen}

    def fails(self, at: At, generation: int, attempt: int) -> bool:
        """Return whether the attempt raises."""
        return any(
            (one.stage, one.turn, one.item) == (at.stage, sum(at.turn), at.item)
            and generation in one.generations
            and attempt in one.attempts
            for one in self.mishaps
        )


@attrs.frozen(kw_only=True, slots=False)
class Plan:
    """A workflow."""

    nodes: Mapping[str, Node]
    #: That from the start first.
    arrows: tuple[Arrow, ...]

    @cached_property
    def leaving(self) -> Mapping[str, tuple[Arrow, ...]]:
        """Arrows by source."""
        return {one: tuple(arrow for arrow in self.arrows if arrow.source == one) for one in (BEGIN, *self.nodes)}

    @cached_property
    def entering(self) -> Mapping[str, tuple[Arrow, ...]]:
        """Arrows by target, those aside that begin another turn."""
        return {
            one: tuple(arrow for arrow in self.arrows if one in arrow.targets and not self.is_back(arrow, one))
            for one in (*self.nodes, END)
        }

    def loops(self, stage: str) -> tuple[str, ...]:
        """Return the loops around a stage."""
        return self.nodes[stage].loops if stage in self.nodes else ()

    def is_back(self, arrow: Arrow, target: str) -> bool:
        """Return whether the arrow begins another turn of the loop that *target* is the head of."""
        return target in self.loops(arrow.source)

    def left(self, arrow: Arrow, target: str) -> str | None:
        """Return the outermost loop that the arrow leaves towards *target*."""
        around = self.loops(target)
        return next((loop for loop in self.loops(arrow.source) if loop not in around), None)
