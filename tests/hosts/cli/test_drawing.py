"""Mermaid text and SVG: what stands in them, and that nothing overlaps."""

from __future__ import annotations

import itertools
import re
import time
from xml.etree import ElementTree as ET

import pytest

from holdfast.entities.definition import Definition
from holdfast.entities.graph import END, START
from holdfast_hosts.cli.drawing.folding import picture_of
from holdfast_hosts.cli.drawing.layout import lay_out
from holdfast_hosts.cli.drawing.mermaid import escaped, mermaid_of
from holdfast_hosts.cli.drawing.ordering import crossings
from holdfast_hosts.cli.drawing.placing import rising
from holdfast_hosts.cli.drawing.routing import Outline, routes
from holdfast_hosts.cli.drawing.sheet import Link, Size
from holdfast_hosts.cli.drawing.svg import svg_of
from tests.hosts.cli.pictured import chain, defined, edge, mapped, tangled

SVG = "{http://www.w3.org/2000/svg}"
BOX = Size(width=100, height=40)
HOSTILE = 'a "b" <script>alert(1)</script> & ]]> #quot; `c` \x1b[31m'


def drawn(definition: Definition) -> ET.Element:
    """Return the drawing, read as XML."""
    return ET.fromstring(svg_of(picture_of(definition)))


def test_mermaid_text_is_a_flowchart() -> None:
    """Each kind of node has its shape, a choice its labels, a way back its dots."""
    definition = defined(
        {"think": {}, **mapped("act")},
        edge(START, "think"),
        edge("think", "act~split", when="r.tools"),
        edge("think", END),
        edge("act~split", "act"),
        edge("act", "act~join"),
        edge("act~join", "think"),
    )
    assert mermaid_of(picture_of(definition)).splitlines() == [
        "---",
        'title: "drawn 1.0.0"',
        "---",
        "flowchart TD",
        '  n0(("start"))',
        '  n1["think"]',
        '  n2["act<br/>× each item, limit 8"]',
        "  n2@{ shape: st-rect }",
        '  n3((("end")))',
        "  n0 --> n1",
        '  n1 -->|"r.tools"| n2',
        '  n1 -->|"otherwise"| n3',
        "  n2 -.-> n1",
    ]


def test_a_mapped_line_is_a_subgraph() -> None:
    """What happens to each item stands inside, and arrows lead to the whole."""
    stages = mapped("page", "ocr")
    lines = mermaid_of(picture_of(defined(stages, *chain("page~split", "page", "ocr", "page~join")))).splitlines()
    assert lines[5:13] == [
        '  subgraph n1["for each item<br/>limit 8"]',
        "    direction TB",
        '    n1_0["page"]',
        '    n1_1["ocr"]',
        "    n1_0 --> n1_1",
        "  end",
        '  n2((("end")))',
        "  n0 --> n1",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("order.total > 1_000", "order.total #62; 1_000"),
        ('x == "#1"', "x == #34;#35;1#34;"),
        ("a[0] | {b}", "a#91;0#93; #124; #123;b#125;"),
        ("__init__", "#95;#95;init#95;#95;"),
        ("1. first", "#49;#46; first"),
        ("- item", "#45; item"),
        ("style:x", "style#58;x"),
        ("two\n  lines", "two lines"),
        ("`code` <br/>", "#96;code#96; #60;br/#62;"),
    ],
)
def test_mermaid_labels_are_escaped(text: str, shown: str) -> None:
    """What would end a label, begin markup or be read as Markdown is written by number."""
    assert escaped(text) == shown


def test_a_drawing_is_text_that_a_browser_shows_as_it_is() -> None:
    """Names and conditions are only ever text, and nothing in a drawing loads or executes anything."""
    definition = defined(
        [HOSTILE, "b"], edge(START, HOSTILE), edge(HOSTILE, "b", when=HOSTILE), edge(HOSTILE, END), edge("b", END)
    )
    root = drawn(definition)
    tags = {element.tag.removeprefix(SVG) for element in root.iter()}
    assert tags == {"svg", "title", "desc", "style", "rect", "g", "path", "polygon", "circle", "text"}
    names = {name for element in root.iter() for name in element.attrib}
    assert not {name for name in names if name.startswith("on") or "href" in name}
    assert "\x1b" not in svg_of(picture_of(definition))
    assert "url(" not in svg_of(picture_of(definition))


