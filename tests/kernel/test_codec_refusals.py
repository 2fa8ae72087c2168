"""What cannot be stored, and the words in which it is refused."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, Literal, cast

import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_serializer, field_validator

from holdfast.codec import from_json, payload_type, to_json
from holdfast.errors import DefinitionError, InvalidInput
from tests.kernel.encoding import WHAT, encoded, typed


class Label(BaseModel):
    topic: str
    score: float = 0
    tags: set[str] = set()


class Report(BaseModel):
    labels: list[Label]


class Tree(BaseModel):
    children: list[Tree] = []


class Loose(BaseModel):
    model_config = ConfigDict(extra="allow")

    score: float | None = None
    anything: Any = None


class Patient(BaseModel):
    name: str

    @field_validator("name")
    @classmethod
    def known(cls, name: str) -> str:
        if name == "?":
            raise KeyError(name)
        if len(name) > 3:
            raise ValueError(f"{name} is not known here")
        return name


def refused(annotation: Any, value: object) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        typed(annotation).encode(value, what=WHAT)
    return caught.value


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels - 1):
        value = [value]
    return value


WRAPPINGS: Final[list[Callable[[Any], Any]]] = [lambda x: x, lambda x: [x], lambda x: {"k": x}]


@pytest.mark.parametrize("wrap", WRAPPINGS, ids=["bare", "list", "dict"])
@pytest.mark.parametrize(
    ("value", "words"),
    [
        pytest.param(math.nan, "NaN and infinities", id="nan"),
        pytest.param(-math.inf, "NaN and infinities", id="infinity"),
        pytest.param(10**4_300, "4,300 digits", id="4301 digits"),
        pytest.param("\ud800", "lone surrogate", id="surrogate"),
        pytest.param(deep(100_000), "200 levels", id="deep"),
        pytest.param(deep(230), "200 levels", id="rather deep"),
    ],
)
def test_values_without_a_json_form_are_refused(wrap: Callable[[Any], Any], value: object, words: str) -> None:
    """What no reader could read back is refused wherever it stands, typed or not, and nothing crashes."""
    assert words in str(refused(Any, wrap(value)))
    with pytest.raises(InvalidInput, match=words):
        to_json(wrap(value), what=WHAT)


def test_cycles_are_refused() -> None:
    """A value that refers to itself is refused, typed or not."""
    ring: dict[str, Any] = {}
    ring["self"] = [ring]
    tree = Tree()
    tree.children.append(tree)
    assert "refers to itself" in str(refused(Any, ring))
    assert "refers to itself" in str(refused(Tree, tree))
    with pytest.raises(InvalidInput, match="refers to itself"):
        to_json(ring)


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        pytest.param(float, math.nan, id="float"),
        pytest.param(list[float], [1.0, math.inf], id="list"),
        pytest.param(float | None, math.nan, id="optional"),
        pytest.param(Loose, Loose.model_construct(score=math.nan), id="optional field"),
        pytest.param(Loose, Loose(anything={"a": [math.nan]}), id="any field"),
        pytest.param(Loose, Loose.model_validate({"more": math.inf}), id="extra field"),
        pytest.param(dict[str, Any], {"a": None, "b": Loose(anything=math.nan)}, id="model in any"),
        pytest.param(set[float], {math.inf}, id="set"),
    ],
)
def test_nan_never_becomes_null(annotation: Any, value: object) -> None:
    """NaN and infinities are refused even where pydantic would write null and null would be accepted."""
    assert "NaN and infinities" in str(refused(annotation, value))


def test_null_beside_any_is_kept() -> None:
    """A None where anything may stand is stored as null."""
    assert encoded(Loose, Loose(anything={"a": [None, 1.5]})) == '{"anything":{"a":[null,1.5]},"score":null}'


def changed() -> Label:
    label = Label(topic="x")
    label.score = cast(Any, "high")
    return label


@pytest.mark.parametrize(
    ("annotation", "value", "problem"),
    [
        pytest.param(Label, changed(), "score: Input should be a valid number", id="changed instance"),
        pytest.param(Label, Label.model_construct(), "topic: Field required", id="unvalidated instance"),
        pytest.param(Label, {"topic": 5}, "topic: Input should be a valid string", id="dict"),
        pytest.param(
            Report,
            {"labels": [{"topic": "a"}, {"topic": "b", "score": "high"}]},
            "labels.1.score: Input should be a valid number",
            id="path",
        ),
        pytest.param(int, "five", "Input should be a valid integer", id="scalar"),
        pytest.param(int, 1.5, "Input should be a valid integer", id="fraction"),
        pytest.param(str, 5, "Input should be a valid string", id="number for text"),
        pytest.param(list[str], "abc", "Input should be a valid list", id="text for a list"),
        pytest.param(dict[str, int], {1: 2}, "1.[key]: Input should be a valid string", id="key"),
        pytest.param(None, 5, "Input should be None", id="something for nothing"),
        pytest.param(Literal["a", "b"], "c", "Input should be 'a' or 'b'", id="literal"),
        pytest.param(str, b"\xff", "Input should be a valid string", id="bytes for text"),
    ],
)
def test_parity_weak_spot_23_output_that_violates_its_type_is_refused(
    annotation: Any, value: object, problem: str
) -> None:
    """Output is checked as input is: by what would be stored, not by the class of what was returned."""
    error = refused(annotation, value)
    assert error.what == WHAT
    assert error.problems[0].startswith(problem)


@pytest.mark.parametrize("value", [object(), print, iter([object()])], ids=["object", "function", "iterator"])
def test_values_of_foreign_classes_are_refused(value: object) -> None:
    """What pydantic cannot write is refused where anything may stand."""
    assert "serialize" in str(refused(Any, value))


def test_errors_are_short_and_quote_no_long_values() -> None:
    """An error has at most ten problems and 2,000 characters, and quotes no value longer than 80 characters."""
    many = refused(dict[str, int], {f"{'k' * 300}{n}": "v" * 300 for n in range(500)})
    assert 0 < len(many.problems) <= 10
    assert list(many.problems)[-1] == "and 491 more"
    assert len(str(many)) <= 2_000
    assert "k" * 80 not in str(many)
    assert "v" * 80 not in str(many)
    quoting = refused(Patient, {"name": "n" * 5_000})
    assert "n" * 80 not in str(quoting)
    assert len(str(refused(list[str], [object()] * 50))) <= 2_000


def test_error_does_not_carry_the_data() -> None:
    """Neither cause nor context of the error holds the value, so that no traceback shows it."""
    error = refused(Label, {"topic": ["secret"]})
    assert error.__cause__ is None
    assert error.__context__ is None
    assert "secret" not in str(error)


def test_validator_that_crashes_is_a_refusal() -> None:
    """A validator that raises something else than a ValueError fails the value and not the worker."""
    assert "its validator raised KeyError" in str(refused(Patient, {"name": "?"}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1,]",
        "nul",
        '"\\ud800"',
        "[" * 300 + "]" * 300,
        "[" * 100_000,
        "1" * 4_301,
        "NaN",
        "[Infinity]",
        "-Infinity",
    ],
    ids=["empty", "comma", "word", "surrogate", "deep", "very deep", "digits", "nan", "infinity", "negative infinity"],
)
def test_bad_text_is_refused(text: str) -> None:
    """Text that is not JSON, or that canonical text cannot be, is refused by typed and untyped readers."""
    with pytest.raises(InvalidInput, match="The output of stage"):
        typed(Any).decode(text, what=WHAT)
    with pytest.raises(InvalidInput, match="The output of stage"):
        from_json(text, what=WHAT)


@pytest.mark.parametrize("text", ["1e999", "[-1e400]", f"1{'0' * 400}.0"])
def test_numbers_beyond_floats_are_refused(text: str) -> None:
    """A number too large for a float does not turn into infinity."""
    with pytest.raises(InvalidInput, match="infinities"):
        from_json(text)


@pytest.mark.parametrize("value", [{1: 2}, {"a": {None: 1}}, {"a": [{"b": {True: 1}}]}])
def test_untyped_keys_are_text(value: object) -> None:
    """Keys that are not text are refused, not turned into text."""
    with pytest.raises(InvalidInput, match="JSON keys are text"):
        to_json(value)


@pytest.mark.parametrize("value", [b"x", {1, 2}, object(), datetime(2020, 1, 1, tzinfo=UTC), Decimal(1)])
def test_untyped_values_are_json_only(value: object) -> None:
    """Untyped values of other classes are refused and named by their class."""
    with pytest.raises(InvalidInput, match=type(value).__name__):
        to_json([value])


class Opaque:
    pass


class Swapped(BaseModel):
    first: int = Field(alias="second")
    second: int = 0


class Keyed(BaseModel):
    key: SecretStr


class Written(BaseModel):
    key: SecretStr

    @field_serializer("key")
    def reveal(self, key: SecretStr) -> str:
        return key.get_secret_value()


class Arbitrary(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    default: Opaque


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        pytest.param(Opaque, "Unable to generate pydantic-core schema", id="class"),
        pytest.param(Arbitrary, "pydantic cannot make a Opaque from JSON", id="field"),
        pytest.param(Callable[[], int], "a function cannot be stored", id="function"),
        pytest.param(Iterable[int], "an iterator can be read only once", id="iterable"),
        pytest.param(type[int], "a class cannot be stored", id="class object"),
        pytest.param(list[Keyed], "a secret would be stored as asterisks", id="secret"),
        pytest.param(Swapped, 'the alias "second" of field "first" is the name of another field', id="alias"),
    ],
)
def test_types_that_cannot_be_stored_are_refused_when_declared(annotation: Any, reason: str) -> None:
    """A type whose values could not be stored or read back is refused with its source line, before any value."""
    with pytest.raises(DefinitionError) as caught:
        payload_type(annotation, what='The output of stage "split"', source="flows.py:12")
    assert caught.value.code == "E2042"
    assert caught.value.where[0] == "flows.py:12"
    assert reason in str(caught.value)


def test_secret_with_its_own_serializer_is_stored() -> None:
    """A secret whose author says how it is written is stored that way."""
    text = encoded(Written, Written(key=SecretStr("open")))
    assert text == '{"key":"open"}'
    assert typed(Written).decode(text, what=WHAT).key.get_secret_value() == "open"


def test_bytes_of_a_model_that_are_no_text_are_refused_with_the_way_out() -> None:
    """A model's own config decides how its bytes are written; if it cannot, the error says which setting helps."""

    class Raw(BaseModel):
        data: bytes

    assert "ser_json_bytes" in str(refused(Raw, Raw(data=b"\xff")))
