"""The examples, tested as they would be tested, and run as their readers would run them."""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections.abc import Callable
from datetime import timedelta
from types import ModuleType
from typing import Any, Final

import pytest

from holdfast import RunCancel, RunResume, RunStatus
from holdfast_testing import Harness
from tests.docs.samples import ROOT

EXAMPLES: Final = ROOT / "docs" / "examples"
#: The clock of the harness stands; what is due later stays so.
NOW: Final = timedelta()

Load = Callable[[str], ModuleType]


class PatientShop:
    """A shop that notes what is asked of it and has the label ready at the third question."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.tokens: list[str] = []
        self.keys: set[str] = set()
        self.asked = 0

    def reserve(self, sku: str, *, key: str) -> str:
        self.done.append(f"reserve {sku}")
        return f"shelf of {sku}"

    def release(self, shelf: str) -> None:
        self.done.append(f"release {shelf}")

    def ask_for_payment(self, order: Any, *, currency: str, answer_with: str) -> None:
        self.tokens.append(answer_with)

    def refund(self, reference: str, *, key: str) -> None:
        self.done.append(f"refund {reference}")

    def hand_in(self, parcel: str, *, key: str) -> str:
        self.done.append(f"hand in {parcel}")
        return "ticket 9"

    def label(self, ticket: str) -> str | None:
        self.asked += 1
        return "HF-0009" if self.asked >= 3 else None


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """Return what imports an example by its name."""

    def load(name: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return load


def answer(harness: Harness, run_id: str, name: str, payload: object) -> None:
    """Resume a run and let it go on as far as it can at this instant."""
    harness.dispatch(RunResume(run_id=run_id, name=name, payload=payload))
    harness.drain(until=NOW)


def test_an_order_is_paid_by_webhook_and_fulfilled(load: Load, harness: Harness) -> None:
    """An order waits for the bank's webhook, which comes with the token; then it is labelled and confirmed."""
    example, shop = load("order_fulfilment"), PatientShop()
    vars(example)["shop"] = shop
    run_id = harness.start(example.order, example.Order(id="A-17", sku="kelp", cents=4200))
    harness.drain(until=timedelta(minutes=1))
    assert harness.look(example.order, run_id).status is RunStatus.WAITING

    (token,) = shop.tokens
    harness.dispatch(RunResume(token=token, payload={"reference": "R1", "cents": 4200}))
    harness.drain()

    ended = harness.look(example.order, run_id)
    assert ended.output == "You paid 42.00 (R1); your parcel is HF-0009."
    assert ended.attempts("reserve") == 2
    assert shop.done == ["reserve kelp", "hand in shelf of kelp"]


def test_an_order_that_is_cancelled_is_undone(load: Load, harness: Harness) -> None:
    """A cancelled order gives back the money and then the goods; nothing is undone that was not done."""
    example, shop = load("order_fulfilment"), PatientShop()
    vars(example)["shop"] = shop
    vars(shop)["asked"] = -1_000_000
    run_id = harness.start(example.order, example.Order(id="A-17", sku="kelp", cents=4200))
    harness.drain(until=timedelta(minutes=1))
    harness.clock.advance("1m")
    answer(harness, run_id, "payment", {"reference": "R1", "cents": 4200})
    assert harness.dispatch(RunCancel(run_id=run_id)).status is RunStatus.COMPENSATING
    harness.drain(until=NOW)

    assert harness.look(example.order, run_id).status is RunStatus.CANCELLED
    assert shop.done[-2:] == ["refund R1", "release shelf of kelp"]


def test_an_order_that_nobody_pays_fails_and_frees_its_goods(load: Load, harness: Harness) -> None:
    """After an hour without the webhook the order fails, and what was reserved is released."""
    example, shop = load("order_fulfilment"), PatientShop()
    vars(example)["shop"] = shop
    ended = harness.run(example.order, example.Order(id="A-17", sku="kelp", cents=4200))
    assert ended.status is RunStatus.FAILED
    assert ended.failure is not None
    assert ended.failure.code == "WAIT_TIMEOUT"
    assert shop.done == ["reserve kelp", "release shelf of kelp"]


async def approve(harness: Harness, run_id: str, name: str, *, approved: bool = True) -> None:
    """Answer an approval within a loop, which `asyncio.gather` needs."""
    await harness.kernel.dispatch(RunResume(run_id=run_id, name=name, payload={"approved": approved}))
    await harness.adrain(until=NOW)


