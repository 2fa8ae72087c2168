"""How values become text: canonical JSON for payloads, camelCase JSON for commands and results.

Canonical text is ASCII-only JSON with sorted keys and no spaces. Two values that are equal field by field give the
same bytes, so a digest tells whether they are the same. Integers of up to 4,300 digits, -0.0, 1e22 and NUL survive;
NaN, infinities, lone surrogates, cycles and nesting beyond 200 levels are refused, always by `InvalidInput`.

pydantic costs more to import than the whole kernel may, so it and cattrs wait in modules that are imported when the
first payload type is made or the first command is read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from holdfast.codec.canonical import JsonType, digest, from_json, to_json
from holdfast.codec.wire import converter, structure

if TYPE_CHECKING:
    from holdfast.entities.definition import PayloadType

__all__ = ["JsonType", "converter", "digest", "from_json", "payload_type", "structure", "to_json"]


def payload_type(annotation: Any, *, what: str, source: str) -> PayloadType:
    """Return the payload type of anything that pydantic can validate and that JSON can hold.

    Args:
        annotation: A type, with its forward references resolved.
        what: What is declared with it, for the error, such as ``the input of stage "split"``.
        source: The source line of the declaration.

    Raises:
        DefinitionError: If values of the type cannot be written as JSON and read back.
    """
    from holdfast.codec.typed import declared_type

    return declared_type(annotation, what=what, source=lambda: source)
