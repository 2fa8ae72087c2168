"""Runs that wait for somebody: what the command line tells of them, and how they are answered, paused and retried."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from tests.hosts.cli.conftest import Cli, Said, lines

WAITS: Final = """
from pathlib import Path

from pydantic import BaseModel

from holdfast import Context, Retry, stage, workflow
from holdfast.errors import WaitTimedOut


class Decision(BaseModel):
    approved: bool


@stage(waits={"approval": Decision})
async def ask(amount: int, ctx: Context) -> int:
    decision = await ctx.wait_for("approval", Decision, timeout="7d", reason="is it right?")
    return amount if decision.approved else 0


@stage(retry=Retry(1))
async def pay(amount: int) -> int:
    if not Path("open").exists():
        raise ConnectionError("the bank is closed")
    return amount


@stage(retry=Retry(1))
async def double(amount: int) -> int:
    return 2 * amount


@stage(waits={"never": Decision})
async def nap(amount: int, ctx: Context) -> int:
    await ctx.sleep("short", "50ms")
    return amount


@stage(waits={"approval": Decision})
async def wait(amount: int, ctx: Context) -> int:
    await ctx.wait_for("approval", Decision)
    return amount


@stage(waits={"approval": Decision})
async def hurry(amount: int, ctx: Context) -> int:
    try:
        await ctx.wait_for("approval", Decision, timeout="50ms")
    except WaitTimedOut:
        return -1
    return amount


@stage
async def delegate(amount: int, ctx: Context) -> int:
    return await ctx.call("asking", asked, amount)


asked = workflow("asked", input=int).pipe(ask).pipe(double)
paid = workflow("paid", input=int).pipe(double).pipe(pay)
napping = workflow("napping", input=int).pipe(nap)
patient = workflow("patient", input=int).pipe(wait)
brief = workflow("brief", input=int).pipe(hurry)
parent = workflow("parent", input=int).pipe(delegate)
stateful = workflow("stateful", input=int, state=True).pipe(double)
"""
PATIENCE: Final = 20.0

Process = Callable[..., subprocess.Popen[str]]


@pytest.fixture(autouse=True)
def flows(folder: Path) -> None:
    """Write the workflows that wait."""
    (folder / "waits.py").write_text(WAITS, encoding="utf-8")


@pytest.fixture
def waiting(cli: Cli) -> str:
    """Return the id of a run, under the key k, that waits for its approval."""
    said = cli("run", "waits.py:asked", "--input", "21", "--key", "k", "--wait", "--until-waiting", "--json")
    assert said.code == 8, said.err
    run_id: str = cli("runs", "show", "k", "--json").json["id"]
    return run_id


def resume(cli: Cli, *words: str, payload: object = None) -> Said:
    """Answer with *payload*."""
    given = {"approved": True} if payload is None else payload
    return cli("runs", "resume", *words, "--payload", json.dumps(given), "--module", "waits.py")


def until(condition: Callable[[], Any]) -> None:
    """Wait until *condition* holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "waited in vain"


def test_a_run_that_waits_ends_in_8_and_says_how_it_is_answered(cli: Cli) -> None:
    """With --until-waiting the command ends in 8 once only somebody outside can go on, with the command to copy."""
    said = cli("run", "waits.py:asked", "--input", "21", "--key", "k", "--wait", "--until-waiting")
    run_id = cli("runs", "show", "k", "--json").json["id"]
    assert (said.code, said.out) == (8, "")
    assert f"E5002  Run {run_id} waits, and only somebody outside can bring it on." in said.err
    assert 'It waits for "approval" (is it right?), at most ' in said.err
    assert f"→ holdfast runs resume {run_id} approval --payload JSON --module waits.py:asked" in said.err


def test_a_run_in_memory_cannot_be_answered(cli: Cli) -> None:
    """A run in memory ends in 8 without being asked to, for no other process can answer it, unless a limit helps."""
    said = cli("run", "waits.py:patient", "--input", "21", "--wait", "--store", "memory:", "--json")
    assert said.code == said.problem["exit"] == 8
    assert "It was kept in memory, and ends with this process." in said.problem["why"]
    limited = cli("run", "waits.py:brief", "--input", "21", "--wait", "--store", "memory:")
    assert (limited.code, limited.out) == (0, "-1\n")


def test_a_sleep_is_waited_for(cli: Cli) -> None:
    """What time alone brings on is waited for, also with --until-waiting."""
    said = cli("run", "waits.py:napping", "--input", "21", "--wait", "--until-waiting")
    assert (said.code, said.out) == (0, "21\n")


