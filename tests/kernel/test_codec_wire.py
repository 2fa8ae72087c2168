"""Commands and results on the wire: camelCase, nothing converted, every fault at once."""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.codec import converter, from_json, structure, to_json
from holdfast.codec.wire import camel
from holdfast.errors import InvalidCommand
from holdfast.kernel import COMMANDS


class Mood(enum.Enum):
    CALM = "calm"
    WILD = "wild"


@attrs.frozen(kw_only=True)
class Spot:
    row_number: int
    is_open: bool = True


@attrs.frozen(kw_only=True)
class Everything:
    spot: Spot
    some_text: str = ""
    ratio: float = 0.0
    at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    lease_ttl: timedelta = timedelta()
    mood: Mood = Mood.CALM
    maybe: Spot | None = None
    names: tuple[str, ...] = ()
    spots: Mapping[str, Spot] = attrs.field(factory=dict)
    queues: frozenset[str] = frozenset()
    anything: Any = None
    act: Callable[[], None] = print


WHOLE: Final = st.builds(
    Everything,
    spot=st.builds(Spot, row_number=st.integers(), is_open=st.booleans()),
    some_text=st.text(st.characters(exclude_categories=["Cs"])),
    ratio=st.floats(allow_nan=False, allow_infinity=False),
    at=st.datetimes(timezones=st.just(UTC)),
    lease_ttl=st.integers(0, 10**9).map(lambda ms: timedelta(milliseconds=ms)),
    mood=st.sampled_from(Mood),
    maybe=st.none() | st.builds(Spot, row_number=st.integers()),
    names=st.lists(st.sampled_from(["a", "b"])).map(tuple),
    spots=st.dictionaries(st.sampled_from(["a", "b"]), st.builds(Spot, row_number=st.integers())),
    queues=st.frozensets(st.sampled_from(["a", "b"])),
    anything=st.none() | st.dictionaries(st.sampled_from(["snake_case"]), st.integers()),
)


def faults(value: object, kind: type[Any] = Everything) -> tuple[str, ...]:
    with pytest.raises(InvalidCommand) as caught:
        structure(value, kind, what="every.thing")
    assert caught.value.command == "every.thing"
    return tuple(caught.value.problems)


@given(value=WHOLE)
def test_values_survive_the_wire(value: Everything) -> None:
    """Whatever is written as JSON is read back as the same value."""
    text = to_json(converter.unstructure(value))
    assert structure(from_json(text), Everything, what="every.thing") == value


def test_wire_form_is_camel_case_with_plain_values() -> None:
    """Fields are camelCase, instants end in Z, durations are seconds, enums their values, and functions stay here."""
    value = Everything(
        spot=Spot(row_number=3),
        at=datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
        lease_ttl=timedelta(milliseconds=1_500),
        mood=Mood.WILD,
        queues=frozenset({"default"}),
    )
    assert converter.unstructure(value) == {
        "spot": {"rowNumber": 3, "isOpen": True},
        "someText": "",
        "ratio": 0.0,
        "at": "2026-02-03T04:05:06Z",
        "leaseTtl": 1.5,
        "mood": "wild",
        "maybe": None,
        "names": [],
        "spots": {},
        "queues": ["default"],
        "anything": None,
    }


def test_instants_are_read_with_any_offset() -> None:
    """An instant with an offset is read as the same instant in UTC."""
    read = structure({"spot": {"rowNumber": 1}, "at": "2026-01-01T02:00:00+02:00"}, Everything, what="x")
    assert read.at == datetime(2026, 1, 1, tzinfo=UTC)
    assert read.at.tzinfo is UTC


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("someText", 5, "should be text"),
        ("someText", None, "should be text"),
        ("ratio", "1.5", "should be a number"),
        ("ratio", True, "should be a number"),
        ("ratio", float("nan"), "should be a number"),
        ("at", "2026-01-01T00:00:00", "should be an instant in ISO 8601 with its offset from UTC"),
        ("at", "yesterday", "should be an instant in ISO 8601 with its offset from UTC"),
        ("at", 5, "should be an instant in ISO 8601 with its offset from UTC"),
        ("leaseTtl", "30s", "should be a duration in seconds"),
        ("leaseTtl", 1e300, "should be a duration in seconds"),
        ("mood", "sad", "should be one of calm, wild"),
        ("mood", {}, "should be one of calm, wild"),
        ("maybe", [], "should be an object"),
        ("names", "abc", "should be a list"),
        ("queues", "abc", "should be a list"),
        ("spots", [], "should be an object"),
    ],
)
def test_values_of_another_kind_are_refused(field: str, value: object, words: str) -> None:
    """Nothing is converted: a value of another kind is a fault of its field."""
    assert faults({"spot": {"rowNumber": 1}, field: value}) == (f"{field}: {words}",)


def test_all_faults_are_told_at_once_with_their_places() -> None:
    """Missing, unknown and wrong fields are told together, nested ones with their path on the wire."""
    assert faults({"spot": {"isOpen": 1}, "spots": {"a": {"rowNumber": "x"}}, "names": ["a", 2], "noField": 1}) == (
        "spot.rowNumber: is missing",
        "spot.isOpen: should be true or false",
        "names.1: should be text",
        "spots.a.rowNumber: should be an integer",
        "there is no field noField",
    )


@pytest.mark.parametrize("value", [None, [], "text", 5])
def test_only_objects_are_commands(value: object) -> None:
    """A message that is no object is refused."""
    assert faults(value) == ("should be an object",)


def test_functions_do_not_come_from_the_wire() -> None:
    """A field that holds a function cannot be set from outside."""
    assert faults({"spot": {"rowNumber": 1}, "act": "print"}) == ("there is no field act",)


def test_errors_are_bounded() -> None:
    """A message with a thousand faults gives at most ten problems, and long names are cut."""
    many = faults({"spot": {"rowNumber": 1}, "names": list(range(1_000)), "n" * 5_000: 1})
    assert len(many) <= 10
    assert len("; ".join(many)) < 2_000


@pytest.mark.parametrize("kind", COMMANDS.values(), ids=COMMANDS)
def test_every_command_can_be_read(kind: type[Any]) -> None:
    """Each command of the kernel reads a message of its required fields and names those that are missing."""
    required = [camel(field.name) for field in attrs.fields(kind) if field.default is attrs.NOTHING]
    if required:
        assert faults({}, kind) == tuple(f"{name}: is missing" for name in required)
    else:
        read = structure({}, kind, what=kind.type)
        assert structure(converter.unstructure(read), kind, what=kind.type) == read
