"""Config: defaults from the types, overrides field by field, all faults at once, one text per run."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, model_validator

from holdfast.authoring.config import combine_config, config_text, default_config, resolve_config
from holdfast.authoring.context import Context
from holdfast.authoring.flow import workflow
from holdfast.authoring.stage import stage
from holdfast.codec import from_json
from holdfast.entities.definition import Definition
from holdfast.errors import InvalidConfig


class Backoff(BaseModel):
    base: float = 1
    limit: int = 10


class Config(BaseModel):
    model: str = "small"
    size: int = Field(default=800, alias="chunkSize")
    tags: list[str] = Field(default_factory=lambda: ["a"])
    backoff: Backoff = Backoff(limit=99)
    extra: dict[str, int] = {"x": 1}


class Needed(BaseModel):
    model_config = ConfigDict(extra="forbid")

    key: str
    wait: timedelta = timedelta(seconds=5)
    backoff: Backoff = Backoff(limit=7)


@dataclasses.dataclass
class Plain:
    depth: int
    width: int = 3
    backoff: Backoff = dataclasses.field(default_factory=lambda: Backoff(limit=55))


@stage
def first(x: int, ctx: Context[Config]) -> int:
    return x


@stage
def second(x: int, ctx: Context[Needed]) -> int:
    return x


@stage
def third(x: int) -> int:
    return x


@stage
def fourth(x: int, ctx: Context[Plain]) -> int:
    return x


DEFAULTS = {"backoff": {"base": 1.0, "limit": 99}, "extra": {"x": 1}, "model": "small", "size": 800, "tags": ["a"]}
REQUIRED = {"second": {"key": "k"}, "fourth": {"depth": 1}}


def definition() -> Definition:
    return workflow("w", input=int).pipe(first).pipe(second).pipe(third).pipe(fourth).definition()


def resolved(**given: object) -> dict[str, Any]:
    texts = resolve_config(definition(), {**REQUIRED, **given})
    return {stage_id: from_json(text) for stage_id, text in texts.items()}


def problems(given: Any) -> list[str]:
    with pytest.raises(InvalidConfig) as caught:
        resolve_config(definition(), given)
    assert caught.value.workflow_id == "w"
    return list(caught.value.problems)


def test_parity_041_defaults_are_those_of_the_types() -> None:
    """Plain, factory and nested defaults are told per stage; required fields are left out."""
    assert default_config(definition()) == {
        "first": DEFAULTS,
        "second": {"wait": "PT5S", "backoff": {"base": 1.0, "limit": 7}},
        "third": {},
        "fourth": {"width": 3, "backoff": {"base": 1.0, "limit": 55}},
    }


def test_parity_023_defaults_count_where_nothing_is_given() -> None:
    """Without a slice a stage gets its defaults; stages without a config get no text."""
    assert resolved()["first"] == DEFAULTS
    assert set(resolved()) == {"first", "second", "fourth"}
    assert resolved(first=None, third=None) == resolved(first={}, third={}) == resolved()


def test_slice_overrides_the_fields_it_names() -> None:
    """A slice changes the fields that it names, whether by name or alias, and no others."""
    assert resolved(first={"model": "large"})["first"] == {**DEFAULTS, "model": "large"}
    assert resolved(first={"chunkSize": 5})["first"] == {**DEFAULTS, "size": 5}
    assert resolved(first={"size": 5})["first"] == {**DEFAULTS, "size": 5}


def test_nested_model_keeps_the_fields_that_are_not_named() -> None:
    """In a field that holds a model, too, the default's other fields stay, in models and dataclasses alike."""
    assert resolved(first={"backoff": {"base": 3}})["first"]["backoff"] == {"base": 3.0, "limit": 99}
    assert resolved(second={"key": "k", "backoff": {"base": 3}})["second"]["backoff"] == {"base": 3.0, "limit": 7}
    assert resolved(fourth={"depth": 2, "backoff": {"base": 3}})["fourth"] == {
        "depth": 2,
        "width": 3,
        "backoff": {"base": 3.0, "limit": 55},
    }


def test_mapping_and_list_fields_are_replaced() -> None:
    """A field that holds a mapping or list is one value, not a set of fields."""
    assert resolved(first={"extra": {"y": 2}, "tags": []})["first"] == {**DEFAULTS, "extra": {"y": 2}, "tags": []}