def test_a_wait_of_a_child_is_told_by_its_parent(cli: Cli) -> None:
    """A run that waits for a child which waits for somebody says what has to be answered, and where."""
    said = cli("run", "waits.py:parent", "--input", "21", "--key", "p", "--wait", "--until-waiting")
    assert said.code == 8
    parent = cli("runs", "show", "p", "--json").json
    (child,) = parent["children"]
    assert child["parentId"] == parent["id"]
    assert f"holdfast runs resume {child['id']} approval" in said.err
    assert lines(cli("runs", "show", "p"), ["waiting", f"child run {child['id']}"])
    assert lines(cli("runs", "show", "p"), ["◷ waiting", child["id"], "asked"])
    assert lines(cli("runs", "show", child["id"]), ["parent", parent["id"]])
    assert lines(cli("runs", "timeline", "p"), ['⤷ started child "asking"', f"run {child['id']} of asked@1.0.0"])
    assert resume(cli, child["id"], "approval").code == 0
    assert cli("run", "waits.py:parent", "--input", "21", "--key", "p", "--wait").out == "42\n"
    assert lines(cli("runs", "timeline", "p"), [f"child run {child['id']} completed after"])


def test_a_run_goes_on_when_another_process_answers(cli: Cli, process: Process) -> None:
    """The command that waits tells how its run is answered, and goes on to its end once that was done elsewhere."""
    running = process("run", "waits.py:asked", "--input", "21", "--key", "k", "--wait")
    until(lambda: lines(cli("runs", "list"), ["waiting", "k"]))
    assert resume(cli, "k", "approval").code == 0
    out, err = running.communicate(timeout=PATIENCE)
    assert (running.returncode, out) == (0, "42\n")
    assert err.count("◷ waits for") == 1
    assert "approval --payload JSON --module waits.py:asked" in err


def test_waits_are_listed(cli: Cli, waiting: str) -> None:
    """The open waits of a run are listed with name, stage, since when, what for and limit."""
    said = cli("runs", "waits", "k")
    (row,) = lines(said, ["approval", "ask", "an answer: is it right?"])
    assert " ago " in row
    assert f"holdfast runs resume {waiting} approval --payload JSON --module MODULE" in said.err
    told = cli("runs", "waits", "k", "--json").json
    (wait,) = told["waits"]
    assert wait.items() >= {"name": "approval", "kind": "PAYLOAD", "status": "OPEN", "stageId": "ask"}.items()
    assert (told["runId"], told["status"]) == (waiting, "WAITING")
    assert wait["dueAt"] > wait["openedAt"]


def test_a_run_that_waits_for_nothing_says_so(cli: Cli, finished: Callable[..., str]) -> None:
    """Without open waits the list is empty, on stdout too."""
    run_id = finished()
    said = cli("runs", "waits", run_id)
    assert (said.code, said.out) == (0, "")
    assert "waits for nothing" in said.err
    assert cli("runs", "waits", run_id, "--json").json["waits"] == []


def test_lists_and_pages_tell_what_is_waited_for(cli: Cli, waiting: str) -> None:
    """The list and the page of a waiting run say what it waits for and since when."""
    assert lines(cli("runs", "list"), ["◷ waiting", 'waits for "approval" (is it right?)', "since"])
    (listed,) = cli("runs", "list", "--status", "waiting", "--json").json["runs"]
    assert [wait["name"] for wait in listed["waits"]] == ["approval"]
    shown = cli("runs", "show", "k")
    assert lines(shown, ["waiting", 'waits for "approval"', "since"])
    assert lines(shown, ["ask", "◷ waiting", 'for "approval" (is it right?)'])
    assert cli("runs", "show", "k", "--json").json["waits"][0]["name"] == "approval"


def test_the_timeline_tells_of_waits_and_answers(cli: Cli, waiting: str) -> None:
    """The timeline says what is waited for, why and how long, and then who answered and after how long."""
    before = cli("runs", "timeline", waiting)
    assert lines(before, ["ask", '◷ waits for "approval" (is it right?), at most 7 d'])
    assert lines(before, ["now", "ask", "waiting for", 'for "approval"'])
    assert resume(cli, waiting, "approval", "--as", "ada").code == 0
    assert lines(cli("runs", "timeline", waiting), ["ask", '▶ "approval" answered by ada after'])


