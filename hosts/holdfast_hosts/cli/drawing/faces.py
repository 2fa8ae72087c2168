"""How large each node is, which words stand on it, and where arrows may touch it."""

from __future__ import annotations

from typing import Final

import attrs

from holdfast_hosts.cli.drawing.picture import Arrow, Kind, Node
from holdfast_hosts.cli.drawing.routing import Outline
from holdfast_hosts.cli.drawing.sheet import Size
from holdfast_hosts.cli.drawing.widths import lines_of, width_of

#: Text sizes.
TITLE: Final = 14.0
NOTE: Final = 12.0
#: Heights of lines.
TITLE_LINE: Final = 19.0
NOTE_LINE: Final = 17.0
#: Around the text of a node.
PADDING: Final = (16.0, 10.0)
#: How far the sides of a hexagon slant.
SLANT: Final = 14.0
#: How far each sheet of a stack stands out below the one before it, and how many do.
STACK: Final = 4.0
SHEETS: Final = 2
#: Room for the sign of what became of a node.
SIGN: Final = 22.0
#: Between the words of a map and what happens inside of it.
PANEL_GAP: Final = 6.0
#: Around what happens inside of a map.
MARGIN: Final = 24.0
#: Part of the upper and the lower side that arrows may touch.
REACH: Final = 0.75
LEAST_WIDTH: Final = 92.0
#: Letters of a line and lines at most; the whole text is a hint.
TITLE_LETTERS: Final = (34, 2)
NOTE_LETTERS: Final = (44, 2)
CODE_LETTERS: Final = (34, 3)
DOTS: Final = {Kind.START: 20.0, Kind.END: 22.0, Kind.MEET: 10.0, Kind.CHOICE: 24.0}


@attrs.frozen(kw_only=True)
class Line:
    """A line of text."""

    text: str
    code: bool = False


@attrs.frozen(kw_only=True)
class Face:
    """What one sees of a node."""

    size: Size
    outline: Outline
    title: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def text_height(self) -> float:
        """How high title and notes are."""
        return len(self.title) * TITLE_LINE + len(self.notes) * NOTE_LINE


def face_of(node: Node, inside: Size | None) -> Face:
    """Return the face of *node*; *inside* is the size of what is drawn within it."""
    fate = () if node.fate is None else (node.fate.words,)
    notes = tuple(line for note in (*node.notes, *fate) for line in _lines(note, NOTE_LETTERS))
    if node.kind in DOTS:
        return _dot(node.kind, notes)
    title = _lines(node.title, TITLE_LETTERS)
    width = max(LEAST_WIDTH, *(width_of(one, size=TITLE) * 1.06 for one in title), *_widths(notes))
    width += 2 * PADDING[0] + (SIGN if node.fate is not None else 0)
    height = len(title) * TITLE_LINE + len(notes) * NOTE_LINE + 2 * PADDING[1]
    slant = 0.0
    if node.kind is Kind.WAIT:
        width, slant = width + 2 * SLANT, SLANT
    if node.kind is Kind.MAP:
        height += STACK * SHEETS
    if inside is not None:
        width, height = max(width, inside.width + 2 * MARGIN), height + inside.height + MARGIN + PANEL_GAP
    outline = Outline(reach=REACH * width / 2 - slant, slant=slant)
    return Face(size=Size(width=width, height=height), outline=outline, title=title, notes=notes)


def _dot(kind: Kind, notes: tuple[str, ...]) -> Face:
    across = DOTS[kind]
    # Notes stand to the right; as much room to the left keeps the dot in the middle.
    width = across + 2 * max((width + 8 for width in _widths(notes)), default=0.0)
    height = max(across, len(notes) * NOTE_LINE)
    return Face(size=Size(width=width, height=height), outline=Outline(reach=0), notes=notes)


def label_lines(arrow: Arrow) -> tuple[Line, ...]:
    """Return what stands on an arrow."""
    lines: list[Line] = []
    for label in arrow.labels:
        lines += [Line(text=line, code=label.code) for line in _lines(label.text, CODE_LETTERS)]
        if label.priority:
            lines.append(Line(text=f"priority {label.priority}"))
    return tuple(lines)


def label_size(lines: tuple[Line, ...]) -> Size | None:
    """Return how much room the lines of a label take."""
    if not lines:
        return None
    width = max(width_of(line.text, size=NOTE, fixed=line.code) for line in lines)
    return Size(width=width + 12, height=len(lines) * NOTE_LINE + 4)


def _lines(text: str, limits: tuple[int, int]) -> tuple[str, ...]:
    return lines_of(text, letters=limits[0], most=limits[1])


def _widths(notes: tuple[str, ...]) -> list[float]:
    return [width_of(one, size=NOTE) for one in notes]
