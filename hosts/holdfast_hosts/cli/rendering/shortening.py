"""Ids cut to what still tells them apart."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable
from typing import Final

#: Ids begin with their instant; this much of one is the millisecond it was made in.
SHORTEST: Final = 13

#: A worker's name: what it is and an id, of which the end is chance.
_WORKER: Final = re.compile(r"(.*-)[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{6}([0-9a-f]{6})")


def prefix_length(ids: Iterable[str]) -> int:
    """Return how many characters of these ids tell each from the others, at least `SHORTEST`."""
    shared = (_shared(one, other) for one, other in itertools.pairwise(sorted(set(ids))))
    return max(SHORTEST, *(length + 1 for length in shared), SHORTEST)


def _shared(one: str, other: str) -> int:
    same = itertools.takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False))
    return sum(1 for _ in same)


def worker_name(name: object) -> str:
    """Return the name of a worker, its id cut to the digits that tell workers apart."""
    match = _WORKER.fullmatch(str(name))
    return str(name) if match is None else f"{match[1]}{match[2]}"
