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

_NO_OBJECT: Final = "takes no object"

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


def item_of(annotation: Any) -> Any | None:
    """Return the type of the items of an array, Any if it does not say; None for a type that is no array."""
    annotation = _bare(annotation)
    if _says_nothing(annotation):
        return Any
    members = _members(annotation)
    if members is not None:
        each = [item_of(member) for member in members]
        return None if None in each else _one_of(each)
    kind = get_origin(annotation) or annotation
    look = _look(kind) if isinstance(kind, type) else None
    if look is not _Look.ARRAY:
        return Any if look is None else None
    fixed, item = _items(annotation) or (None, Any)
    return item if fixed is None else _one_of(fixed)


def _one_of(annotations: Sequence[Any]) -> Any:
    return Union[tuple(annotations)] if annotations else Any  # noqa: UP007  # the members are known at run time only


def takes_object(annotation: Any) -> bool:
    """Return whether an object of several values might be read as the type."""
    return misnamed({}, annotation) != _NO_OBJECT


def misnamed(given: Mapping[str, Any], wanted: Any) -> str | None:
    """Return why an object of values of the *given* types, by name, cannot be read as type *wanted*; None if it can."""
    wanted = _bare(wanted)
    kind = get_origin(wanted) or wanted
    look = _look(kind) if isinstance(kind, type) and not _says_nothing(wanted) else None
    if look is None:
        return None
    if look not in {_Look.OBJECT, _Look.MODEL}:
        return _NO_OBJECT
    fields = _fields(kind)
    if fields is None:
        arguments = get_args(wanted)
        fields = {name: (arguments[1] if len(arguments) == 2 else Any, False) for name in given}
    for name, annotation in given.items():
        if name not in fields:
            return f'has no field "{name}"'
        if not fits(annotation, fields[name][0]):
            return f'takes another type for "{name}"'
    missing = next((name for name, (_, is_required) in fields.items() if is_required and name not in given), None)
    return None if missing is None else f'needs "{missing}", which none of them is called'


def _fields(kind: Any) -> Mapping[str, tuple[Any, bool]] | None:
    """Return the type of each field of a class, and whether it must be there; None if it has no fields of its own."""
    if typing_extensions.is_typeddict(kind):
        hints = typing_extensions.get_type_hints(kind)
        return {name: (hint, name in kind.__required_keys__) for name, hint in hints.items()}
    fields = getattr(kind, "__pydantic_fields__", None)
    if isinstance(fields, Mapping) and not dataclasses.is_dataclass(kind):
        known = cast("Mapping[str, Any]", fields)
        return {field.alias or name: (field.annotation, field.is_required()) for name, field in known.items()}
    if dataclasses.is_dataclass(kind):
        empty = dataclasses.MISSING
        return {
            field.name: (field.type, field.default is empty and field.default_factory is empty)
            for field in dataclasses.fields(kind)
        }
    return None


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
