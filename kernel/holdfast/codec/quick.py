"""Writers for builtin scalars and plain containers of them, the commonest payloads, which need no validation.

A value whose class is exactly the declared one, and not a subclass of it, fits the type by that alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import isfinite
from types import NoneType
from typing import Any, Final, get_args, get_origin

from holdfast.codec.canonical import write
from holdfast.codec.narrowing import is_array, is_dict

#: Returns the canonical text of a value, or None or an error for whatever a closer look has to decide.
Quick = Callable[[Any], str | None]


def quick_writer(annotation: Any) -> Quick | None:
    """Return the writer of a builtin scalar, or of a list or mapping of one; None for any other type."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is list and arguments[0] in _SCALARS:
        return _list_of(arguments[0])
    if origin is dict and arguments[0] is str and arguments[1] in _SCALARS:
        return _dict_of(arguments[1])
    if annotation is None or isinstance(annotation, type):
        return _SCALARS.get(annotation)
    return None


def _str(value: Any) -> str | None:
    return _unless_halved(write(value)) if type(value) is str else None


def _int(value: Any) -> str | None:
    return int.__repr__(value) if type(value) is int else None


def _float(value: Any) -> str | None:
    return float.__repr__(value) if type(value) is float and isfinite(value) else None


def _bool(value: Any) -> str | None:
    return ("true" if value else "false") if type(value) is bool else None


def _none(value: Any) -> str | None:
    return "null" if value is None else None


def _list_of(item: type) -> Quick:
    items = frozenset({item})

    def quick(value: Any) -> str | None:
        if is_array(value) and type(value) is list and items.issuperset(map(type, value)):
            return _unless_halved(write(value))
        return None

    return quick


def _dict_of(item: type) -> Quick:
    keys, items = frozenset({str}), frozenset({item})

    def quick(value: Any) -> str | None:
        if not is_dict(value) or type(value) is not dict:
            return None
        fits = keys.issuperset(map(type, value)) and items.issuperset(map(type, value.values()))
        return _unless_halved(write(value)) if fits else None

    return quick


def _unless_halved(text: str) -> str | None:
    # Half of a surrogate pair is written just like a half that stands alone; only a reader tells them apart.
    return None if "\\ud" in text else text


_SCALARS: Final[Mapping[Any, Quick]] = {
    str: _str,
    int: _int,
    float: _float,
    bool: _bool,
    NoneType: _none,
    None: _none,
}
