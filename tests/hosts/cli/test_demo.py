"""`holdfast demo`: from its first start over kill -9 to the last receipt."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from holdfast_hosts.cli.demo.ledger import Ledger
from holdfast_hosts.cli.demo.orders import read_orders
from tests.hosts.cli.conftest import Cli, lines

Process = Callable[..., "subprocess.Popen[str]"]

LEDGER = "holdfast.db.demo-ledger.jsonl"


def write_orders(folder: Path, *, count: int, pace: float) -> str:
    """Write the first *count* sample orders to a file that is worked off at *pace* and return its name."""
    sample = json.loads((files("holdfast_hosts.cli.demo") / "orders.json").read_text(encoding="utf-8"))
    (folder / "orders.json").write_text(json.dumps({"pace": pace, "orders": sample["orders"][:count]}))
    return "orders.json"


def entries(folder: Path) -> Sequence[dict[str, Any]]:
    """Return the lines of the ledger."""
    return [json.loads(line) for line in (folder / LEDGER).read_text(encoding="utf-8").splitlines()]


def test_the_package_brings_a_dozen_orders() -> None:
    """The sample is shipped, is read, and adds up."""
    orders = read_orders(None)
    assert len(orders.orders) == 12
    assert all(one.total_cents == sum(line.quantity * line.cents for line in one.lines) for one in orders.orders)


def test_the_demo_works_off_every_order_once(cli: Cli, folder: Path) -> None:
    """Every order completes, is charged once, and one run shows a retry and a suspension."""
    said = cli("demo", "--orders", write_orders(folder, count=4, pace=0), "--json")
    assert said.code == 0
    told = said.json
    assert told["tally"] == {"orders": 4, "completed": 4, "charges": 4, "duplicates": 0, "recognised": 0}
    kinds = Counter(event["type"] for event in told["timeline"])
    assert kinds["stage.retrying"] >= 1
    assert kinds["stage.suspended"] == 1
    effects = Counter((entry["order"], entry["effect"]) for entry in entries(folder))
    assert set(effects.values()) == {1}
    assert len(effects) == 4 * 4


def test_the_demo_ends_with_a_story_and_what_to_try(cli: Cli, folder: Path) -> None:
    """In a pipe it tells line by line, then one timeline, then commands that are true for this store."""
    said = cli("demo", "--orders", write_orders(folder, count=2, pace=0), "--store", "sqlite:///other.db")
    assert said.code == 0
    assert "sqlite:///other.db (created)" in said.out
    assert lines(said, ["ORD-1002", "charge_card", "✕ try 1 failed after", "card network timed out"])
    assert "✓ 2 orders, 2 charges, 0 duplicates" in said.out
    assert "What happened to ORD-1002" in said.out
    (show,) = lines(said, ["holdfast runs show"])
    assert show.strip() == "holdfast runs show demo-1/ORD-1002 --store sqlite:///other.db"
    shown = cli(*show.split()[1:])
    assert (shown.code, "demo-order demo-1/ORD-1002  completed" in shown.out) == (0, True)
    assert "\x1b" not in said.out


def test_a_new_start_after_the_last_order_begins_a_new_batch(cli: Cli, folder: Path) -> None:
    """When all orders are complete the next start says so and takes them as new ones."""
    orders = write_orders(folder, count=1, pace=0)
    assert cli("demo", "--orders", orders, "--json").json["batch"] == 1
    said = cli("demo", "--orders", orders)
    assert "all orders of batch 1 are complete; this is batch 2" in said.out
    assert cli("runs", "list", "--key", "demo-2/ORD-1001", "--json").json["runs"][0]["status"] == "COMPLETED"


def test_a_killed_demo_goes_on_where_it_was(folder: Path, process: Process, cli: Cli) -> None:
    """After kill -9 half-way the next start finishes every order, and no finished stage ran twice."""
    orders = write_orders(folder, count=5, pace=0.4)
    first = process("demo", "--orders", orders)
    until(lambda: (folder / LEDGER).exists() and len(entries(folder)) >= 8, first)
    first.kill()
    first.communicate()
    before = {
        run["id"]: {
            event["stageId"]
            for event in cli("runs", "timeline", run["id"], "--json").json["events"]
            if event["type"] == "stage.completed"
        }
        for run in cli("runs", "list", "--json").json["runs"]
    }
    done = sum(map(len, before.values()))
    assert done > 0

    second = process("demo", "--orders", orders, "--json")
    out, err = second.communicate(timeout=60)
    assert second.returncode == 0, err
    told = json.loads(out)
    assert told["stagesNotRepeated"] == done
    assert f"{done} stages already done are not repeated" in err
    assert "waiting for the lease of the killed worker (" in err
    assert told["tally"].items() >= {"orders": 5, "completed": 5, "charges": 5, "duplicates": 0}.items()

    really = Counter((entry["run_id"], entry["effect"]) for entry in entries(folder) if not entry["repeated"])
    assert set(really.values()) == {1}
    assert len(really) == 5 * 4
    for run_id, stages in before.items():
        events = cli("runs", "timeline", run_id, "--json").json["events"]
        kinds = Counter((event.get("stageId"), event["type"]) for event in events)
        assert all(kinds[stage_id, "stage.completed"] == 1 for stage_id in stages)
        completed = {event["stageId"]: event["number"] for event in events if event["type"] == "stage.completed"}
        assert not [
            event
            for event in events
            if event["type"] == "stage.started" and event["number"] > completed[event["stageId"]]
        ]


def test_an_interrupted_demo_says_how_to_go_on(folder: Path, process: Process) -> None:
    """Ctrl-C ends in 130 without a traceback and hands the jobs back, so the next start waits for no lease."""
    orders = write_orders(folder, count=3, pace=0.4)
    first = process("demo", "--orders", orders)
    until(lambda: (folder / LEDGER).exists() and len(entries(folder)) >= 3, first)
    first.send_signal(signal.SIGINT)
    _, err = first.communicate(timeout=20)
    assert first.returncode == 130
    assert "Go on: holdfast demo" in err
    assert "Traceback" not in err
    out, err = process("demo", "--orders", orders, "--json").communicate(timeout=60)
    assert "waiting for the lease" not in err
    assert json.loads(out)["tally"].items() >= {"completed": 3, "charges": 3, "duplicates": 0}.items()


def test_a_fresh_start_cancels_what_was_left(folder: Path, process: Process, cli: Cli) -> None:
    """With --fresh unfinished runs are cancelled and a new batch begins."""
    orders = write_orders(folder, count=3, pace=10)
    first = process("demo", "--orders", orders)
    until(lambda: count_runs(cli) == 3, first)
    first.kill()
    first.communicate()
    said = cli("demo", "--orders", write_orders(folder, count=1, pace=0), "--fresh", "--json")
    assert said.code == 0
    assert "cancelled 3 unfinished runs" in said.err
    assert said.json["batch"] == 2
    assert len(cli("runs", "list", "--status", "cancelled", "--json").json["runs"]) == 3


def test_the_demo_runs_without_a_file_too(cli: Cli, folder: Path) -> None:
    """A store in memory serves the demo."""
    said = cli("demo", "--orders", write_orders(folder, count=1, pace=0), "--store", "memory:", "--json")
    assert said.json["tally"]["charges"] == 1


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        (None, 3, "cannot be read"),
        ("no json", 2, "not JSON"),
        ("[]", 2, "orders"),
        ('{"orders": []}', 2, "at least 1"),
        ('{"orders": [{"id": "x"}]}', 2, "orders.0.customer"),
        ("twice", 2, "more than once"),
    ],
)
def test_a_file_that_holds_no_orders_is_refused(text: str | None, code: int, told: str, cli: Cli, folder: Path) -> None:
    """A missing or unfit orders file ends before anything begins."""
    if text == "twice":
        name = write_orders(folder, count=1, pace=0)
        orders = json.loads((folder / name).read_text(encoding="utf-8"))
        text = json.dumps({"orders": orders["orders"] * 2})
    if text is not None:
        (folder / "orders.json").write_text(text, encoding="utf-8")
    said = cli("demo", "--orders", "orders.json")
    assert said.code == code
    assert told in said.err
    assert not (folder / "holdfast.db").exists()


def test_an_order_that_changed_under_an_unfinished_batch_is_refused(cli: Cli, folder: Path, process: Process) -> None:
    """Another order under the id of an unfinished one is a conflict, not a silent mix."""
    orders = write_orders(folder, count=1, pace=10)
    first = process("demo", "--orders", orders)
    until(lambda: count_runs(cli) == 1, first)
    first.kill()
    first.communicate()
    said = cli("demo", "--orders", write_orders(folder, count=1, pace=0))
    assert said.code == 4
    assert "E3003" in said.err
    assert "--fresh" in said.err


def test_the_ledger_recognises_a_repeated_request(folder: Path) -> None:
    """An effect under a key that is known is written down as repeated and not done again."""
    ledger = Ledger(folder / "ledger.jsonl")
    again = {"order": "o", "run_id": "r", "key": "r:charge:1:0"}
    assert ledger.once("charged", attempt=1, **again)
    assert not ledger.once("charged", attempt=2, **again)
    assert ledger.done("charged", run_ids=frozenset({"r"})).total() == 1
    assert ledger.recognised(run_ids=frozenset({"r"})) == 1
    with ledger.path.open("a", encoding="utf-8") as file:
        file.write('{"effect": "cha')
    assert len(list(ledger.entries())) == 2


def count_runs(cli: Cli) -> int:
    """Return how many runs there are, none while there is no store yet."""
    said = cli("runs", "list", "--json")
    return 0 if said.code else len(said.json["runs"])


def until(condition: Callable[[], bool], running: subprocess.Popen[str], *, seconds: float = 20) -> None:
    """Return when *condition* holds while *running* runs; fail when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        assert running.poll() is None, running.communicate()
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.02)
