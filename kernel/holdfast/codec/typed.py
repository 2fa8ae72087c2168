"""Payload types of declared types, by pydantic; importing this module imports pydantic."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields, is_dataclass
from functools import lru_cache
from math import isfinite
from typing import Any, Final, NewType, cast

import attrs
from pydantic import BaseModel, ConfigDict, RootModel, TypeAdapter
from pydantic.errors import PydanticInvalidForJsonSchema, PydanticUndefinedAnnotation, PydanticUserError
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticSerializationError, SchemaSerializer, SchemaValidator, ValidationError, from_json

from holdfast.codec.canonical import NOT_FINITE, TOO_DEEP, unreadable, write
from holdfast.codec.narrowing import is_array, is_collection, is_dict, is_mapping
from holdfast.codec.problems import MAX_FOREIGN, cut, field_problems_of, problems_of
from holdfast.codec.quick import Quick, quick_writer
from holdfast.codec.refusals import UnresolvedName, unstorable
from holdfast.codec.spelling import type_name
from holdfast.codec.survey import Survey, survey
from holdfast.errors import InvalidInput

#: Holds where no model says otherwise; a model's own config decides how its bytes are written.
_CONFIG: Final = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")
#: So many types are kept at hand; the least recently used go first.
_CACHED: Final = 1_024


class Unresolved(Exception):
    """Raise for a type that refers to a name that does not exist yet."""


class Unstorable(Exception):
    """Raise for a type whose values cannot be written as JSON and read back."""

    def __init__(self, reasons: Iterable[str]) -> None:
        self.reasons = tuple(reasons)
        super().__init__(*self.reasons)


def _serializer_of(payload: TypedPayload) -> SchemaSerializer:
    return payload.adapter.serializer


def _validator_of(payload: TypedPayload) -> SchemaValidator:
    return cast(SchemaValidator, payload.adapter.validator)


@attrs.frozen(kw_only=True, eq=False)
class TypedPayload:
    """The payload type of a declared type.

    Validation follows pydantic's rules, those of the type's own config included. Fields are stored by their names;
    in a value that is not yet of the type, such as JSON from outside, aliases count as well.
    """

    name: str
    annotation: Any
    adapter: TypeAdapter[Any] = attrs.field(repr=False)
    survey: Survey = attrs.field(repr=False)
    _serializer: SchemaSerializer = attrs.field(
        init=False, repr=False, default=attrs.Factory(_serializer_of, takes_self=True)
    )
    _validator: SchemaValidator = attrs.field(
        init=False, repr=False, default=attrs.Factory(_validator_of, takes_self=True)
    )

    def encode(self, value: object, *, what: str) -> str:
        """Return *value* as canonical text.

        Nothing is trusted for being an instance of the type, for instances can be changed and built without
        validation: what is stored is written from what the first text was read back as.
        """
        text = self._write(value, what=what)
        if self.survey.has_any and "null" in text and _has_infinity(value):
            # Where anything may stand, pydantic writes these as null.
            raise InvalidInput(what, [NOT_FINITE])
        canonical = self._write(self.decode(text, what=what), what=what)
        if canonical != text:
            self.decode(canonical, what=what)
        return canonical

    def decode(self, text: str, *, what: str) -> Any:
        """Return the typed value that *text* stands for."""
        try:
            value = self._validator.validate_json(text, by_alias=True, by_name=True)
            if "NaN" in text or "Infinity" in text:
                # The words may stand in a string; only a strict reader can tell.
                from_json(text, allow_inf_nan=False)
            return value
        except ValidationError as error:
            problems = problems_of(error)
        except RecursionError:
            problems = [TOO_DEEP]
        except Exception as error:  # noqa: BLE001  # validators are written by users
            problems = [unreadable(error) if type(error) is ValueError else _foreign("validator", error)]
        # Raised out here, so that pydantic's error, which quotes the data, is not attached.
        raise InvalidInput(what, problems)

    def json_schema(self) -> Mapping[str, Any]:
        """Return the JSON schema of the stored text; empty for a type that has no schema of its own."""
        try:
            return self.adapter.json_schema(by_alias=False, schema_generator=_Schema)
        except PydanticInvalidForJsonSchema:
            return {}

    def faults_of_fields(self, text: str) -> list[str]:
        """Return what is wrong with fields that are there, those that are missing aside."""
        try:
            self._validator.validate_json(text, by_alias=True, by_name=True)
        except ValidationError as error:
            return field_problems_of(error)
        return []

    def _write(self, value: object, *, what: str) -> str:
        try:
            plain = self._serializer.to_python(value, mode="json", round_trip=True, by_alias=False, warnings=False)
            if self.survey.has_sets:
                plain = _with_sorted_sets(value, plain)
        except UnicodeDecodeError:
            problem = "it holds bytes that are not UTF-8; set ser_json_bytes and val_json_bytes to base64 in its config"
        except RecursionError:
            problem = TOO_DEEP
        except InvalidInput as error:
            problem = error.problems[0]
        except Exception as error:  # noqa: BLE001  # serializers are written by users
            problem = _unwritable(error)
        else:
            return write(plain, what=what)
        raise InvalidInput(what, [problem])


class _Schema(GenerateJsonSchema):
    """Writes schemas without warning of defaults that have no JSON form; those are refused elsewhere."""

    ignored_warning_kinds = {"skipped-choice", "non-serializable-default"}  # noqa: RUF012  # pydantic declares it so


def _has_infinity(value: object) -> bool:
    """Return whether NaN or an infinity is anywhere in *value*, which a serializer has found to be a tree."""
    pending = [value]
    while pending:
        part: Any = pending.pop()
        if isinstance(part, float):
            if not isfinite(part):
                return True
        elif is_mapping(part):
            pending += part.values()
        elif is_collection(part) and not isinstance(part, str | bytes):
            pending += part
        elif isinstance(part, BaseModel):
            pending += [*vars(part).values(), part.model_extra]
        elif is_dataclass(part):
            pending += [getattr(part, field.name, None) for field in fields(part)]
    return False


def _unwritable(error: Exception) -> str:
    reason = str(error)
    if "Circular reference" in reason or "depth exceeded" in reason:
        return TOO_DEEP
    if "invalid utf-8" in reason:
        return "it holds bytes that are not UTF-8; set ser_json_bytes and val_json_bytes to base64 in its config"
    if isinstance(error, PydanticSerializationError):
        return cut(reason, MAX_FOREIGN)
    return _foreign("serializer", error)


def _foreign(kind: str, error: Exception) -> str:
    return cut(f"its {kind} raised {type(error).__name__}: {error}", MAX_FOREIGN)


def _with_sorted_sets(value: object, plain: Any) -> Any:
    """Return *plain*, the JSON form of *value*, with every list that was a set in the order of its items' texts."""
    if isinstance(value, RootModel):
        return _with_sorted_sets(cast("Any", value).root, plain)
    if is_array(plain) and is_collection(value) and len(value) == len(plain):
        # A set that does not change is gone through in the same order every time.
        items = [_with_sorted_sets(item, inner) for item, inner in zip(value, plain, strict=True)]
        is_set = isinstance(value, set | frozenset)
        return sorted(items, key=lambda item: write(item, what="item of a set")) if is_set else items
    if is_dict(plain) and is_mapping(value) and len(value) == len(plain):
        pairs = zip(value.values(), plain.items(), strict=True)
        return {name: _with_sorted_sets(item, inner) for item, (name, inner) in pairs}
    if is_dict(plain):
        return {name: _with_sorted_sets(getattr(value, name, None), inner) for name, inner in plain.items()}
    return plain


