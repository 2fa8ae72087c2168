"""Payloads as canonical text: what survives, and in which form."""

from __future__ import annotations

import dataclasses
import enum
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, RootModel
from typing_extensions import TypedDict

from holdfast.codec import JsonType, digest, from_json, to_json
from tests.kernel.encoding import WHAT, encoded, typed


class Label(BaseModel):
    topic: str
    score: float = 0
    tags: set[str] = set()


class Aliased(BaseModel):
    model_config = ConfigDict(extra="forbid")

    max_size: int = Field(alias="maxSize")


class Numbers(RootModel[set[int]]):
    pass


@dataclasses.dataclass
class Scan:
    image: bytes


class Place(NamedTuple):
    x: int
    y: int


class Order(TypedDict):
    id: int
    at: datetime


class Colour(enum.Enum):
    RED = "red"


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(10**400), max_value=10**400)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


labels = st.builds(
    Label, topic=st.text(), score=st.floats(allow_nan=False, allow_infinity=False), tags=st.sets(st.text())
)


ROUND_TRIPS: Final[list[tuple[Any, st.SearchStrategy[Any]]]] = [
    (str, st.text()),
    (int, st.integers()),
    (bool, st.booleans()),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bytes, st.binary()),
    (list[str], st.lists(st.text())),
    (dict[str, int], st.dictionaries(st.text(), st.integers())),
    (dict[int, str], st.dictionaries(st.integers(), st.text())),
    (set[str], st.sets(st.text())),
    (frozenset[tuple[int, str]], st.frozensets(st.tuples(st.integers(), st.text()))),
    (tuple[int, str], st.tuples(st.integers(), st.text())),
    (datetime, st.datetimes(timezones=st.just(UTC))),
    (date, st.dates()),
    (Decimal, st.decimals(allow_nan=False, allow_infinity=False)),
    (UUID, st.uuids()),
    (Label, labels),
    (dict[str, list[Label | None]], st.dictionaries(st.text(), st.lists(st.none() | labels))),
    (Scan, st.builds(Scan, image=st.binary())),
    (list[Scan], st.lists(st.builds(Scan, image=st.binary()))),
    (Place, st.builds(Place, x=st.integers(), y=st.integers())),
    (Order, st.fixed_dictionaries({"id": st.integers(), "at": st.datetimes(timezones=st.just(UTC))})),
    (Numbers, st.builds(Numbers, st.sets(st.integers()))),
    (Colour, st.sampled_from(Colour)),
    (Any, json_values),
]


@pytest.mark.parametrize(("annotation", "values"), ROUND_TRIPS, ids=lambda one: getattr(one, "__name__", None))
@given(data=st.data())
def test_values_survive_and_their_text_is_canonical(
    annotation: Any, values: st.SearchStrategy[Any], data: st.DataObject
) -> None:
    """What is stored reads back as the same value, is ASCII, and is written again byte for byte."""
    value = data.draw(values)
    text = encoded(annotation, value)
    again = typed(annotation).decode(text, what=WHAT)
    assert again == value
    assert text.isascii()
    assert encoded(annotation, again) == text


@given(value=json_values)
def test_untyped_values_survive(value: Any) -> None:
    """Untyped JSON reads back as the same value and is written again byte for byte."""
    text = to_json(value, what=WHAT)
    again = from_json(text, what=WHAT)
    assert again == value
    assert to_json(again, what=WHAT) == text
    assert JsonType().encode(JsonType().decode(text, what=WHAT), what=WHAT) == text


@given(items=st.dictionaries(st.text(), st.integers(), min_size=2), data=st.data())
def test_order_of_keys_does_not_matter(items: dict[str, int], data: st.DataObject) -> None:
    """Mappings that are equal give the same bytes whatever order they were filled in."""
    other = dict(data.draw(st.permutations(list(items.items()))))
    assert to_json(items) == to_json(other)
    assert encoded(dict[str, int], items) == encoded(dict[str, int], other)
    assert encoded(Any, {"in": items}) == encoded(Any, {"in": other})


def test_model_and_its_json_give_the_same_text() -> None:
    """An instance, a mapping of its fields and an instance with an unvalidated default are the same payload."""
    text = '{"score":0.0,"tags":["a","b"],"topic":"x"}'
    assert encoded(Label, Label(topic="x", tags={"b", "a"})) == text
    assert encoded(Label, {"topic": "x", "tags": ["b", "a"]}) == text
    assert encoded(Label, {"topic": "x", "score": 0, "tags": {"a", "b"}}) == text