def test_one_answer_counts(cli: Cli, waiting: str) -> None:
    """The first answer stands: the same one again changes nothing, another one is refused with 4."""
    assert resume(cli, "k", "approval", "--as", "ada", "--json").json == {
        "runId": waiting,
        "name": "approval",
        "outcome": "answered",
        "stands": True,
        "actor": "ada",
    }
    again = resume(cli, "k", "approval")
    assert (again.code, again.out) == (0, f'▶ run {waiting}: "approval" was answered so before by ada\n')
    other = resume(cli, "k", "approval", payload={"approved": False})
    assert other.code == 4
    assert "was answered before by ada with something else, and that answer stands" in other.out


def test_an_answer_that_comes_early_is_kept(cli: Cli) -> None:
    """A run that has not begun keeps the answer, and does not wait when it comes there."""
    run_id = cli("run", "waits.py:asked", "--input", "21", "--key", "k").out.strip()
    assert "is kept until it is" in resume(cli, "k", "approval", "--as", "ada").out
    assert lines(cli("runs", "timeline", run_id), ["run", '✉ answer to "approval" by ada came early and is kept'])
    assert cli("run", "waits.py:asked", "--input", "21", "--key", "k", "--wait").out == "42\n"


def test_an_answer_may_stand_in_a_file(cli: Cli, waiting: str, folder: Path) -> None:
    """The answer is read from a file that is named in either way."""
    (folder / "yes.json").write_text('{"approved": true}', encoding="utf-8")
    assert cli("runs", "resume", "k", "approval", "--payload-file", "yes.json", "--module", "waits.py").code == 0
    assert cli("runs", "resume", "k", "approval", "--payload", "@yes.json", "--module", "waits.py").code == 0


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["k", "approvl", "--payload", "{}"], 3, 'Did you mean "approval"?'),
        (["k", "approval", "--payload", "7"], 2, 'The payload of the wait "approval" is not valid.'),
        (["k", "approval", "--payload", "{"], 2, "payload"),
        (["k", "approval"], 2, "--payload JSON or --payload-file FILE"),
        (["k", "approval", "--payload", "1", "--payload-file", "x"], 2, "The answer is given once."),
        (["k", "--payload", "1"], 2, "RUN and NAME, or --token TOKEN"),
        (["k", "approval", "--token", "t", "--payload", "1"], 2, "RUN and NAME are too much"),
        (["--token", "t", "--payload", "1"], 3, "E2151"),
        (["nobody", "approval", "--payload", "1"], 3, "There is no run"),
        (["k", "approval", "--payload-file", "nowhere.json"], 3, "cannot be read from nowhere.json"),
    ],
)
def test_an_answer_that_cannot_be_is_refused(words: list[str], code: int, told: str, cli: Cli, waiting: str) -> None:
    """A name, a payload or options that do not fit end in their code, and the run waits on."""
    said = cli("runs", "resume", *words, "--module", "waits.py")
    assert said.code == code
    assert told in said.err
    assert cli("runs", "show", "k", "--json").json["status"] == "WAITING"


def test_an_answer_needs_the_workflow(cli: Cli, waiting: str) -> None:
    """Without the module the answer cannot be checked, which is wrong usage."""
    said = cli("runs", "resume", "k", "approval", "--payload", "1")
    assert said.code == 2
    assert "--module MODULE" in said.err


def test_a_run_is_paused_and_goes_on(cli: Cli, waiting: str) -> None:
    """A paused run says why, begins nothing, and goes on when it is unpaused; doing either twice changes nothing."""
    said = cli("runs", "pause", "k", "--reason", "lunch", "--json")
    assert said.json == {"runId": waiting, "paused": True, "status": "PAUSED"}
    assert cli("runs", "pause", "k").out == f"‖ run {waiting} was paused before\n"
    assert lines(cli("runs", "show", "k"), ["paused", "lunch"])
    assert lines(cli("runs", "list", "--status", "paused"), ["‖ paused", "k"])
    held = cli("run", "waits.py:asked", "--input", "21", "--key", "k", "--wait", "--until-waiting")
    assert held.code == 8
    assert f"holdfast runs unpause {waiting}" in held.err
    assert cli("runs", "unpause", "k").out == f"▶ run {waiting} goes on\n"
    assert cli("runs", "unpause", "k", "--json").json == {"runId": waiting, "unpaused": False, "status": "WAITING"}
    timeline = cli("runs", "timeline", "k")
    assert lines(timeline, ["run", "‖ paused: lunch"])
    assert lines(timeline, ["run", "▶ goes on after"])


