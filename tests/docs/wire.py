"""The commands as JSON objects, told from their classes: fields, types, defaults, results and refusals."""

from __future__ import annotations

import enum
import inspect
import json
import re
import types
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Any, Final, Literal, Union, cast, get_args, get_origin, get_type_hints

import attrs

from holdfast.codec.wire import camel, on_wire
from holdfast.command import Command
from holdfast.entities.run import RunStatus
from holdfast.entities.stage import StageStatus
from holdfast.events import EventType
from holdfast.kernel import COMMANDS, HANDLERS
from tests.docs.tables import comments, filled, section, spelled, table

#: What fields are that the code does not comment, because their names say it to those who read the code.
WORDS: Final[Mapping[str, str]] = {
    "run_id": "The run.",
    "workflow_id": "The workflow.",
    "workflow_version": "Its version.",
    "stage_id": "The stage.",
    "from_stage_id": "The stage to begin with.",
    "job": "The stage instance.",
    "jobs": "Their stage instances.",
    "key": "The stage instance.",
    "name": "The wait's name.",
    "worker": "The worker, by the name that its host gave it.",
    "queues": "The queues to serve.",
    "limit": "How much is done at most.",
    "max_claims": "How many runs are admitted at most.",
    "max_checks": "How many stages are polled at most.",
    "max_events": "How many events each sink gets at most.",
    "idempotency_key": "The same key is the same request.",
    "operation_id": "The identity of this one command: sent again, it answers the same.",
    "tenant": "Whom the run belongs to; keys of tenants do not meet.",
    "annotations": "Who and why, kept with the run.",
    "reason": "Why, for the timeline.",
    "status": "The status.",
    "outcome": "What became of it.",
    "output": "The output.",
    "failure": "Why it failed.",
    "action": "What was done.",
    "beats": "The leases to extend.",
    "lease": "The lease.",
    "lost": "Leases that are lost.",
    "epoch": "The lease's fencing token.",
    "claimed": "The runs.",
    "fired": "How many.",
    "checked": "How many were polled.",
    "resumed_run_ids": "Their runs.",
    "replayed": "How many.",
    "message": "The text.",
}

_PLAIN: Final[Mapping[Any, str]] = {
    str: "text",
    int: "integer",
    float: "number",
    bool: "true or false",
    timedelta: "seconds",
    datetime: "instant",
    Any: "any JSON",
    object: "any JSON",
    type(None): "null",
}
_NONE: Final = re.compile(r"\bNone\b")
_LINKED: Final[Mapping[type[enum.Enum], str]] = {
    RunStatus: "[run status](state-machines.md#runs)",
    StageStatus: "[stage status](state-machines.md#stage-instances)",
    EventType: "[event type](events.md)",
}


def commands() -> str:
    """Return a section for each command."""
    return "\n".join(_section(COMMANDS[name]) for name in sorted(COMMANDS))


def values() -> str:
    """Return a section for each class of values that commands and results hold."""
    return "\n".join(f"### {kind.__name__}\n\n{_sentences(kind)}\n\n{fields_table(kind)}" for kind in value_classes())


def value_classes() -> list[type[Any]]:
    """Return every attrs class that a command or a result refers to, in order of name."""
    ends = {kind for command in COMMANDS.values() for kind in (command, result_of(command))}
    seen: set[type[Any]] = set()
    open_ = list(ends)
    while open_:
        for annotation in wire_fields(open_.pop()).values():
            fresh = {kind for kind in _classes(annotation) if attrs.has(kind)} - seen - ends
            seen |= fresh
            open_ += fresh
    return sorted(seen, key=lambda kind: kind.__name__)


def result_of(command: type[Command[Any]]) -> type[Any]:
    """Return the class of the result of a command."""
    result: type[Any] = get_type_hints(HANDLERS[command])["return"]
    return result


def wire_fields(kind: type[Any]) -> dict[str, Any]:
    """Return the annotations of the fields that travel, by their names in Python."""
    hints = get_type_hints(kind)
    return {field.name: hints[field.name] for field in attrs.fields(kind) if on_wire(kind, field)}


def fields_table(kind: type[Any]) -> str:
    """Return a table of the fields of a command, a result or a value."""
    known = comments(kind)
    rows: list[Sequence[str]] = []
    for name, annotation in wire_fields(kind).items():
        told = known[name] or WORDS.get(name, "")
        assert told, f"{kind.__name__}.{name} is told nowhere: comment it, or add it to WORDS"
        rows.append(
            (f"`{camel(name)}`", spell(annotation), _default(kind, name), _NONE.sub("null", told).removesuffix("."))
        )
    if not rows:
        return "No fields.\n"
    return table(("Field", "JSON", "Default", "What it is"), rows)


def spell(annotation: Any) -> str:
    """Return what stands for a type in JSON."""
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin in {Union, types.UnionType}:
        return " or ".join(spell(one) for one in arguments)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return f"object of {spell(arguments[1])}"
    if isinstance(origin, type) and issubclass(origin, Sequence | AbstractSet):
        return f"list of {spell(arguments[0])}"
    if origin is Literal:
        return ", ".join(f"`{one}`" for one in arguments)
    kind: type[object] = annotation
    return _enum(kind) if issubclass(kind, enum.Enum) else _anchored(kind)


def _enum(kind: type[enum.Enum]) -> str:
    return _LINKED.get(kind) or ", ".join(f"`{one.value}`" for one in kind)


def _anchored(kind: type[Any]) -> str:
    heading: str = getattr(kind, "type", "") if kind in HANDLERS else kind.__name__
    return f"[{kind.__name__}](#{heading.lower().replace('.', '')})"


def _classes(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _classes(argument)


def _default(kind: type[Any], name: str) -> str:
    default = getattr(attrs.fields(kind), name).default
    if default is attrs.NOTHING:
        return "required"
    if default.__class__.__name__ == "Factory":
        if default.takes_self:
            return "see there"
        default = default.factory()
    if isinstance(default, timedelta):
        return f"`{default.total_seconds():.15g}`"
    if isinstance(default, enum.Enum):
        return f"`{default.value}`"
    if isinstance(default, frozenset | tuple):
        default = sorted(cast("Sequence[str]", default))
    return f"`{json.dumps(default)}`"


def _section(command: type[Command[Any]]) -> str:
    handler = HANDLERS[command]
    parts = [f"## {command.type}", _sentences(command), fields_table(command)]
    result = result_of(command)
    parts += [f"Result: {_lower(_sentences(result))}", fields_table(result)]
    refusals = section(inspect.getdoc(handler) or "", "Raises")
    if refusals:
        parts.append("Raises:\n\n" + "\n".join(f"- `{name}` {_lower(why)}" for name, why in refusals))
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def _sentences(kind: type[Any]) -> str:
    text = spelled(inspect.getdoc(kind) or "")
    return "\n\n".join(filled(paragraph) for paragraph in text.split("\n\n"))


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
