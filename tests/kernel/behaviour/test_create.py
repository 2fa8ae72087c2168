"""What run.create stores and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel

from holdfast import Context, RunStatus, stage, workflow
from holdfast.codec import from_json
from holdfast.command import Settings
from holdfast.commands.run_create import RunCreate
from holdfast.driving import run_sync
from holdfast.errors import InvalidInput, PayloadTooLarge, UnknownWorkflow
from tests.kernel.behaviour.flows import Tuning, line
from tests.kernel.watching import MANY, MakeHarness


class Order(BaseModel):
    """The input of a run."""

    customer: str
    lines: list[int]


@stage
async def tune(order: Order, ctx: Context[Tuning]) -> str:
    """Return the config's model."""
    return f"{order.customer} {ctx.config.model}"


ORDERING = workflow("ordering", input=Order, version="1").pipe(tune)
ORDER = {"customer": "c1", "lines": [1, 2]}


def test_parity_049_created_run_is_pending_with_merged_config(make_harness: MakeHarness) -> None:
    """A created run is PENDING with its input, its config over the defaults, priority 5 and one event."""
    harness = make_harness(ORDERING)
    created = harness.dispatch(RunCreate(workflow_id="ordering", input=ORDER, config={"tune": {"limit": 8}}))
    run = harness.run_of(created.run_id)

    assert run.status is created.status is RunStatus.PENDING
    assert (run.header.workflow_id, run.header.workflow_version) == ("ordering", "1")
    assert run.header.input.text is not None
    assert from_json(run.header.input.text, what="input") == ORDER
    assert from_json(run.header.config, what="config") == {"tune": {"model": "m1", "limit": 8}}
    assert run.header.priority == 5
    assert run.version == 1
    assert run.started_at is run.finished_at is None
    (event,) = harness.events(created.run_id)
    assert (event.number, event.type.value, event.key) == (1, "run.created", None)
    assert event.data == {"workflowId": "ordering", "workflowVersion": "1", "priority": 5}


def test_parity_050_unknown_workflow_is_refused(make_harness: MakeHarness) -> None:
    """A run of a workflow or of a version that is not registered is refused, and the error names those there are."""
    harness = make_harness(ORDERING)

    with pytest.raises(UnknownWorkflow, match=r'"orders".*ordering@1'):
        harness.dispatch(RunCreate(workflow_id="orders", input=ORDER))
    with pytest.raises(UnknownWorkflow, match=r"version 2"):
        harness.dispatch(RunCreate(workflow_id="ordering", version="2", input=ORDER))
    assert harness.store.committed == []


@pytest.mark.parametrize(
    ("input", "path"),
    [
        ({"customer": "c1", "lines": [1, "two"]}, "lines"),
        ({"lines": []}, "customer"),
        ("c1", "input of workflow"),
        ({"customer": "\ud800", "lines": []}, "surrogate"),
        (float("nan"), "input of workflow"),
    ],
)
def test_parity_050_input_that_does_not_fit_is_refused(make_harness: MakeHarness, input: Any, path: str) -> None:
    """A run whose input does not fit is refused with what is wrong and where, and nothing is stored."""
    harness = make_harness(ORDERING)

    with pytest.raises(InvalidInput, match=path):
        harness.dispatch(RunCreate(workflow_id="ordering", input=input))
    assert harness.store.committed == []


def test_input_above_the_limit_is_refused(make_harness: MakeHarness) -> None:
    """An input that is larger than the kernel accepts is refused, and no blob of it stays behind."""
    harness = make_harness(ORDERING, settings=Settings(blob_threshold=10, max_payload_bytes=1000))

    with pytest.raises(PayloadTooLarge):
        harness.dispatch(RunCreate(workflow_id="ordering", input={"customer": "c" * 1000, "lines": []}))
    assert run_sync(harness.blob_store.list("", limit=MANY)) == []


def test_parity_051_priority_and_annotations_are_stored(make_harness: MakeHarness) -> None:
    """A run keeps its priority, and what its creator noted, as JSON values."""
    flow = line(1)
    harness = make_harness(flow)
    note = {"who": ["importer", 3], "why": None}
    run_id = harness.start(flow, 1, priority=9, annotations={"origin": note, "ticket": "T-1"})

    assert harness.run_of(run_id).header.priority == 9
    notes = run_sync(harness.persistence.list_annotations(run_id, limit=MANY))
    assert [(one.name, one.value, one.key) for one in notes] == [("origin", note, None), ("ticket", "T-1", None)]
