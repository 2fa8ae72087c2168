"""What a pydantic schema says about a type before any value is seen: whether its values can be stored at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import attrs

from holdfast.codec.narrowing import is_array, is_dict

#: Schemas whose values only exist in this process; the second part of each sentence that refuses them.
_IN_PROCESS: Final = {
    "callable": "a function cannot be stored",
    "is-subclass": "a class cannot be stored",
    "generator": "an iterator can be read only once; declare a list",
}
#: Below these, a function of the type's author turns JSON into the instance.
_CONVERTING: Final = {"function-before", "function-wrap"}
_SETS: Final = {"set", "frozenset"}


@attrs.frozen(kw_only=True)
class Survey:
    """What is known about every value of a type."""

    #: Why values cannot be stored, in words; empty if they can.
    obstacles: tuple[str, ...]
    #: Whether the type holds sets, whose order differs from process to process.
    has_sets: bool
    #: Whether it holds values of any type.
    has_any: bool


def survey(schema: Mapping[str, Any]) -> Survey:
    """Look through the core schema of a type."""
    obstacles: dict[str, None] = {}
    kinds: set[str] = set()
    for place in _places(schema):
        kinds.add(place.kind)
        obstacles.update(dict.fromkeys(_obstacles(place)))
    return Survey(obstacles=tuple(obstacles), has_sets=not kinds.isdisjoint(_SETS), has_any="any" in kinds)


@attrs.frozen(kw_only=True)
class _Place:
    """One schema within another."""

    kind: str
    node: Mapping[str, Any]
    #: Whether a function above makes what stands here from JSON.
    converted: bool
    #: Whether a function above writes what stands here.
    rewritten: bool


#: Parts of a schema that JSON input never meets, or that hold no schemas.
_NOT_FOR_JSON: Final = frozenset(
    {"python_schema", "strict_schema", "serialization", "metadata", "config", "computed_fields", "default", "cls"}
)


def _places(schema: Mapping[str, Any]) -> Iterator[_Place]:
    """Yield every schema that JSON input passes through."""
    pending: list[tuple[object, bool, bool]] = [(schema, False, False)]
    while pending:
        part, converted, rewritten = pending.pop()
        if is_array(part):
            pending += [(item, converted, rewritten) for item in part]
        elif is_dict(part):
            kind = part.get("type")
            if not isinstance(kind, str):
                # Not a schema but schemas by name: fields, or the choices of a tagged union.
                pending += [(value, converted, rewritten) for value in part.values()]
                continue
            yield _Place(kind=kind, node=part, converted=converted, rewritten=rewritten)
            converted = converted or kind in _CONVERTING
            rewritten = rewritten or "serialization" in part
            pending += [(value, converted, rewritten) for key, value in part.items() if key not in _NOT_FOR_JSON]


def _obstacles(place: _Place) -> Iterator[str]:
    node = place.node
    if place.kind in _IN_PROCESS and not place.converted:
        yield _IN_PROCESS[place.kind]
    if place.kind == "is-instance" and not place.converted:
        yield f"pydantic cannot make a {getattr(node['cls'], '__name__', node['cls'])} from JSON"
    if not place.rewritten and _masks(node.get("serialization")):
        yield "a secret would be stored as asterisks; hand secrets to stages through services"
    fields = node.get("fields")
    if is_dict(fields):
        yield from _swapped(fields)


def _masks(serialization: object) -> bool:
    """Return whether a value is written as asterisks, as pydantic's secret types are."""
    function: object = serialization.get("function") if is_dict(serialization) else None
    name: str = getattr(function, "__name__", "")
    return getattr(function, "__module__", "") == "pydantic.types" and name.startswith("_serialize_secret")


def _swapped(fields: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield fields whose alias is the name of another field, for text could then be read either way."""
    for name, field in fields.items():
        alias = field.get("validation_alias")
        choices = [alias] if isinstance(alias, str) else [path[0] for path in alias or ()]
        for choice in choices:
            if choice != name and choice in fields:
                yield f'the alias "{choice}" of field "{name}" is the name of another field'
