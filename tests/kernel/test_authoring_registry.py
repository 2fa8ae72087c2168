"""The registered workflow versions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from holdfast.authoring.flow import Flow, workflow
from holdfast.authoring.registry import Registry, version_order
from holdfast.authoring.stage import stage
from holdfast.errors import DefinitionError, UnknownWorkflow


@stage
def double(x: int) -> int:
    return 2 * x


def flow(workflow_id: str = "w", version: str = "1.0.0") -> Flow[int, int]:
    return workflow(workflow_id, input=int, version=version).pipe(double)


def test_workflows_are_found_by_id_and_version() -> None:
    """Flows and definitions are registered alike and found by id and version."""
    one, two = flow(version="1"), flow(version="2").definition()
    registry = Registry([one, two])
    assert registry.get("w", "1") is one.definition()
    assert registry.get("w", "2") is two
    assert registry.known() == {("w", "1"), ("w", "2")}


@pytest.mark.parametrize(
    "versions",
    [
        ("1.9.0", "1.10.0"),
        ("1.0.0-rc.1", "1.0.0"),
        ("1.0.0-rc.9", "1.0.0-rc.10"),
        ("1.0.0-alpha", "1.0.0-beta"),
        ("1.0", "1.0.1"),
        ("v9", "v10"),
        ("2026-02-28", "2026-10-01"),
        ("9", "10"),
    ],
    ids=" ".join,
)
def test_latest_version_is_meant_when_none_is_named(versions: tuple[str, str]) -> None:
    """Without a version the latest is meant, in the order of semantic versions and of numbers by value."""
    older, newer = versions
    for order in (versions, versions[::-1]):
        registry = Registry(flow(version=version) for version in order)
        assert registry.get("w").version == newer
        assert [one.version for one in registry.definitions()] == [older, newer]


@given(versions=st.lists(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,8}", fullmatch=True), unique=True))
def test_versions_have_one_order(versions: list[str]) -> None:
    """Any set of versions has exactly one order, however it was given."""
    backwards = versions[::-1]
    assert sorted(versions, key=version_order) == sorted(backwards, key=version_order)


@pytest.mark.parametrize(("workflow_id", "version"), [("nope", None), ("nope", "1"), ("w", "2")])
def test_unknown_workflows_are_refused(workflow_id: str, version: str | None) -> None:
    """An unknown id or version is refused, and the error tells what is registered."""
    registry = Registry([flow(version="1"), flow("other")])
    with pytest.raises(UnknownWorkflow) as caught:
        registry.get(workflow_id, version)
    assert caught.value.known == ("other@1.0.0", "w@1")


def test_same_workflow_may_be_registered_again() -> None:
    """Registering the same workflow twice changes nothing; another one under its id and version is refused."""
    one = flow()
    registry = Registry([one, one])
    registry.add(one.definition())
    with pytest.raises(DefinitionError) as caught:
        registry.add(flow())
    assert caught.value.code == "E2053"
    assert "w@1.0.0" in str(caught.value)
    assert registry.get("w") is one.definition()


def test_workflow_that_cannot_be_built_is_not_registered() -> None:
    """A mistake in a workflow shows when it is registered, and nothing of it stays."""
    registry = Registry()
    with pytest.raises(DefinitionError):
        registry.add(workflow("w", input=int))
    assert registry.known() == frozenset()
