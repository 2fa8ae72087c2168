"""Questions about the class of a value whose parts may be anything."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from typing_extensions import TypeIs


def is_mapping(value: object) -> TypeIs[Mapping[Any, Any]]:
    """Return whether *value* is a mapping."""
    return isinstance(value, Mapping)


def is_array(value: object) -> TypeIs[list[Any] | tuple[Any, ...]]:
    """Return whether *value* is written as a JSON array."""
    return isinstance(value, list | tuple)


def is_dict(value: object) -> TypeIs[dict[Any, Any]]:
    """Return whether *value* is a dict."""
    return isinstance(value, dict)


def is_collection(value: object) -> TypeIs[Collection[Any]]:
    """Return whether *value* can be gone through more than once."""
    return isinstance(value, Collection)