def test_slice_can_be_an_instance() -> None:
    """A slice may be an instance of the config, which counts as it is, or hold instances."""
    assert resolved(first=Config(chunkSize=5, backoff=Backoff(limit=1)))["first"] == {
        **DEFAULTS,
        "size": 5,
        "backoff": {"base": 1.0, "limit": 1},
    }
    assert resolved(first={"backoff": Backoff(limit=2)})["first"]["backoff"] == {"base": 1.0, "limit": 2}


def test_defaults_are_what_they_resolve_to() -> None:
    """Giving a stage its own defaults changes nothing, so what default_config tells can be edited and sent back."""
    defaults = default_config(definition())
    defaults["second"]["key"], defaults["fourth"]["depth"] = "k", 1
    assert resolve_config(definition(), defaults) == resolve_config(definition(), REQUIRED)


def test_texts_are_canonical() -> None:
    """The same config gives the same bytes however it was given."""
    one = resolve_config(definition(), {**REQUIRED, "first": {"size": 5, "model": "m"}})
    other = resolve_config(definition(), {**REQUIRED, "first": Config(model="m", chunkSize=5)})
    assert one == other
    assert one["second"] == '{"backoff":{"base":1.0,"limit":7},"key":"k","wait":"PT5S"}'


def test_parity_048_faults_of_all_slices_are_told_at_once() -> None:
    """Unknown stages, unknown fields, missing and wrong values are refused together, each with its path."""
    assert problems(
        {
            "nope": {},
            "first": {"backoff": {"limit": "many"}, "tags": 5},
            "second": {"kay": "k"},
            "third": {"a": 1},
            "fourth": [],
        }
    ) == [
        'there is no stage "nope"; stages: first, second, third, fourth',
        "first.tags: Input should be a valid array",
        "first.backoff.limit: Input should be a valid integer, unable to parse string as an integer",
        "second.key: Field required",
        "second.kay: Extra inputs are not permitted",
        "third: the stage takes no config",
        "fourth: Input should be an object",
    ]


def test_required_fields_have_to_be_given() -> None:
    """A config without a default for a field has to be given one."""
    assert problems({}) == ["second.key: Field required", "fourth.depth: Field required"]


@pytest.mark.parametrize("given", [None, [], "first", 5], ids=repr)
def test_config_is_an_object(given: Any) -> None:
    """Anything but slices by stage id is refused."""
    assert problems(given) == ["it should be an object with a slice for each stage"]


def test_errors_are_bounded() -> None:
    """However much is wrong, at most ten problems and 2,000 characters are told, and long values are not quoted."""
    with pytest.raises(InvalidConfig) as caught:
        resolve_config(definition(), {f"{'s' * 200}{n}": {} for n in range(1_000)})
    assert len(caught.value.problems) <= 10
    assert len(str(caught.value)) <= 2_000
    assert "s" * 80 not in str(caught.value)


def test_combined_config_gives_back_each_slice() -> None:
    """All slices are stored as one canonical text, of which each stage gets its own; an absent one is empty."""
    texts = resolve_config(definition(), REQUIRED)
    combined = combine_config(texts)
    assert combined == combine_config(dict(reversed(texts.items())))
    assert {stage_id: config_text(combined, stage_id) for stage_id in texts} == texts
    assert config_text(combined, "third") == "{}"
    assert (combine_config({}), config_text("{}", "first")) == ("{}", "{}")


def test_config_with_a_rule_over_its_fields() -> None:
    """Defaults that need company are no mistake: the rule is asked when a run is created."""

    class Either(BaseModel):
        left: int | None = None
        right: int | None = None

        @model_validator(mode="after")
        def one_of_them(self) -> Either:
            if self.left is None and self.right is None:
                raise ValueError("give left or right")
            return self

    @stage
    def choosing(x: int, ctx: Context[Either]) -> int:
        return x

    chosen = workflow("w", input=int).pipe(choosing).definition()
    assert resolve_config(chosen, {"choosing": {"left": 1}}) == {"choosing": '{"left":1,"right":null}'}
    with pytest.raises(InvalidConfig, match="choosing: Value error, give left or right"):
        resolve_config(chosen, {})