def test_two_approvers_decide_in_any_order(load: Load, harness: Harness) -> None:
    """Both approvals are open at once, each takes its own answer, and small expenses need none."""
    example = load("approval")

    async def play() -> str:
        run_id = await harness.astart(example.expenses, example.Expense(who="mia", cents=99_000))
        await harness.adrain(until=NOW)
        await approve(harness, run_id, "approval[second]")
        await approve(harness, run_id, "approval[first]")
        return run_id

    run_id = asyncio.run(play())
    assert harness.look(example.expenses, run_id).output == "990.00 for mia approved by first and second"

    small = harness.run(example.expenses, example.Expense(who="ole", cents=100))
    assert small.output == "1.00 for ole approved by policy"


def test_slow_approvers_are_escalated(load: Load, harness: Harness) -> None:
    """When an approver takes more than two days, the manager decides alone."""
    example = load("approval")

    async def play() -> str:
        run_id = await harness.astart(example.expenses, example.Expense(who="mia", cents=99_000))
        await harness.adrain(until=NOW)
        await approve(harness, run_id, "approval[first]")
        harness.clock.advance("2d")
        await harness.adrain(until=NOW)
        await approve(harness, run_id, "escalation", approved=False)
        return run_id

    run_id = asyncio.run(play())
    assert harness.look(example.expenses, run_id).output == "990.00 for mia refused by manager"


@pytest.mark.parametrize(
    ("cents", "country", "says"),
    [(120, "NL", "accepted at 0.00"), (900_000, "XX", "declined at 0.90")],
    ids=["harmless", "fraud"],
)
def test_payments_are_scored(load: Load, harness: Harness, cents: int, country: str, says: str) -> None:
    """The score decides which way a payment goes."""
    example = load("fraud")
    assert harness.run(example.Screening, example.Payment(cents=cents, country=country)).output == says


@pytest.mark.parametrize(
    ("is_fraud", "says"), [(True, "declined at 0.60"), (False, "accepted at 0.60")], ids=["fraud", "fine"]
)
def test_doubtful_payments_are_reviewed(load: Load, harness: Harness, is_fraud: bool, says: str) -> None:
    """A payment in between waits for a reviewer, who decides."""
    example = load("fraud")
    run_id = harness.start(example.Screening, example.Payment(cents=900_000, country="NL"))
    harness.drain(until=NOW)
    answer(harness, run_id, "review", {"is_fraud": is_fraud, "reviewer": "kim"})
    assert harness.look(example.Screening, run_id).output == says


def test_nobody_reviews_a_payment(load: Load, harness: Harness) -> None:
    """A doubtful payment that nobody looks at for three days is declined."""
    example = load("fraud")
    ended = harness.run(example.Screening, example.Payment(cents=900_000, country="NL"))
    assert ended.output == "declined at 0.60"


def test_documents_are_labelled_in_order(load: Load, harness: Harness) -> None:
    """Pieces are labelled in order, and sure labels are published without asking; equal pieces are labelled once."""
    example = load("labelling")
    text = "the kelp forest grows fast. the tide comes in twice. the kelp forest grows fast"
    ended = harness.run(example.labelling, example.Document(text=text))
    assert ended.output == "published forest, comes, forest"
    cached = [event.key.item for event in ended.events if event.key is not None and event.data.get("cached")]
    assert cached == [2]


def test_unsure_labels_are_decided_by_a_person(load: Load, harness: Harness) -> None:
    """Labels that are not sure wait for an approval."""
    example = load("labelling")
    run_id = harness.start(example.labelling, example.Document(text="kelp. moss"))
    harness.drain(until=NOW)
    answer(harness, run_id, "approval", {"approved": False})
    assert harness.look(example.labelling, run_id).output == "dropped"


@pytest.mark.parametrize("granted", [True, False])
def test_agent_asks_before_it_acts(load: Load, harness: Harness, granted: bool) -> None:
    """The agent searches by itself, turn after turn, and sends only what a person permits."""
    example = load("agent")
    run_id = harness.start(example.agent, example.Task(task="find the tide table"))
    harness.drain(until=NOW)
    waiting = harness.look(example.agent, run_id)
    assert (waiting.status, waiting.attempts("search")) == (RunStatus.WAITING, 2)
    answer(harness, run_id, "permission", {"granted": granted})
    ended = harness.look(example.agent, run_id)
    assert ended.output is not None
    assert ("was not allowed" in ended.output) is not granted
    assert ended.attempts("think") == 4


def test_checkout_goes_on_where_it_was(load: Load, harness: Harness) -> None:
    """The imperative checkout charges once, waits, sleeps, and runs a child for every item of the cart."""
    example = load("checkout")
    harness.know(example.packing)
    run_id = harness.start(example.checkout, example.Cart(cart=["kelp", "dulse"], cents=900))
    harness.drain(until=NOW)
    harness.dispatch(RunResume(run_id=run_id, name="confirmation", payload={"code": "1234"}))
    harness.drain(until=timedelta(seconds=1))
    ended = harness.look(example.checkout, run_id)
    assert ended.output == "charged 900 (1234): box of kelp, box of dulse"
