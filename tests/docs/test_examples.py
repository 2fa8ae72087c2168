"""The examples, run as their readers would run them, and tested as they would be tested."""

from __future__ import annotations

import importlib.util
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

from holdfast import RunStatus
from holdfast_testing import Harness
from tests.docs.samples import ROOT, normal, said

ORDER_FULFILMENT: Final = ROOT / "docs" / "examples" / "order_fulfilment.py"


class PatientCarrier:
    """Has the label ready at the third question."""

    def __init__(self) -> None:
        self.handed_in: dict[str, str] = {}
        self.asked = 0

    def hand_in(self, parcel: str, *, key: str) -> str:
        self.handed_in[key] = parcel
        return "ticket 9"

    def label(self, ticket: str) -> str | None:
        self.asked += 1
        return "HF-0009" if self.asked == 3 else None


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the module of the example."""
    spec = importlib.util.spec_from_file_location("order_fulfilment", ORDER_FULFILMENT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "order_fulfilment", module)
    spec.loader.exec_module(module)
    return module


def test_an_order_is_fulfilled(example: ModuleType, harness: Harness) -> None:
    """An order is charged at the second attempt, labelled at the third question, and confirmed."""
    carrier = PatientCarrier()
    flow = example.fulfilment(carrier)
    ended = harness.run(flow, example.Order(id="A-17", sku="kelp", cents=4200))
    assert ended.output == "We charged 42.00 EUR; your parcel is HF-0009."
    assert ended.attempts("charge") == 2
    assert list(carrier.handed_in.values()) == ["one kelp on shelf 4"]
    assert "stage.suspended ship" in ended.story


@pytest.mark.parametrize(
    ("cents", "limit", "stage_id"), [(0, 100_000, "check"), (4200, 100, "charge")], ids=["free", "too dear"]
)
def test_an_unfit_order_fails_at_once(
    example: ModuleType, harness: Harness, cents: int, limit: int, stage_id: str
) -> None:
    """An order that cannot be charged fails at its first attempt, in the stage that refuses it."""
    flow = example.fulfilment(PatientCarrier())
    config = {"charge": {"limit_cents": limit}}
    ended = harness.run(flow, example.Order(id="A-17", sku="kelp", cents=cents), config=config)
    assert ended.status is RunStatus.FAILED
    assert ended.failure is not None
    assert (ended.failure.stage_id, ended.attempts(stage_id)) == (stage_id, 1)


def test_the_example_runs_as_it_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command in the example's docstring executes it, from the root of the repository."""
    (command,) = [
        line.strip() for line in ORDER_FULFILMENT.read_text(encoding="utf-8").splitlines() if "--wait" in line
    ]
    monkeypatch.chdir(ROOT)
    store = shlex.quote(f"sqlite:///{folder / 'example.db'}")
    first, second = normal(said(f"{command.removeprefix('holdfast ')} --store {store}"))
    assert first.endswith("completed in LENGTH · 5 stages · 1 retry")
    assert second.startswith('"We charged 42.00 EUR; your parcel is HF-')
