"""Commands, results and events on the wire: camelCase JSON objects, by the one cattrs converter."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime, timedelta
from functools import cache
from math import isfinite
from types import GenericAlias
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast, get_args, get_origin, get_type_hints

import attrs

from holdfast.codec.problems import bounded, cut
from holdfast.errors import InvalidCommand

if TYPE_CHECKING:
    from cattrs import Converter

T = TypeVar("T")

Hook = Callable[[Any, Any], Any]

#: Names of unknown fields are cut here.
MAX_NAME: Final = 40


class _Unfit(ValueError):
    """Raise for a value of the wrong kind; says what was expected."""


class WireConverter:
    """Turns attrs values into JSON values and back.

    Fields are camelCase, instants ISO 8601 in UTC, durations seconds, enums their values. Unknown fields and values
    of another kind are refused, never converted. Fields that hold functions stay in the process.
    """

    __slots__ = ()

    def structure(self, value: object, kind: type[T]) -> T:
        """Return the value of class *kind* that a JSON value stands for.

        Raises:
            InvalidCommand: If it does not.
        """
        return structure(value, kind, what=kind.__name__)

    def unstructure(self, value: object) -> Any:
        """Return *value* as a JSON value."""
        return _converter().unstructure(value)


converter = WireConverter()


def structure(value: object, kind: type[T], *, what: str) -> T:
    """Return the value of class *kind* that a JSON value stands for.

    Args:
        value: An object of the class's fields in camelCase.
        kind: An attrs class.
        what: The wire name of the command, for the error.

    Raises:
        InvalidCommand: If fields are missing, unknown or of the wrong kind; carries all faults at once.
    """
    try:
        return _converter().structure(value, kind)
    except Exception as error:  # noqa: BLE001  # validators of attrs classes raise as they like
        problems = [f"{path}: {words}" if path else words for path, words in _faults(error)]
    raise InvalidCommand(what, bounded(problems))


def camel(name: str) -> str:
    """Return the wire name of a field."""
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail)


def _faults(error: BaseException, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield the place and the words of every fault that cattrs gathered."""
    from cattrs import ClassValidationError, IterableValidationError

    if isinstance(error, ClassValidationError):
        fields, others = error.group_exceptions()
        for cause, field in fields:
            yield from _faults(cause, _joined(path, camel(field.name)))
        for cause in others:
            yield from _faults(cause, path)
    elif isinstance(error, IterableValidationError):
        items, others = error.group_exceptions()
        for cause, item in items:
            yield from _faults(cause, _joined(path, cut(str(item.index), MAX_NAME)))
        for cause in others:
            yield from _faults(cause, path)
    else:
        yield path, _words(error)


def _joined(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _words(error: BaseException) -> str:
    from cattrs import ForbiddenExtraKeysError

    if isinstance(error, ForbiddenExtraKeysError):
        names = ", ".join(sorted(cut(str(name), MAX_NAME) for name in error.extra_fields))
        return f"there is no field {cut(names, 3 * MAX_NAME)}"
    if isinstance(error, KeyError):
        return "is missing"
    if isinstance(error, _Unfit):
        return str(error)
    return cut(f"is not valid: {error}", 80)


@cache
def _converter() -> Converter:
    """Build the converter on first use: importing cattrs takes a third of the time that the whole front door may."""
    from cattrs import Converter
    from cattrs.cols import is_mapping, is_sequence, list_structure_factory, mapping_structure_factory

    made = Converter(forbid_extra_keys=True, unstruct_collection_overrides={AbstractSet: list})
    for kind, words in ((str, "text"), (int, "an integer"), (bool, "true or false")):
        made.register_structure_hook(kind, _exactly(kind, words))
    made.register_structure_hook(float, _number)
    made.register_structure_hook(datetime, _instant)
    made.register_structure_hook(timedelta, _duration)
    made.register_unstructure_hook(datetime, _instant_text)
    made.register_unstructure_hook(timedelta, timedelta.total_seconds)
    made.register_structure_hook(enum.Enum, _member)

    def array(kind: Any) -> Hook:
        gathered = _GATHERED.get(get_origin(kind), list)
        items = cast(type, GenericAlias(list, get_args(kind)[:1]))
        read = _of_kind(list | tuple, "a list", list_structure_factory(items, made))
        return lambda value, _: gathered(read(value, None))

    def mapping(kind: Any) -> Hook:
        return _of_kind(Mapping, "an object", mapping_structure_factory(kind, made))

    made.register_structure_hook_factory(is_sequence, array)
    made.register_structure_hook_factory(_is_set, array)
    made.register_structure_hook_factory(is_mapping, mapping)
    _register_attrs(made)
    return made


def _register_attrs(made: Converter) -> None:
    from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

    def overrides(kind: Any) -> dict[str, Any]:
        return {
            field.name: override(rename=camel(field.name), omit=not on_wire(kind, field) or None)
            for field in attrs.fields(kind)
        }

    def reader(kind: Any) -> Hook:
        return _of_kind(Mapping, "an object", make_dict_structure_fn(kind, made, **overrides(kind)))

    def writer(kind: Any) -> Callable[[Any], Any]:
        return make_dict_unstructure_fn(kind, made, **overrides(kind))

    made.register_structure_hook_factory(attrs.has, reader)
    made.register_unstructure_hook_factory(attrs.has, writer)


def on_wire(kind: type, field: attrs.Attribute[Any]) -> bool:
    """Return whether a field of the attrs class *kind* may come from outside and go there.

    Functions stay in the process, and so do fields marked ``metadata={"in_process": True}``, such as a lease: who
    could hand one in from outside could choose what a body is called with.
    """
    if field.metadata.get("in_process", False):
        return False
    annotation = get_type_hints(kind).get(field.name)
    return get_origin(annotation) is not get_origin(Callable[[], None])


#: What the items of an array become, by the declared class; a list for any other.
_GATHERED: Final[Mapping[Any, Callable[[list[Any]], Any]]] = {
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    AbstractSet: frozenset,
}


def _is_set(kind: Any) -> bool:
    return get_origin(kind) in {set, frozenset, AbstractSet}


def _of_kind(kind: Any, words: str, hook: Callable[..., Any]) -> Hook:
    def checked(value: Any, target: Any) -> Any:
        if not isinstance(value, kind):
            raise _Unfit(f"should be {words}")
        return hook(value, target)

    return checked


def _exactly(kind: type, words: str) -> Hook:
    def checked(value: Any, _: Any) -> Any:
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            raise _Unfit(f"should be {words}")
        return value

    return checked


def _number(value: Any, _: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise _Unfit("should be a number")
    return float(value)


def _duration(value: Any, _: Any) -> timedelta:
    if isinstance(value, timedelta):
        return value
    try:
        return timedelta(seconds=_number(value, None))
    except (_Unfit, OverflowError):
        raise _Unfit("should be a duration in seconds") from None


def _instant(value: Any, _: Any) -> datetime:
    instant = value
    if isinstance(value, str):
        try:
            instant = datetime.fromisoformat(value)
        except ValueError:
            instant = None
    if not isinstance(instant, datetime) or instant.tzinfo is None:
        raise _Unfit("should be an instant in ISO 8601 with its offset from UTC")
    return instant.astimezone(UTC)


def _instant_text(instant: datetime) -> str:
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _member(value: Any, kind: type[enum.Enum]) -> enum.Enum:
    if isinstance(value, kind):
        return value
    for member in kind:
        if member.value == value and type(member.value) is type(value):
            return member
    raise _Unfit(f"should be one of {', '.join(str(member.value) for member in kind)}")
