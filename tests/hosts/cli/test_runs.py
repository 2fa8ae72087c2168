"""`holdfast runs …`: lists, pages, timelines, and the two ways to steer a run."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.hosts.cli.conftest import Cli, lines

Finished = Callable[..., str]


def created(cli: Cli, key: str) -> str:
    """Create a run that nobody executes and return its id."""
    return cli("run", "flows.py:words", "--input", '{"text": "a"}', "--key", key).out.strip()


def test_runs_are_listed_newest_first(cli: Cli, finished: Finished) -> None:
    """The list holds each run with its status, newest first, for a person and for a script."""
    first, second = finished("a", "--key", "one"), finished("bad", "--key", "two")
    said = cli("runs", "list")
    assert said.out.splitlines()[0].split() == ["STATUS", "ID", "KEY", "WORKFLOW", "CREATED", "TOOK", "WHY"]
    (failed,), (completed,) = lines(said, ["✕ failed", "two", "words"]), lines(said, ["✓ completed", "one"])
    assert "split: this text is bad \\x1b[31m" in failed
    assert said.out.index(failed) < said.out.index(completed)
    assert "2 runs" in said.err
    assert [run["id"] for run in cli("runs", "list", "--json").json["runs"]] == [second, first]


def test_the_list_is_narrowed_by_filters(cli: Cli, finished: Finished) -> None:
    """Status, workflow and key narrow the list; statuses may be several."""
    done, failed, waiting = finished("a"), finished("bad"), created(cli, "k")

    def ids(*words: str) -> list[str]:
        return [run["id"] for run in cli("runs", "list", "--json", *words).json["runs"]]

    assert ids("--status", "failed") == [failed]
    assert ids("--status", "completed,FAILED") == [failed, done]
    assert ids("--status", "completed", "--status", "pending") == [waiting, done]
    assert ids("--key", "k") == [waiting]
    assert ids("--workflow", "other") == []
    assert cli("runs", "list", "--workflow", "other").err == "No runs.\n"


def test_the_list_comes_in_pages(cli: Cli) -> None:
    """A page names the run before which the next one begins, the last page names none."""
    ids = [created(cli, str(number)) for number in range(5)][::-1]
    seen: list[str] = []
    page = cli("runs", "list", "--limit", "2", "--json").json
    while page["before"] is not None:
        seen += [run["id"] for run in page["runs"]]
        page = cli("runs", "list", "--limit", "2", "--before", page["before"], "--json").json
    assert seen + [run["id"] for run in page["runs"]] == ids
    assert f"--before {ids[1]}" in cli("runs", "list", "--limit", "2").err


def test_a_run_is_shown_with_its_stages_and_payloads(cli: Cli, finished: Finished) -> None:
    """The page of a run tells its stages, its retries, its input and output, and its log."""
    run_id = finished("flaky", "--key", "k")
    said = cli("runs", "show", run_id)
    assert said.out.startswith("✓ words k  completed in ")
    assert "2 stages · 2 retries" in said.out.splitlines()[0]
    assert lines(said, ["split", "✓ completed", "3 of 3"])
    assert '{"copies": 1, "text": "flaky"}' in said.out
    assert lines(said, ["info", "split: splitting copies=1"])
    shown = cli("runs", "show", run_id, "--json").json
    assert shown["input"] == {"copies": 1, "text": "flaky"}
    assert shown["output"] == 1
    assert [(one["stageId"], one["status"], one["attempt"]) for one in shown["stages"]] == [
        ("split", "COMPLETED", 3),
        ("print", "COMPLETED", 1),
    ]
    assert [line["message"] for line in shown["logs"]] == ["splitting"] * 3


def test_a_failed_run_is_shown_with_its_failure(cli: Cli, finished: Finished) -> None:
    """The page of a failed run says why; the traceback is there on demand."""
    run_id = finished("bad")
    said = cli("runs", "show", run_id)
    assert 'STAGE_ERROR  stage "split": NeverRetry: this text is bad \\x1b[31m' in said.out
    assert "Traceback" not in said.out
    traced = cli("runs", "show", run_id, "--trace")
    assert "Traceback" in traced.out
    assert "flows.py" in traced.out
    assert "\x1b" not in traced.out
    failure = cli("runs", "show", run_id, "--json").json["failure"]
    assert failure.items() >= {"code": "STAGE_ERROR", "stageId": "split", "error": "NeverRetry"}.items()


def test_a_run_is_named_by_a_prefix_or_its_key(cli: Cli, finished: Finished) -> None:
    """An id may be cut as long as it is unique, and the idempotency key names the run too."""
    one, other = finished("a", "--key", "orders/17"), finished("b")
    length = next(at for at in range(36) if one[:at] != other[:at])
    for name in (one, one[:length], one[:length].upper(), "orders/17"):
        assert cli("runs", "show", name, "--json").json["id"] == one


def test_an_ambiguous_prefix_names_the_candidates(cli: Cli, finished: Finished) -> None:
    """A prefix of several runs is refused with 4 and the runs it may be."""
    ids = [finished(text) for text in "abc"]
    said = cli("runs", "show", ids[0][:4], "--json")
    assert said.code == 4
    assert {line.split()[0] for line in said.problem["where"]} == set(ids)
    assert "Traceback" not in said.err


@pytest.mark.parametrize("name", ["ffffffff", "no-such-key", "", "\x00", "%", "a" * 300, "\ud800"])
@pytest.mark.parametrize("command", ["show", "timeline", "cancel"])
def test_a_run_that_is_not_there_is_told(command: str, name: str, cli: Cli, finished: Finished) -> None:
    """A name that fits no run ends in 3, whatever it is made of."""
    finished()
    said = cli("runs", command, name)
    assert said.code == 3
    assert said.err.startswith('E2120  There is no run "')


def test_the_timeline_tells_a_person_what_happened(cli: Cli, finished: Finished) -> None:
    """The timeline gives number, time, gap, stage, attempt, worker, reason, and how long things took."""
    said = cli("runs", "timeline", finished("flaky"), "--utc")
    assert said.out.splitlines()[2].split() == ["#", "TIME", "(UTC)", "AFTER", "STAGE", "WHAT", "HAPPENED"]
    (failed,) = lines(said, ["split", "✕ try 2 failed after", "no answer 2; next try in"])
    assert failed.split()[0] == str(said.out.splitlines().index(failed) - 2)
    assert lines(said, ["split", "▶ try 3 started on worker-"])
    assert lines(said, ["print", "◷ suspended after", "first poll in 20 ms, given up after 1 d"])
    assert lines(said, ["print", "✓ completed in", "suspended for"])
    assert lines(said, ["run", "✓ completed in"])


def test_the_timeline_of_a_live_run_ends_with_what_it_waits_for(cli: Cli, finished: Finished) -> None:
    """What is live is told below the events, with how long it has been so."""
    run_id = finished()
    assert cli("runs", "rerun", run_id, "--from", "print", "--module", "flows.py").code == 0
    (now,) = lines(cli("runs", "timeline", run_id), ["now"])
    assert "print #2" in now
    assert "ready for" in now
    assert "waits for a worker" in now


def test_the_timeline_has_the_raw_events_as_json(cli: Cli, finished: Finished) -> None:
    """With --json the events are those of the store, numbered without gaps."""
    events = cli("runs", "timeline", finished(), "--json").json["events"]
    assert [event["number"] for event in events] == list(range(1, len(events) + 1))
    assert [event["type"] for event in events] == [
        "run.created",
        "run.started",
        "stage.started",
        "stage.completed",
        "stage.started",
        "stage.suspended",
        "stage.completed",
        "run.completed",
    ]
    assert events[2]["data"]["attempt"] == 1


def test_following_a_run_that_has_ended_ends_at_once(cli: Cli, finished: Finished) -> None:
    """--follow tells every event line by line and ends with the run."""
    run_id = finished()
    said = cli("runs", "timeline", run_id, "--follow")
    assert said.code == 0
    assert len(said.out.splitlines()) == 9
    assert lines(said, ["8", "run", "✓ completed in"])
    followed = cli("runs", "timeline", run_id, "-f", "--json").json
    assert followed["run"]["status"] == "COMPLETED"
    assert len(followed["events"]) == 8


def test_a_live_run_is_cancelled_once(cli: Cli) -> None:
    """Cancelling a live run says so, with its reason in the timeline; doing it again changes nothing."""
    run_id = created(cli, "k")
    said = cli("runs", "cancel", "k", "--reason", "changed my mind", "--json")
    assert said.code == 0
    assert said.json == {"runId": run_id, "cancelled": True, "status": "CANCELLED"}
    again = cli("runs", "cancel", "k")
    assert (again.code, again.out) == (0, f"⊘ run {run_id} was cancelled before\n")
    assert lines(cli("runs", "timeline", "k"), ["⊘ cancelled: changed my mind"])


def test_a_run_that_has_ended_is_not_cancelled(cli: Cli, finished: Finished) -> None:
    """Cancelling a completed run is refused with 4."""
    said = cli("runs", "cancel", finished())
    assert said.code == 4
    assert said.err.startswith("E2130")
    assert "is COMPLETED" in said.err


def test_a_finished_run_is_done_again_from_a_stage(cli: Cli, finished: Finished) -> None:
    """A rerun opens a new generation that a worker then executes."""
    run_id = finished()
    said = cli("runs", "rerun", run_id, "--from", "print", "--module", "flows.py", "--json")
    assert said.json == {"runId": run_id, "fromStageId": "print", "generation": 2, "superseded": ["print"]}
    human = cli("runs", "show", run_id)
    assert lines(human, ["print (generation 1)", "superseded"])
    assert lines(human, ["print (generation 2)", "○ ready"])


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--from", "prnt", "--module", "flows.py"], 3, 'Did you mean "print"?'),
        (["--from", "print", "--module", "flows.py:loud"], 3, 'No workflow "words" version 1.0.0 is known here'),
        (["--from", "print"], 2, "--module"),
        (["--module", "flows.py"], 2, "--from"),
    ],
)
def test_a_rerun_that_cannot_be_is_refused(
    words: list[str], code: int, told: str, cli: Cli, finished: Finished
) -> None:
    """An unknown stage, a module without the workflow and missing options each end in their code."""
    said = cli("runs", "rerun", finished(), *words)
    assert said.code == code
    assert told in said.err


def test_a_live_run_is_not_rerun(cli: Cli) -> None:
    """A run that has not ended is refused with 4 and the way out."""
    said = cli("runs", "rerun", created(cli, "k"), "--from", "split", "--module", "flows.py")
    assert said.code == 4
    assert "Cancel it first" in said.err


def test_json_is_one_object_on_stdout(cli: Cli, finished: Finished) -> None:
    """With --json stdout is exactly one object, also when the command fails."""
    run_id = finished()
    for words in (["list"], ["show", run_id], ["timeline", run_id], ["cancel", run_id], ["show", "nope"]):
        said = cli("runs", *words, "--json")
        assert isinstance(json.loads(said.out), dict)
        if said.code:
            assert said.problem["exit"] == said.code