def test_a_drawing_can_be_read_aloud() -> None:
    """It is an image with a title and a description of every arrow."""
    root = drawn(
        defined(
            ["a", "b", "c"], edge(START, "a"), edge("a", "b", when="x"), edge("a", "c"), *(edge(o, END) for o in "bc")
        )
    )
    assert root.get("role") == "img"
    assert root.findtext(f"{SVG}title") == "Workflow drawn 1.0.0"
    assert (root.findtext(f"{SVG}desc") or "").startswith("start to a; a to b (x); a to c (otherwise)")


def test_a_drawing_has_colours_for_day_and_night() -> None:
    """Every colour of the day has one for the night."""
    day, _, night = svg_of(picture_of(defined(["a"], *chain("a")))).partition("@media (prefers-color-scheme: dark)")
    colours = re.compile(r"(?:fill|stroke): #[0-9a-f]{6}")
    assert len(colours.findall(day)) == len(colours.findall(night)) > 20


def test_the_same_workflow_is_drawn_the_same() -> None:
    """Both forms are functions of the definition."""
    assert svg_of(picture_of(tangled(40, seed=7))) == svg_of(picture_of(tangled(40, seed=7)))
    assert mermaid_of(picture_of(tangled(40, seed=7))) == mermaid_of(picture_of(tangled(40, seed=7)))


@pytest.mark.parametrize("stages", [1, 2, 30, 300])
def test_no_box_overlaps_another_and_all_stand_within(stages: int) -> None:
    """Boxes keep clear of each other and of the border, however many there are."""
    root = drawn(tangled(stages, seed=stages) if stages > 1 else defined(["only"], *chain("only")))
    group = root.find(f"{SVG}g")
    assert group is not None
    left, top = (float(one) for one in re.findall(r"-?[\d.]+", group.get("transform", "")))
    boxes = [
        (
            float(box.get("x", 0)) + left,
            float(box.get("y", 0)) + top,
            float(box.get("width", 0)),
            float(box.get("height", 0)),
        )
        for node in group.findall(f"{SVG}g[@class='stage']")
        for box in node.findall(f"{SVG}rect")
    ]
    assert len(boxes) == stages
    width, height = float(root.get("width", 0)), float(root.get("height", 0))
    assert all(x > 0 and y > 0 and x + w < width and y + h < height for x, y, w, h in boxes)
    for one, other in itertools.combinations(boxes, 2):
        apart_x = one[0] + one[2] < other[0] or other[0] + other[2] < one[0]
        apart_y = one[1] + one[3] < other[1] or other[1] + other[3] < one[1]
        assert apart_x or apart_y


def test_three_hundred_stages_take_less_than_a_second() -> None:
    """A large workflow is drawn while a person waits."""
    picture = picture_of(tangled(300, seed=1))
    begun = time.process_time()
    svg_of(picture)
    assert time.process_time() - begun < 1


def test_arrows_lead_down_and_loops_back_up_beside_everything() -> None:
    """A forward way never rises; a way back passes outside of the boxes between its ends."""
    links = [Link(source=0, target=1), Link(source=1, target=2), Link(source=2, target=0, back=True)]
    layout = lay_out([BOX, Size(width=300, height=40), BOX], links)
    found = routes(layout, links, [Outline(reach=30)] * 3)
    for route in found[:2]:
        heights = [y for _, y in route.points]
        assert heights == sorted(heights)
    rising_part = [x for (x, y), (_, after) in itertools.pairwise(found[2].points) if after < y]
    assert rising_part
    assert all(x > layout.boxes[1].right for x in rising_part)


def test_a_long_arrow_is_straight_and_passes_beside_boxes() -> None:
    """An arrow over several layers keeps to one vertical where there is room."""
    links = [Link(source=0, target=1), Link(source=1, target=2), Link(source=2, target=3), Link(source=0, target=3)]
    layout = lay_out([BOX] * 4, links)
    between = {x for x, _ in routes(layout, links, [Outline(reach=30)] * 4)[3].points[2:-2]}
    assert len(between) == 1
    (x,) = between
    assert all(not box.left <= x <= box.right for box in layout.boxes[1:3])


def test_crossings_that_can_be_avoided_are() -> None:
    """Two boxes whose arrows would cross change places."""
    links = [Link(source=0, target=1), Link(source=0, target=2), Link(source=1, target=4), Link(source=2, target=3)]
    assert crossings(lay_out([BOX] * 5, links).sheet) == 0


def test_numbers_rise_and_stay_near() -> None:
    """Numbers in order stay; those in the wrong order meet at their weighted middle."""
    assert rising([(1, 1), (2, 1)]) == [1, 2]
    assert rising([(4, 1), (1, 2), (9, 1)]) == [2, 2, 9]
