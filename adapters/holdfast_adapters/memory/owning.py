"""Copies of JSON values, so that the store and its callers share nothing that either may change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

_PLAIN: Final = frozenset({str, int, float, bool, type(None)})


def owned(value: Any) -> Any:
    """Return a copy of a JSON value that shares nothing mutable with it.

    Raises:
        TypeError: If it is no JSON value; a database could not store it either.
    """
    if type(value) in _PLAIN:
        return value
    # Nearly all data of events are flat dicts, and asking whether something is a Mapping is slow.
    if type(value) is dict and _is_flat(cast("dict[object, object]", value)):
        return value.copy()
    if isinstance(value, Mapping):
        members = cast("Mapping[object, object]", value)
        return {_name(name): owned(member) for name, member in members.items()}
    if isinstance(value, (list, tuple)):
        return [owned(member) for member in cast("Sequence[object]", value)]
    if isinstance(value, (str, int, float)):
        return value
    raise TypeError(f"{value!r} is no JSON value")


def _is_flat(value: dict[object, object]) -> bool:
    for name, member in value.items():  # noqa: SIM110 - all() with its generator takes twice as long
        if type(member) not in _PLAIN or type(name) is not str:
            return False
    return True


def _name(name: object) -> str:
    if isinstance(name, str):
        return name
    raise TypeError(f"{name!r} is no name of a JSON member")
