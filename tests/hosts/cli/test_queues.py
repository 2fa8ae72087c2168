"""Queues on the command line: how they are listed, limited, paused and let go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest

from tests.hosts.cli.conftest import Cli, Said

FLOW: Final = """
from holdfast import stage, workflow


@stage(queue="mail", weight=2)
async def send(to: str) -> str:
    return to


mails = workflow("mails", input=str).pipe(send)
"""


@pytest.fixture(autouse=True)
def store(cli: Cli) -> None:
    """Create the store."""
    assert cli("db", "migrate").code == 0


def queue_of(said: Said) -> Any:
    """Return the only queue that is listed."""
    (queue,) = said.json["queues"]
    return queue


def test_there_may_be_no_queue(cli: Cli) -> None:
    """A store in which nothing waits and nothing is limited has no queue to list."""
    assert cli("queues", "list").err.strip() == "No queue has limits or jobs."
    assert cli("queues", "list", "--json").json == {"queues": []}


def test_limits_are_set_and_lifted_one_by_one(cli: Cli) -> None:
    """What is given is changed, what is left out stays, and none lifts a limit."""
    told = cli("queues", "set", "mail", "--concurrency", "10", "--rate", "100/1m").out.strip()
    assert told == "queue mail: 10 at once, 100 tokens each 1 m"
    cli("queues", "set", "mail", "--per-key", "1", "--burst", "20")
    assert queue_of(cli("queues", "list", "--json")) == {
        "name": "mail",
        "concurrency": 10,
        "perKey": 1,
        "rate": {"tokens": 100, "periodSeconds": 60.0, "burst": 20},
        "paused": False,
        "ready": 0,
        "leased": 0,
        "oldestSeconds": None,
    }
    cli("queues", "set", "mail", "--rate", "none", "--concurrency", "none", "--per-key", "none")
    assert cli("queues", "list", "--json").json == {"queues": []}


def test_a_paused_queue_holds_its_jobs(cli: Cli, folder: Path) -> None:
    """Jobs of a paused queue wait, the list shows them, and they execute when it goes on."""
    folder.joinpath("flow.py").write_text(FLOW, encoding="utf-8")
    assert "→ To let it go on: holdfast queues unpause mail" in cli("queues", "pause", "mail").err
    waited = cli("run", "flow.py:mails", "--input", '"ann"', "--key", "k", "--wait", "--timeout", "500ms")
    assert waited.code == 7
    listed = cli("queues", "list").out.splitlines()[1].split()
    assert (listed[:3], listed[-1]) == (["mail", "1", "0"], "paused")
    assert cli("queues", "unpause", "mail").out.strip() == "queue mail: no limits"
    assert cli("run", "flow.py:mails", "--input", '"ann"', "--key", "k", "--wait").code == 0


def test_runs_have_tenants_and_keys(cli: Cli, folder: Path) -> None:
    """What a run belongs to is given when it is created, and shown with it."""
    folder.joinpath("flow.py").write_text(FLOW, encoding="utf-8")
    given = ("--tenant", "acme", "--concurrency-key", "c1", "--singleton", "s1")
    run = cli("run", "flow.py:mails", "--input", '"ann"', *given, "--json").json["runId"]
    shown = cli("runs", "show", run, "--json").json
    assert (shown["tenant"], shown["concurrencyKey"], shown["singleton"]) == ("acme", "c1", "s1")


def test_a_run_may_be_skipped_or_replace_another(cli: Cli, folder: Path) -> None:
    """While another run has the key a run waits, is not created, or takes its place, as one likes."""
    folder.joinpath("flow.py").write_text(FLOW, encoding="utf-8")

    def create(if_taken: str) -> Said:
        return cli("run", "flow.py:mails", "--input", '"ann"', "--singleton", "s", "--if-taken", if_taken)

    first = create("queue").out.strip()
    skipped = create("skip")
    assert skipped.out.strip() == first
    assert "not created" in skipped.err
    third = create("replace").out.strip()
    assert third != first
    assert cli("runs", "show", first, "--json").json["status"] == "CANCELLED"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "No limit is given."),
        (("--concurrency", "many"), "--concurrency is many"),
        (("--concurrency", "0"), "concurrency"),
        (("--rate", "100"), "--rate cannot be read: 100"),
        (("--rate", "100/0s"), "period"),
        (("--rate", "0/1s"), "tokens"),
        (("--burst", "5"), "--burst belongs to a rate."),
    ],
)
def test_limits_that_cannot_be_are_refused(cli: Cli, arguments: tuple[str, ...], told: str) -> None:
    """A limit that makes no sense is refused with what it should be, and nothing changes."""
    said = cli("queues", "set", "mail", *arguments)
    assert said.code == 2
    assert told in said.err
    assert cli("queues", "list", "--json").json == {"queues": []}
