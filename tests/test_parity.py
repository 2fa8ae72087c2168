"""Every behaviour of the reference systems that we keep, and every weak spot of theirs, has a test that names it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

TESTS: Final = Path(__file__).resolve().parent

#: The cases of each area, by the numbers of the parity list; gaps in the numbers are gaps in that list.
AREAS: Final[Mapping[str, tuple[int, ...]]] = {
    "def": (3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18),
    "ctx": (23, 25, 26, 27, 28, 29),
    "flow": (31, 32, 33, 34, 35, 36, 37, 38, 40),
    "config": (41, 46, 48),
    "create": (49, 50, 51),
    "claim": (53, 54, 56, 58, 59, 60, 62),
    "transition": (63, 65, 66, 67, 68, 69, 70, 71, 72),
    "cancel": (74, 75, 76),
    "rerun": (77, 78, 79, 80, 81, 82, 83),
    "job": (84, 86, 87, 89, 92, 93),
    "event": (97,),
    "poll": (98, 99, 100, 101, 102, 103, 105, 106, 107, 109, 110),
    "idem": (111, 112, 113, 115, 116, 117),
    "lease": (118, 119, 120),
    "queue": (121, 122, 123, 125, 126, 127),
    "stuck": (128, 129, 130, 131),
    "outbox": (132, 133, 134, 135, 136, 137),
    "persist": (149, 150, 151, 152, 153, 154, 155, 156, 158),
    "host": (161, 163, 164, 165, 166, 167, 168, 170),
    "h": (212, 213, 214, 215, 216, 217, 219, 220, 221, 222, 223, 224, 225, 226),
}

#: The rows of the second system's feature table that an engine has, by group and how many the group has.
ROWS: Final[Mapping[str, int]] = {
    "a": 6,
    "b": 6,
    "c": 3,
    "d": 2,
    "e": 1,
    "f": 1,
    "g": 1,
    "h": 1,
    "i": 1,
    "j": 3,
}

#: Those of durability, races and speed of the first system, 28 being a number that benchmarks hold, and all of the
#: second system's engine.
WEAK_SPOTS: Final = frozenset({*range(1, 28), 29, 30, 31, *range(71, 93)})

#: Bugs of other engines that a database alone can bring about again.
PEERS: Final = frozenset({8, 18, 19, 21, 23})

_NUMBERS: Final = re.compile(r"(parity|weak|peer)_((?:\d+_)+)")
_ROW: Final = re.compile(r"test_row_h_([a-z]\d+)_")


def names() -> Iterator[str]:
    """Yield the name of every test of the tests tree."""
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                yield node.name


TEST_NAMES: Final = frozenset(names())


def named() -> Iterator[tuple[str, int]]:
    """Yield the kind and number of every case that a test names."""
    for name in TEST_NAMES:
        for kind, numbers in _NUMBERS.findall(name):
            yield from ((kind, int(number)) for number in numbers.split("_") if number)


NAMED: Final = frozenset(named())


def test_every_parity_case_is_tested() -> None:
    """No case of an area that we cover lacks a test of its number."""
    missing = {
        area: lacking
        for area, cases in AREAS.items()
        if (lacking := [case for case in cases if ("parity", case) not in NAMED])
    }
    assert not missing


def test_every_weak_spot_is_tested() -> None:
    """No weak spot of the reference systems lacks a test that would fail there."""
    assert not sorted(spot for spot in WEAK_SPOTS if ("weak", spot) not in NAMED)


def test_every_bug_of_others_that_concerns_the_database_is_tested() -> None:
    """No bug of another engine that has to do with its database lacks a test that names it."""
    assert not sorted(bug for bug in PEERS if ("peer", bug) not in NAMED)


def test_every_row_of_the_second_system_is_tested() -> None:
    """No row of its feature table, runtime and inspector aside, lacks a test of its name."""
    tested = {row for name in TEST_NAMES for row in _ROW.findall(name)}
    wanted = {f"{group}{number}" for group, count in ROWS.items() for number in range(1, count + 1)}
    assert not sorted(wanted - tested)
    assert not sorted(tested - wanted)