def test_text_of_sets_is_the_same_in_every_process() -> None:
    """The order in which a process happens to go through a set does not show in the text."""
    code = (
        "from holdfast.codec import payload_type as p;"
        "print(p(dict[str, set[str]], what='x', source='y').encode({'k': set('abcdefgh')}, what='x'))"
    )
    texts = {
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, text=True, check=True
        ).stdout
        for seed in ("1", "2", "3")
    }
    assert texts == {'{"k":["a","b","c","d","e","f","g","h"]}\n'}


@pytest.mark.parametrize(
    ("annotation", "value", "text"),
    [
        pytest.param(int, 10**4_299, "1" + "0" * 4_299, id="4300 digits"),
        pytest.param(float, -0.0, "-0.0", id="negative zero"),
        pytest.param(float, 1e22, "1e+22", id="large float"),
        pytest.param(float, 1, "1.0", id="integer for a float"),
        pytest.param(str, "a\0b", '"a\\u0000b"', id="NUL"),
        pytest.param(str, "😀é", '"\\ud83d\\ude00\\u00e9"', id="astral"),
        pytest.param(bytes, b"\xff\0", '"_wA="', id="bytes"),
        pytest.param(None, None, "null", id="none"),
        pytest.param(timedelta, timedelta(minutes=1), '"PT1M"', id="duration"),
    ],
)
def test_text_of_awkward_values(annotation: Any, value: object, text: str) -> None:
    """Values at the edge have the text one would expect and read back unchanged."""
    assert encoded(annotation, value) == text
    assert repr(typed(annotation).decode(text, what=WHAT)) == repr(value if annotation is not float else float(text))


def test_aliases_are_accepted_and_names_are_stored() -> None:
    """Input may use aliases; the stored text uses names, and both give the same bytes."""
    text = '{"max_size":5}'
    assert encoded(Aliased, Aliased(maxSize=5)) == text
    assert encoded(Aliased, {"maxSize": 5}) == text
    assert encoded(Aliased, {"max_size": 5}) == text
    assert typed(Aliased).decode(text, what=WHAT) == Aliased(maxSize=5)
    assert set(typed(Aliased).json_schema()["properties"]) == {"max_size"}


def test_words_that_look_like_numbers_are_text() -> None:
    """NaN and 1e999 in a string are only words."""
    assert typed(Any).decode('["NaN","Infinity","1e999"]', what=WHAT) == ["NaN", "Infinity", "1e999"]
    assert from_json('["1e999","NaN"]') == ["1e999", "NaN"]


def test_last_of_two_equal_keys_counts() -> None:
    """Of a key that occurs twice in an object, the last value counts."""
    assert from_json('{"a":1,"a":2}') == {"a": 2}
    assert typed(dict[str, int]).decode('{"a":1,"a":2}', what=WHAT) == {"a": 2}


def test_tuples_are_written_as_lists() -> None:
    """An untyped tuple is stored as the list that it is read back as."""
    assert to_json({"a": (1, (2,))}) == '{"a":[1,[2]]}'


def test_digest_is_of_the_bytes() -> None:
    """The digest is SHA-256 in hexadecimal, of a text as of its bytes."""
    assert digest("{}") == digest(b"{}") == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"


@pytest.mark.parametrize(
    ("annotation", "name"),
    [
        (list[str], "list[str]"),
        (dict[str, Label | None], "dict[str, Label | None]"),
        (tuple[int, ...], "tuple[int, ...]"),
        (None, "None"),
        (Any, "Any"),
        (Literal["a", 1], "Literal['a', 1]"),
        (Label, "Label"),
    ],
)
def test_names_of_types_are_those_of_the_source(annotation: Any, name: str) -> None:
    """A payload type is named as a person would write it."""
    assert typed(annotation).name == name


def test_same_type_has_the_same_payload_type() -> None:
    """Payload types are made once for each type, and members of a union count in their order."""
    assert typed(list[Label]) is typed(list[Label])
    assert typed(int | str) is not typed(str | int)


def test_schema_describes_the_stored_text() -> None:
    """The JSON schema is that of the type, and that of anything is empty."""
    assert typed(list[str]).json_schema() == {"items": {"type": "string"}, "type": "array"}
    assert JsonType().json_schema() == {}


def test_importing_the_codec_imports_no_pydantic(tmp_path: Path) -> None:
    """Pydantic and cattrs are imported when the first type or command is read, not before."""
    code = (
        "import sys, holdfast.codec as codec; assert not {'pydantic', 'pydantic_core', 'cattrs'} & {*sys.modules};"
        "codec.to_json(1); assert 'pydantic' not in sys.modules;"
        "codec.payload_type(int, what='x', source='y'); assert 'asyncio' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)
