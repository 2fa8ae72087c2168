"""Canonical JSON text of untyped values, and the digest by which texts are compared."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from hashlib import sha256
from typing import Any, Final

import attrs

from holdfast.codec.narrowing import is_array, is_mapping
from holdfast.errors import InvalidInput

_write: Final = json.JSONEncoder(
    ensure_ascii=True, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
).encode

#: Only a number written like this can be too large for a float, which a reader would take for infinity.
_MAYBE_INFINITE: Final = re.compile(r"[eE]\+?\d{3}|\d{309}")

TOO_DEEP: Final = "it refers to itself or is nested more than 200 levels deep"
NOT_FINITE: Final = "NaN and infinities have no JSON form"
TOO_LONG: Final = "an integer of more than 4,300 digits is not accepted"
LONE_SURROGATE: Final = "it holds a lone surrogate, half of a character that no encoding can write"


def digest(text: str | bytes) -> str:
    """Return the SHA-256 of *text* in hexadecimal."""
    return sha256(text if isinstance(text, bytes) else text.encode()).hexdigest()


def to_json(value: object, *, what: str = "value") -> str:
    """Return a value made of dicts with text keys, lists, tuples, text, numbers, booleans and None as canonical text.

    Raises:
        InvalidInput: If any part of the value has no JSON form.
    """
    from pydantic_core import from_json as read

    text = write(value, what=what)
    try:
        same = read(text) == value
    except ValueError as error:
        raise InvalidInput(what, [unreadable(error)]) from None
    if not same:
        # Tuples compare unequal to what they are read back as, which is meant; keys that are not text are not.
        _check_keys(value, what=what)
    return text


def from_json(text: str, *, what: str = "text") -> Any:
    """Return the value that *text* stands for; of a key that occurs twice in an object, the last value counts.

    Raises:
        InvalidInput: If the text is not JSON, or holds what canonical text cannot: see this package's docstring.
    """
    from pydantic_core import from_json as read

    try:
        value = read(text, allow_inf_nan=False)
    except ValueError as error:
        raise InvalidInput(what, [unreadable(error)]) from None
    if _MAYBE_INFINITE.search(text):
        write(value, what=what)
    return value


def write(value: object, *, what: str = "value") -> str:
    """Return *value*, which consists of what the json module knows, as canonical text.

    Raises:
        InvalidInput: If it holds anything else.
    """
    try:
        return _write(value)
    except RecursionError:
        problem = TOO_DEEP
    except ValueError as error:
        problem = TOO_LONG if "digits" in str(error) else NOT_FINITE
    except TypeError as error:
        problem = f"it has no JSON form: {error}"
    raise InvalidInput(what, [problem])


def unreadable(error: Exception) -> str:
    """Return why a text could not be read, in words; the reader's own words never hold the text."""
    reason = str(error)
    if "recursion limit" in reason:
        return TOO_DEEP
    if "out of range" in reason:
        return TOO_LONG
    if "hex escape" in reason:
        return LONE_SURROGATE
    return f"it is not JSON: {reason}"


def _check_keys(value: object, *, what: str, path: str = "") -> None:
    if is_mapping(value):
        for key, item in value.items():
            if not isinstance(key, str):
                inside = f' in "{path}"' if path else ""
                raise InvalidInput(what, [f"a key{inside} is of type {type(key).__name__}; JSON keys are text"])
            _check_keys(item, what=what, path=f"{path}.{key}"[:80] if path else key[:80])
    elif is_array(value):
        for number, item in enumerate(value):
            _check_keys(item, what=what, path=f"{path}.{number}"[:80] if path else str(number))


@attrs.frozen
class JsonType:
    """The payload type of any JSON value, for what has no declared type."""

    name: str = "JSON"

    def encode(self, value: object, *, what: str) -> str:
        """Return *value* as canonical text."""
        return to_json(value, what=what)

    def decode(self, text: str, *, what: str) -> Any:
        """Return the value that *text* stands for."""
        return from_json(text, what=what)

    def json_schema(self) -> Mapping[str, Any]:
        """Return the schema that every JSON value fits."""
        return {}
