"""The examples on the command line, run and answered as their first lines say."""

from __future__ import annotations

import ast
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import pytest
import structlog

from tests.docs.samples import ROOT, said

EXAMPLES: Final = ROOT / "docs" / "examples"
COMMAND: Final = re.compile(r"^    holdfast (.*)$", re.MULTILINE)
#: What stands for the run in the commands of an example, and the key under which it is run here.
RUN: Final = "RUN"
KEY: Final = "the-example"


@pytest.fixture(autouse=True)
def _at_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stand where a reader stands, with a store of one's own."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("HOLDFAST_STORE", f"sqlite:///{tmp_path}/holdfast.db")
    monkeypatch.setattr(sys, "path", list(sys.path))
    logging, modules = structlog.get_config(), set(sys.modules)
    yield
    structlog.configure(**logging)
    for name in set(sys.modules) - modules:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(EXAMPLES)):
            del sys.modules[name]


def commands_of(example: str) -> Sequence[str]:
    """Return the commands that the first lines of an example show."""
    doc = ast.get_docstring(ast.parse((EXAMPLES / f"{example}.py").read_text(encoding="utf-8")))
    assert doc is not None
    return COMMAND.findall(doc)


def run(example: str) -> str:
    """Run an example as it says, under a key, until it has ended or waits for somebody."""
    return said(f"{commands_of(example)[0]} --key {KEY} --until-waiting")


def resume(example: str, name: str, payload: str) -> str:
    """Answer a wait of the example's run."""
    words = ["runs", "resume", KEY, name, "--payload", payload, "--module", f"docs/examples/{example}.py"]
    return said(shlex.join(words))


def test_every_example_says_how_to_run_it() -> None:
    """The first command of each example runs that example and waits for it."""
    for path in EXAMPLES.glob("*.py"):
        words = shlex.split(commands_of(path.stem)[0])
        assert words[0] == "run"
        assert words[1].startswith(f"docs/examples/{path.name}:")
        assert words[-1] == "--wait"


@pytest.mark.parametrize(
    ("example", "output"),
    [("fraud", '"accepted at 0.00"'), ("labelling", '"published grows, holds"')],
    ids=["fraud", "labelling"],
)
def test_example_that_needs_nobody_ends(example: str, output: str) -> None:
    """An example that waits for nobody completes and shows its output."""
    shown = run(example)
    assert output in shown
    assert "completed" in shown


def test_order_is_paid_from_the_command_line() -> None:
    """The order waits for the bank's webhook; once that is played, it is labelled and confirmed."""
    assert 'waits for "payment" (the bank, for order A-17)' in run("order_fulfilment")
    resume("order_fulfilment", "payment", '{"reference": "R1", "cents": 4200}')
    assert re.search(r'"You paid 42\.00 \(R1\); your parcel is HF-\d{4}\."', run("order_fulfilment"))


def test_expense_is_approved_as_the_example_says() -> None:
    """Both approvals are open; the command that the example shows gives the first, and another one the second."""
    assert "approval[second]" in run("approval")
    shown = commands_of("approval")[1].replace(RUN, KEY)
    assert "is answered by ann" in said(shown)
    resume("approval", "approval[second]", '{"approved": true}')
    assert '"990.00 for mia approved by first and second"' in run("approval")


def test_agent_is_permitted_to_send() -> None:
    """The agent waits for permission, and sends when it is there."""
    assert 'waits for "permission"' in run("agent")
    resume("agent", "permission", '{"granted": true}')
    assert "I sent result of" in run("agent")


def test_checkout_goes_on_after_the_code() -> None:
    """The checkout waits for the customer's code, sleeps a little and has a child run pack the cart."""
    assert 'waits for "confirmation"' in run("checkout")
    resume("checkout", "confirmation", '{"code": "1234"}')
    assert '"charged 900 (1234): box of kelp, box of dulse"' in run("checkout")
