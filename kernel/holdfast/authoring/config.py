"""The config of a run: defaults from the config types, what the caller overrides, and the texts that are stored."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from holdfast.codec import from_json, to_json
from holdfast.codec.narrowing import is_mapping
from holdfast.codec.problems import Problem, bounded, cut
from holdfast.entities.definition import Definition, PayloadType
from holdfast.errors import InvalidConfig, InvalidInput

#: The configs of so many runs are kept read, since every attempt of a run asks for a slice of the same text.
_CACHED: Final = 128

_MAX_SHOWN: Final = 40


def default_config(definition: Definition) -> dict[str, dict[str, Any]]:
    """Return the defaults of every stage's config as JSON values; fields without a default are left out."""
    return {
        spec.id: {} if spec.config is None else _defaults(spec.config, what=f'config of stage "{spec.id}"')
        for spec in definition.stages.values()
        if spec.body is not None
    }


def resolve_config(definition: Definition, given: Mapping[str, object]) -> dict[str, str]:
    """Return the canonical text of the config of every stage that has one.

    Args:
        definition: The workflow.
        given: Slices by stage id, each a config or a mapping of the fields that differ from the defaults. In a field
            that holds a model, too, the fields that are not named keep the default's values.

    Raises:
        InvalidConfig: If any slices do not fit; carries the faults of all of them.
    """
    if not isinstance(given, Mapping):
        raise InvalidConfig(definition.id, ["it should be an object with a slice for each stage"])
    texts: dict[str, str] = {}
    written = [spec.id for spec in definition.stages.values() if spec.body is not None]
    problems: list[str] = [
        f'there is no stage "{cut(str(stage_id), _MAX_SHOWN)}"; stages: {cut(", ".join(written), 400)}'
        for stage_id in given
        if stage_id not in written
    ]
    for spec in definition.stages.values():
        part = given.get(spec.id)
        if spec.config is None:
            if part is not None and part != {}:
                problems.append(f"{spec.id}: the stage takes no config")
            continue
        try:
            texts[spec.id] = _slice_text(spec.config, part, what=f'config of stage "{spec.id}"')
        except InvalidInput as error:
            problems += [_below(spec.id, problem) for problem in error.problems]
    if problems:
        raise InvalidConfig(definition.id, bounded(problems))
    return texts


def combine_config(texts: Mapping[str, str]) -> str:
    """Return the slices of a run as one canonical text."""
    return f"{{{','.join(f'{to_json(stage_id)}:{texts[stage_id]}' for stage_id in sorted(texts))}}}"


def config_text(combined: str, stage_id: str) -> str:
    """Return the slice of one stage, of what `combine_config` returned; that of a stage without one is ``{}``."""
    return _slices(combined).get(stage_id, "{}")


def faults_of_defaults(config: PayloadType) -> list[str]:
    """Return what is wrong with the defaults of a config's type, fields without a default aside."""
    try:
        whole = config.decode("{}", what="defaults")
    except InvalidInput:
        check = getattr(config, "faults_of_fields", None)
        try:
            partial = to_json(_partial(config), what="defaults")
        except InvalidInput as error:
            return list(error.problems)
        return [] if check is None else check(partial)
    try:
        config.encode(whole, what="defaults")
    except InvalidInput as error:
        return list(error.problems)
    return []


@lru_cache(maxsize=_CACHED)
def _slices(combined: str) -> Mapping[str, str]:
    return {stage_id: to_json(part) for stage_id, part in from_json(combined, what="config").items()}


def _below(stage_id: str, problem: str) -> str:
    return problem.below(stage_id) if isinstance(problem, Problem) else f"{stage_id}: {problem}"


def _slice_text(config: PayloadType, part: object, *, what: str) -> str:
    given: object = {} if part is None else part
    return config.encode(_overlaid(config, given) if is_mapping(given) else given, what=what)


def _overlaid(config: PayloadType, part: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Return *part* with the models inside completed from the defaults; pydantic completes the outermost itself."""
    kind = _class_of(config)
    defaults = _class_defaults(kind) if any(isinstance(value, Mapping) for value in part.values()) else {}
    return {key: _completed(defaults.get(_field_name(kind, key)), value) for key, value in part.items()}


def _completed(default: object, value: Any) -> Any:
    """Return *value*, if it is a mapping in the place of the model *default*, with the fields that it does not name."""
    if not is_mapping(value) or not _has_fields(type(default)):
        return value
    from holdfast.codec.typed import payload_of

    kind = type(default)
    plain: Mapping[str, Any] = from_json(payload_of(kind).encode(default, what="default"))
    named = {_field_name(kind, key) for key in value}
    inner = {key: _completed(getattr(default, _field_name(kind, key), None), item) for key, item in value.items()}
    return {**{name: item for name, item in plain.items() if name not in named}, **inner}


def _defaults(config: PayloadType, *, what: str) -> dict[str, Any]:
    try:
        whole = config.decode("{}", what=what)
    except InvalidInput:
        return _partial(config)
    plain = from_json(config.encode(whole, what=what))
    return plain if isinstance(plain, dict) else {}


def _partial(config: PayloadType) -> dict[str, Any]:
    """Return the JSON form of the fields that have a default, of a type in which others have none."""
    from pydantic_core import PydanticSerializationError, to_jsonable_python

    try:
        plain: dict[str, Any] = to_jsonable_python(
            _class_defaults(_class_of(config)), by_alias=False, round_trip=True, inf_nan_mode="constants"
        )
    except (PydanticSerializationError, ValueError) as error:
        raise InvalidInput("defaults", [cut(str(error), 80)]) from None
    return plain


def _class_of(config: PayloadType) -> Any:
    return getattr(config, "annotation", None)


def _has_fields(kind: Any) -> bool:
    return hasattr(kind, "__pydantic_fields__") or (isinstance(kind, type) and dataclasses.is_dataclass(kind))


def _fields(kind: Any) -> Mapping[str, Any]:
    """Return the fields of a model or dataclass by name, as pydantic or the standard library describes them."""
    if not _has_fields(kind):
        return {}
    described = getattr(kind, "__pydantic_fields__", None)
    return described or {field.name: field for field in dataclasses.fields(kind)}


def _class_defaults(kind: Any) -> dict[str, object]:
    """Return the defaults of a model's fields; a factory that needs other fields has none."""
    defaults: dict[str, object] = {}
    for name, field in _fields(kind).items():
        try:
            value = _described_default(field) if hasattr(field, "is_required") else _dataclass_default(field)
        except Exception:  # noqa: BLE001, S112  # a factory is written by users; validation says what is wrong
            continue
        if value is not dataclasses.MISSING:
            defaults[name] = value
    return defaults


def _described_default(field: Any) -> object:
    """Return the default of a field that pydantic describes."""
    if field.is_required():
        return dataclasses.MISSING
    return field.get_default(call_default_factory=True, validated_data={})


def _dataclass_default(field: Any) -> object:
    """Return the default of a field of a plain dataclass, which may hold pydantic's description of it."""
    if hasattr(field.default, "is_required"):
        return _described_default(field.default)
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _field_name(kind: Any, key: object) -> str:
    """Return the field that *key*, a name or an alias, stands for."""
    for name, field in _fields(kind).items():
        if key == name or key in _aliases(field):
            return name
    return str(key)


def _aliases(field: Any) -> set[object]:
    alias = getattr(field, "validation_alias", None) or getattr(field, "alias", None)
    choices = getattr(alias, "choices", [alias])
    return {choice if isinstance(choice, str) else getattr(choice, "path", [None])[0] for choice in choices}