@pytest.mark.parametrize("verb", ["pause", "unpause"])
def test_a_run_that_has_ended_is_not_paused(verb: str, cli: Cli, finished: Callable[..., str]) -> None:
    """Pausing or unpausing a run that has ended is refused with 4."""
    said = cli("runs", verb, finished())
    assert said.code == 4
    assert said.err.startswith("E2130")


def test_a_failed_run_is_retried_from_where_it_failed(cli: Cli, folder: Path) -> None:
    """A retry keeps what completed and does the failed stage again; a worker then executes it."""
    assert cli("run", "waits.py:paid", "--input", "21", "--key", "k", "--wait").code == 1
    (folder / "open").touch()
    said = cli("runs", "retry", "k", "--module", "waits.py")
    assert said.code == 0
    assert "does again, as generation 2: pay" in said.out
    assert "holdfast worker waits.py" in said.err
    assert cli("run", "waits.py:paid", "--input", "21", "--key", "k", "--wait").out == "42\n"
    timeline = cli("runs", "timeline", "k")
    assert lines(timeline, ["run", "↻ retried, does again: pay"])
    assert len(lines(timeline, ["double", "✓ completed"])) == 1


def test_a_retry_has_a_json_form_and_an_idempotency_key(cli: Cli) -> None:
    """The same key retries once; the answer is one object."""
    cli("run", "waits.py:paid", "--input", "21", "--key", "k", "--wait")
    words = ("runs", "retry", "k", "--module", "waits.py", "--key", "once", "--json")
    first = cli(*words)
    assert (first.json["generation"], first.json["retried"]) == (2, ["pay"])
    assert cli(*words).json == first.json


def test_only_a_failed_run_is_retried(cli: Cli, finished: Callable[..., str]) -> None:
    """Retrying a completed run is refused with 4 and the way out."""
    said = cli("runs", "retry", finished(), "--module", "flows.py")
    assert said.code == 4
    assert "Only a FAILED run is retried" in said.err


def test_a_run_is_held_until_it_may_begin(cli: Cli) -> None:
    """A run with a start ahead is held: the list, the page and the timeline say until when."""
    said = cli("run", "waits.py:paid", "--input", "1", "--key", "k", "--start-in", "2h", "--wait", "--timeout", "50ms")
    assert said.code == 7
    assert lines(cli("runs", "list", "--utc"), ["· pending", "held until", "Z"])
    assert lines(cli("runs", "show", "k", "--utc"), ["held until", "Z"])
    assert lines(cli("runs", "timeline", "k"), ["created for paid", "it begins in"])
    shown = cli("runs", "show", "k", "--json").json
    assert shown["held"]
    assert shown["startsAt"] > shown["createdAt"]


@pytest.mark.parametrize("start", ["2100-01-31T09:00", "2100-01-31T09:00+01:00", "2100-01-31"])
def test_a_start_may_be_an_instant(start: str, cli: Cli) -> None:
    """An instant without a zone is local, or UTC when times are shown in UTC; a start too far ahead is refused."""
    said = cli("run", "waits.py:paid", "--input", "1", "--start-at", start, "--utc")
    assert said.code in {0, 2}
    if said.code:
        assert "days ahead" in said.err


def test_a_start_that_is_past_holds_nothing(cli: Cli) -> None:
    """A run whose start is past begins at once."""
    words = ("run", "waits.py:napping", "--input", "7", "--start-at", "2020-01-31T09:00", "--wait")
    assert cli(*words).out == "7\n"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--start-at", "tomorrow"], "--start-at cannot be read: tomorrow"),
        (["--start-in", "soon"], "--start-in cannot be read"),
        (["--start-in", "1h", "--start-at", "2030-01-01"], "both say when the run begins"),
        (["--until-waiting"], "Add --wait."),
        (["--state", "[]"], "no JSON object of names and values"),
        (["--state", "-", "--config", "-"], "more than one of the input, the config and the state"),
    ],
)
def test_starts_and_states_that_cannot_be_read_are_wrong_usage(words: list[str], told: str, cli: Cli) -> None:
    """What cannot be read, or does not go together, ends in 2 and says so."""
    said = cli("run", "waits.py:paid", "--input", "1", *words)
    assert said.code == 2
    assert told in said.err


def test_a_state_reaches_workflows_that_have_one(cli: Cli) -> None:
    """--state gives the run its first state; a workflow without a state refuses it."""
    assert cli("run", "waits.py:stateful", "--input", "1", "--state", '{"a": 1}', "--wait").out == "2\n"
    said = cli("run", "waits.py:paid", "--input", "1", "--state", '{"a": 1}')
    assert said.code == 2
    assert "has no state" in said.err