@attrs.frozen(kw_only=True, eq=False)
class PlainPayload(TypedPayload):
    """A payload type so plain that a value of exactly the right classes needs no validation to be written."""

    #: Returns the text, or None for whatever it is not sure about.
    quick: Quick = attrs.field(repr=False)

    def encode(self, value: object, *, what: str) -> str:
        """Return *value* as canonical text."""
        try:
            text = self.quick(value)
        except (InvalidInput, ValueError):
            text = None
        return self._validated(value, what=what) if text is None else text

    def _validated(self, value: object, *, what: str) -> str:
        try:
            plain = self._validator.validate_python(value)
        except ValidationError as error:
            problems = problems_of(error)
        except Exception as error:  # noqa: BLE001  # a value may do anything when it is looked at
            problems = [_foreign("value", error)]
        else:
            text = write(plain, what=what)
            self.decode(text, what=what)
            return text
        raise InvalidInput(what, problems)


def declared_type(annotation: Any, *, what: str, source: Callable[[], str]) -> TypedPayload:
    """Return the payload type of *annotation*.

    Args:
        annotation: A type, with its forward references resolved.
        what: What is declared with it, for the error.
        source: Reads the source line of the declaration, which only an error needs.

    Raises:
        UnresolvedName: If it refers to a name that does not exist yet.
        DefinitionError: If values of the type cannot be written as JSON and read back.
    """
    try:
        return payload_of(annotation)
    except Unresolved as error:
        raise UnresolvedName(str(error), what=what, source=source()) from None
    except Unstorable as error:
        raise unstorable(annotation, error.reasons, what=what, source=source()) from None


def payload_of(annotation: Any) -> TypedPayload:
    """Return the payload type of *annotation*, the same one for the same type.

    Raises:
        Unresolved: If the type refers to a name that does not exist yet.
        Unstorable: If values of the type cannot be written as JSON and read back.
    """
    try:
        # Unions are equal in any order of their members, but read in theirs; the text tells them apart.
        return _cached(annotation, repr(annotation))
    except TypeError:
        # The annotation holds something that cannot be hashed.
        return _built(annotation)


@lru_cache(maxsize=_CACHED)
def _cached(annotation: Any, _: str) -> TypedPayload:
    return _built(annotation)


def _built(annotation: Any) -> TypedPayload:
    adapter = _adapter(annotation)
    found = survey(adapter.core_schema)
    if found.obstacles:
        raise Unstorable(found.obstacles)
    name, quick = type_name(annotation), quick_writer(annotation)
    if quick is not None:
        return PlainPayload(name=name, annotation=annotation, adapter=adapter, survey=found, quick=quick)
    return TypedPayload(name=name, annotation=annotation, adapter=adapter, survey=found)


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    try:
        try:
            adapter = TypeAdapter[Any](annotation, config=_CONFIG)
        except PydanticUserError as error:
            if error.code != "type-adapter-config-unused":
                raise
            # A class takes a config only under another name, and then reads its bytes as it does inside of a list.
            alias = NewType(annotation.__name__, annotation)  # type: ignore[misc]  # made for pydantic only
            adapter = TypeAdapter[Any](alias, config=_CONFIG)
        if not adapter.pydantic_complete:
            adapter.rebuild(force=True, raise_errors=True)
    except PydanticUndefinedAnnotation as error:
        raise Unresolved(error.name) from None
    except Exception as error:  # noqa: BLE001  # the author of a type may have hooked into pydantic here
        # The first line says why; what pydantic advises after its first sentence does not help to store values.
        raise Unstorable([str(error).split("\n", 1)[0].split(". Set `", 1)[0]]) from None
    return adapter
