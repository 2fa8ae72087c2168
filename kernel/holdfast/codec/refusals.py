"""Why a type cannot be that of a payload, said to the author of the workflow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from holdfast.codec.spelling import type_name
from holdfast.errors import DefinitionError


class UnresolvedName(DefinitionError):
    """Raise for a type that refers to a name that does not exist, or does not exist yet."""

    def __init__(self, name: str, *, what: str, source: str) -> None:
        super().__init__(
            f'{what} refers to "{name}", which is not defined',
            where=[source],
            fix="Define the name before the workflow is built, and import it outside of `if TYPE_CHECKING:`.",
            code="E2046",
        )


def unstorable(annotation: Any, reasons: Sequence[str], *, what: str, source: str) -> DefinitionError:
    """Return the error for a type whose values cannot be written as JSON and read back."""
    return DefinitionError(
        f"{what} is of type {type_name(annotation)}, which cannot be stored as JSON",
        where=[source, *reasons],
        fix="Use a pydantic model, a dataclass, a TypedDict, or builtin types and containers of them.",
        code="E2042",
    )
