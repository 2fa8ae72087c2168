"""Writes XML so that no text can be taken for markup."""

from __future__ import annotations

from xml.sax.saxutils import escape

from holdfast_hosts.cli.spelling import clean


def text(content: str) -> str:
    """Return *content* as the text of an element or the value of an attribute; control characters are made visible."""
    return escape(clean(content), {'"': "&quot;"})


def number(value: float) -> str:
    """Return a number as short as it can be read, to a tenth."""
    # The sum turns a negative zero into a plain one.
    return f"{round(value, 1) + 0.0:.1f}".removesuffix(".0")


def element(name: str, content: str = "", **attributes: str) -> str:
    """Return an element; *content* is markup, attribute values are text."""
    said = "".join(f' {key}="{text(value)}"' for key, value in attributes.items())
    return f"<{name}{said}>{content}</{name}>" if content else f"<{name}{said}/>"
