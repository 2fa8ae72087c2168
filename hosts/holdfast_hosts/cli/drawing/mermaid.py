"""Writes a picture as the text of a Mermaid flowchart."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Final

from holdfast_hosts.cli.drawing.picture import Arrow, Kind, Node, Picture
from holdfast_hosts.cli.spelling import one_line

#: Letters that Mermaid takes as they are wherever they stand between quotes.
_PLAIN: Final = re.compile(r"[^\W_]|[ ,()=+/!?'.×·→…–-]|(?<=[^\W_])_(?=[^\W_])|:(?= )")
#: What Markdown would take for the beginning of a list.
_LIST: Final = re.compile(r"(?:\d+[.)]|[+-])(?= )")
#: Around the label of each kind.
_SHAPES: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.START: ("((", "))"),
    Kind.END: ("(((", ")))"),
    Kind.STAGE: ("[", "]"),
    Kind.WAIT: ("{{", "}}"),
    Kind.MAP: ("[", "]"),
    Kind.CHOICE: ("{", "}"),
    Kind.MEET: ("((", "))"),
}
#: What Mermaid calls a stack of sheets.
STACK: Final = "st-rect"
#: Lines in colours that can be read by daylight and at night; fills are left to the theme.
_FATES: Final[Mapping[str, str]] = {
    "completed": "stroke:#2da44e,stroke-width:3px",
    "failed": "stroke:#e5534b,stroke-width:3px",
    "cancelled": "stroke:#bf8700,stroke-width:3px",
    "running": "stroke:#388bfd,stroke-width:3px",
    "ready": "stroke:#388bfd,stroke-width:1px",
    "waiting": "stroke:#a371f7,stroke-width:3px",
    "suspended": "stroke:#a371f7,stroke-width:3px",
    "skipped": "stroke-dasharray:5 4",
    "pending": "stroke-dasharray:2 3",
}


def mermaid_of(picture: Picture) -> str:
    """Return the picture as Mermaid text; the same picture gives the same text."""
    head = ["---", f"title: {json.dumps(picture.title, ensure_ascii=False)}", "---", "flowchart TD"]
    lines = [*head, *_body(picture, "n", indent="  ")]
    fates = sorted({node.fate.status.value.lower() for node in _all(picture) if node.fate is not None})
    lines += [f"  classDef {fate} {_FATES[fate]}" for fate in fates]
    return "\n".join(lines) + "\n"


def _all(picture: Picture) -> Iterator[Node]:
    for node in picture.nodes:
        yield node
        if node.inside is not None:
            yield from _all(node.inside)


def _body(picture: Picture, prefix: str, *, indent: str) -> Iterator[str]:
    names = {node.id: f"{prefix}{at}" for at, node in enumerate(picture.nodes)}
    for node in picture.nodes:
        fate = "" if node.fate is None else f":::{node.fate.status.value.lower()}"
        if node.inside is not None:
            yield f'{indent}subgraph {names[node.id]}["{_words(node)}"]'
            yield f"{indent}  direction TB"
            yield from _body(node.inside, f"{names[node.id]}_", indent=f"{indent}  ")
            yield f"{indent}end"
            if fate:
                yield f"{indent}class {names[node.id]} {fate.lstrip(':')}"
        else:
            left, right = _SHAPES[node.kind]
            yield f'{indent}{names[node.id]}{left}"{_words(node)}"{right}{fate}'
            if node.kind is Kind.MAP:
                yield f"{indent}{names[node.id]}@{{ shape: {STACK} }}"
    for arrow in picture.arrows:
        yield f"{indent}{names[arrow.source]} {_arrow(arrow)} {names[arrow.target]}"


def _arrow(arrow: Arrow) -> str:
    line = "==>" if arrow.taken else "-.->" if arrow.back else "-->"
    label = "<br/>".join(escaped(one.words) for one in arrow.labels)
    return f'{line}|"{label}"|' if label else line


def _words(node: Node) -> str:
    title = node.title or (node.kind.value if node.kind in {Kind.START, Kind.END} else "")
    fate = () if node.fate is None else (node.fate.words,)
    # A node without a word would be an error.
    return "<br/>".join(escaped(line) for line in (title, *node.notes, *fate) if line) or " "


def escaped(text: str) -> str:
    """Return *text* as one line that Mermaid shows as it is, between quotes."""
    line = one_line(text)
    plain = {found.start() for found in _PLAIN.finditer(line)}
    listed = _LIST.match(line)
    plain -= set(range(listed.end() if listed else 0))
    return "".join(letter if at in plain else f"#{ord(letter)};" for at, letter in enumerate(line))
