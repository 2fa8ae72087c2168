"""Whether the values of one type can be the input of another, as far as the types alone can say.

The answer is no only when it is sure: between two stages stands JSON, and pydantic makes a date from text or a tuple
from a list. So types are compared by what they look like in JSON, models by descent, and the unknown is accepted.
"""

from __future__ import annotations

import dataclasses
import enum
import types
import typing
from collections import deque
from collections.abc import Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import date, datetime, time, timedelta
from typing import Annotated, Any, Final, Literal, NewType, TypeVar, Union, cast, get_args, get_origin

import typing_extensions


class _Look(enum.Enum):
    """What the values of a class look like in JSON."""

    NULL = "null"
    BOOLEAN = "boolean"
    INTEGER = "integer"
    NUMBER = "number"
    TEXT = "text"
    ARRAY = "array"
    OBJECT = "object"
    MODEL = "model"


#: What the commonest classes look like. Decimal is not among them because it reads text and numbers alike.
_LOOKS: Final[Mapping[type, _Look]] = {
    types.NoneType: _Look.NULL,
    bool: _Look.BOOLEAN,
    int: _Look.INTEGER,
    float: _Look.NUMBER,
    **dict.fromkeys((str, bytes, bytearray, datetime, date, time, timedelta), _Look.TEXT),
}

#: Pairs of looks that are not the same and yet fit.
_ACCEPTED: Final = frozenset(
    {
        (_Look.BOOLEAN, _Look.INTEGER),
        (_Look.BOOLEAN, _Look.NUMBER),
        (_Look.INTEGER, _Look.NUMBER),
        (_Look.MODEL, _Look.OBJECT),
        (_Look.OBJECT, _Look.MODEL),
    }
)

#: How deep types are compared; below, they are taken to fit.
_DEPTH: Final = 20


def fits(given: Any, wanted: Any, *, depth: int = _DEPTH) -> bool:
    """Return False if no, or not every, value of type *given* can be read as type *wanted*."""
    given, wanted = _bare(given), _bare(wanted)
    if depth == 0 or _says_nothing(given) or _says_nothing(wanted) or given == wanted:
        return True
    members = _members(given)
    if members is not None:
        return all(fits(member, wanted, depth=depth - 1) for member in members)
    choices = _members(wanted)
    if choices is not None:
        return any(fits(given, choice, depth=depth - 1) for choice in choices)
    return _class_fits(given, wanted, depth=depth)


def _bare(annotation: Any) -> Any:
    """Return the type behind its names and notes."""
    while True:
        if annotation is None:
            return types.NoneType
        if get_origin(annotation) is Annotated:
            annotation = get_args(annotation)[0]
        elif isinstance(annotation, NewType):
            annotation = annotation.__supertype__
        elif isinstance(annotation, typing_extensions.TypeAliasType):
            annotation = annotation.__value__
        else:
            return annotation


def _says_nothing(annotation: Any) -> bool:
    return annotation in _ANYTHING or isinstance(annotation, TypeVar | typing.ForwardRef | str)


_ANYTHING: Final = (Any, object, typing_extensions.Any)


def _members(annotation: Any) -> tuple[Any, ...] | None:
    """Return the members of a union or the classes of a literal's values; None for any other type."""
    origin = get_origin(annotation)
    if origin is Literal:
        return tuple({type(value): None for value in cast("tuple[object, ...]", get_args(annotation))})
    return get_args(annotation) if origin in {Union, types.UnionType} else None


def _class_fits(given: Any, wanted: Any, *, depth: int) -> bool:
    given_class, wanted_class = get_origin(given) or given, get_origin(wanted) or wanted
    if not isinstance(given_class, type) or not isinstance(wanted_class, type):
        return True
    look, other = _look(given_class), _look(wanted_class)
    if look is None or other is None:
        return True
    if look is not other:
        return (look, other) in _ACCEPTED
    if look is _Look.ARRAY:
        return _items_fit(given, wanted, depth=depth)
    if look is _Look.OBJECT:
        return _arguments_fit(get_args(given), get_args(wanted), depth=depth)
    return look is not _Look.MODEL or _descends(given_class, wanted_class)


def _look(kind: Any) -> _Look | None:
    """Return what values of the class look like; None if the class does not say."""
    if issubclass(kind, enum.Enum):
        return None
    exact = next((_LOOKS[base] for base in kind.__mro__ if base in _LOOKS), None)
    if exact is not None:
        return exact
    if _is_model(kind):
        return _Look.MODEL
    if typing_extensions.is_typeddict(kind) or issubclass(kind, Mapping):
        return _Look.OBJECT
    return _Look.ARRAY if kind is Collection or issubclass(kind, _ARRAYS) else None


_ARRAYS: Final[tuple[type, ...]] = (list, tuple, set, frozenset, deque, Sequence, AbstractSet)


def _is_model(kind: Any) -> bool:
    """Return whether values of the class are objects with its fields; a model of one root value is not."""
    fields = getattr(kind, "__pydantic_fields__", None)
    if isinstance(fields, Mapping) and hasattr(kind, "model_fields"):
        return "root" not in fields
    return dataclasses.is_dataclass(kind)


def _descends(given: type, wanted: type) -> bool:
    if issubclass(given, wanted):
        return True
    # Generic models are classes of their own for every argument, so only the generic ones can be compared.
    return _generic(given) is not None and _generic(given) is _generic(wanted)


def _generic(kind: type) -> Any:
    metadata = getattr(kind, "__pydantic_generic_metadata__", None)
    return metadata["origin"] if metadata else None


def _items_fit(given: Any, wanted: Any, *, depth: int) -> bool:
    items, places = _items(given), _items(wanted)
    if items is None or places is None:
        return True
    (fixed, item), (wanted_fixed, place) = items, places
    if fixed is not None and wanted_fixed is not None:
        return len(fixed) == len(wanted_fixed) and _arguments_fit(fixed, wanted_fixed, depth=depth)
    if fixed is not None:
        return all(fits(one, place, depth=depth - 1) for one in fixed)
    if wanted_fixed is not None:
        return all(fits(item, one, depth=depth - 1) for one in wanted_fixed)
    return fits(item, place, depth=depth - 1)


def _items(array: Any) -> tuple[tuple[Any, ...] | None, Any] | None:
    """Return the types at fixed places and the type of all items, one of which is set; None if nothing is said."""
    arguments, origin = get_args(array), get_origin(array)
    if origin is tuple:
        return (None, arguments[0]) if len(arguments) == 2 and arguments[1] is ... else (arguments, None)
    return (None, arguments[0]) if len(arguments) == 1 else None


def _arguments_fit(given: tuple[Any, ...], wanted: tuple[Any, ...], *, depth: int) -> bool:
    pairs = zip(given, wanted, strict=False) if len(given) == len(wanted) else ()
    return all(fits(one, other, depth=depth - 1) for one, other in pairs)
