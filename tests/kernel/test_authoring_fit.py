"""Which outputs can be whose inputs."""

from __future__ import annotations

import collections
import dataclasses
import enum
import typing
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypeVar, Union
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, RootModel
from typing_extensions import TypeAliasType, TypedDict

from holdfast.authoring.fit import fits, item_of, misnamed, takes_object

T = TypeVar("T")


class Animal(BaseModel):
    name: str


class Dog(Animal):
    breed: str = ""


class Car(BaseModel):
    name: str


class Page(BaseModel, Generic[T]):
    items: list[T]


class Names(RootModel[list[str]]):
    pass


@dataclasses.dataclass
class Point:
    x: int


class Place(NamedTuple):
    x: int
    y: int


class Order(TypedDict):
    id: int


class Colour(enum.Enum):
    RED = "red"


class Opaque:
    pass


UserId = NewType("UserId", int)
Texts = TypeAliasType("Texts", list[str])
Recursive = TypeAliasType("Recursive", "list[Recursive] | int")


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (int, int),
        (int, float),
        (bool, int),
        (Dog, Animal),
        (list[Dog], list[Animal]),
        (list[Dog], Sequence[Animal]),
        (list[int], tuple[float, ...]),
        (tuple[int, str], tuple[float, str]),
        (tuple[int, int], list[int]),
        (tuple[int, ...], tuple[int, int]),
        (set[str], list[str]),
        (collections.deque[int], list[int]),
        (list, list[int]),
        (list[int], list),
        (tuple, tuple[int, str]),
        (Place, tuple[int, int]),
        (dict[str, int], Mapping[str, float]),
        (Order, dict[str, Any]),
        (dict[str, Any], Order),
        (dict[str, Any], Animal),
        (Animal, dict[str, Any]),
        (Point, dict[str, int]),
        (int, int | None),
        (int, Optional[str | int]),  # noqa: UP045  # the old spelling is what this is about
        (int | str, Union[str, int, None]),  # noqa: UP007  # the old spelling is what this is about
        (None, int | None),
        (None, None),
        (Literal["a"], str),
        (str, Literal["a"]),
        (Literal["a", 1], str | int),
        (UserId, int),
        (int, UserId),
        (Annotated[int, Field(gt=1)], int),
        (Texts, list[str]),
        (list[str], Texts),
        (str, datetime),
        (UUID, str),
        (str, Path),
        (str, Decimal),
        (Decimal, float),
        (Colour, str),
        (str, Colour),
        (Any, int),
        (int, Any),
        (object, int),
        (int, object),
        (T, int),
        (int, T),
        ("Unknown", int),
        (typing.ForwardRef("Unknown"), list[int]),
        (Opaque, str),
        (int, Opaque),
        (Names, list[str]),
        (list[str], Names),
        (Page[int], Page[float]),
        (Page[Dog], Page),
        (Recursive, Recursive),
        (list[Recursive], Recursive),
        (list[list[Dog | None]], Sequence[Sequence[Animal | None]]),
    ],
    ids=str,
)
def test_types_that_fit_or_might(given: Any, wanted: Any) -> None:
    """A type fits itself, its bases, wider unions, whatever looks the same in JSON, and whatever is unknown."""
    assert fits(given, wanted)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (int, str),
        (str, int),
        (float, int),
        (int, bool),
        (list[str], str),
        (str, list[str]),
        (str, Sequence[str]),
        (bytes, Sequence[int]),
        (list[int], list[str]),
        (list[Animal], list[Dog]),
        (list[list[int]], list[list[str]]),
        (dict[str, int], dict[str, str]),
        (dict[str, int], list[int]),
        (tuple[int, str], tuple[str, int]),
        (tuple[int, str], tuple[int, str, int]),
        (tuple[int, str], list[int]),
        (list[str], tuple[int, ...]),
        (Animal, Dog),
        (Animal, Car),
        (Animal, str),
        (Animal, list[Animal]),
        (str, Animal),
        (Point, Animal),
        (Animal, Point),
        (int | None, int),
        (int | str, int),
        (None, int),
        (int, None),
        (int, str | None),
        (Literal["a"], int),
        (Literal["a", 1], str),
        (UserId, str),
        (Annotated[int, Field(gt=1)], str),
        (Texts, list[int]),
        (datetime, int),
        (datetime, Animal),
    ],
    ids=str,
)
def test_types_that_do_not_fit(given: Any, wanted: Any) -> None:
    """A type does not fit when not every value of it could be read as the other."""
    assert not fits(given, wanted)


def test_every_builtin_collection_of_typing_is_known() -> None:
    """The spellings of the typing module mean the same as the builtin ones."""
    assert fits(typing.List[int], list[int])  # noqa: UP006  # the old spelling is what this is about
    assert not fits(typing.List[int], typing.Sequence[str])  # noqa: UP006  # the old spelling is what this is about


class Roots(RootModel[list[int]]):
    pass


@pytest.mark.parametrize(
    ("array", "item"),
    [
        pytest.param(list[str], str, id="list"),
        pytest.param(tuple[int, ...], int, id="tuple"),
        pytest.param(tuple[int, str], int | str, id="pair"),
        pytest.param(tuple[()], Any, id="empty"),
        pytest.param(set[str], str, id="set"),
        pytest.param(Sequence[str], str, id="sequence"),
        pytest.param(Annotated[list[str], "some"], str, id="annotated"),
        pytest.param(list[str] | tuple[int, ...], str | int, id="union"),
        pytest.param(list, Any, id="bare"),
        pytest.param(Any, Any, id="any"),
        pytest.param(Roots, Any, id="root-model"),
        pytest.param(str, None, id="text"),
        pytest.param(dict[str, int], None, id="object"),
        pytest.param(list[str] | None, None, id="optional"),
    ],
)
def test_items_of_arrays(array: Any, item: Any) -> None:
    """Arrays have items of a type; what is surely none has no items."""
    assert item_of(array) == item


def test_objects_by_name() -> None:
    """An object fits a dict of its values, and a class with a field of the right type for each."""

    @dataclasses.dataclass
    class Point:
        x: int
        y: int = 0

    class Named(BaseModel):
        left: int = Field(alias="x")

    assert misnamed({"x": int}, dict[str, int]) is None
    assert misnamed({"x": int}, dict) is None
    assert misnamed({"x": int}, Point) is None
    assert misnamed({"y": int}, Point) == 'needs "x", which none of them is called'
    assert misnamed({"x": int, "z": int}, Point) == 'has no field "z"'
    assert misnamed({"x": int}, Named) is None
    assert misnamed({"x": int}, Roots) is None
    assert misnamed({"x": str}, dict[str, int]) == 'takes another type for "x"'
    assert takes_object(dict[str, int])
    assert takes_object(Any)
    assert not takes_object(int)
