"""Types as a person would write them."""

from __future__ import annotations

import types
import typing
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from holdfast.codec.narrowing import is_array


def type_name(annotation: Any) -> str:
    """Return *annotation* as it would stand in source, such as ``list[str]`` or ``Doc | None``, without modules."""
    known = _plain_name(annotation)
    if known is not None:
        return known
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return type_name(arguments[0])
    if origin is Literal:
        return f"Literal[{', '.join(map(repr, arguments))}]"
    if origin in {Union, types.UnionType}:
        return " | ".join(map(type_name, arguments))
    if is_array(annotation):
        return f"[{', '.join(map(type_name, annotation))}]"
    if origin is not None and arguments:
        return f"{type_name(origin)}[{', '.join(map(type_name, arguments))}]"
    return repr(annotation).removeprefix("typing.")


def _plain_name(annotation: Any) -> str | None:
    """Return the name of an annotation that has no parts."""
    if annotation is None or annotation is types.NoneType:
        return "None"
    if annotation is Ellipsis:
        return "..."
    if isinstance(annotation, str):
        return annotation
    if isinstance(annotation, typing.ForwardRef):
        return annotation.__forward_arg__
    name: str | None = None if get_args(annotation) else getattr(annotation, "__name__", None)
    return name
