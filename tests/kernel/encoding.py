"""Payload types as the tests of the codec use them."""

from __future__ import annotations

from typing import Any, Final

from holdfast.codec import payload_type
from holdfast.entities.definition import PayloadType

WHAT: Final = 'output of stage "split"'


def typed(annotation: Any) -> PayloadType:
    return payload_type(annotation, what="The output", source="flows.py:1")


def encoded(annotation: Any, value: object) -> str:
    return typed(annotation).encode(value, what=WHAT)
