"""What the command line does with words it does not understand, and with those that ask for help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

from holdfast_hosts.cli.main import main
from holdfast_hosts.cli.menu import MENU, Entry, overview

Capture = pytest.CaptureFixture[str]


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_the_overview_lists_every_command(words: list[str], capsys: Capture) -> None:
    """Without a command, and when asked, the overview names every command and exit code on stdout."""
    assert main(words) == 0
    out = capsys.readouterr().out
    for name in ("demo", "run ", "worker", "runs list", "runs timeline", "db migrate", "doctor", "130 interrupted"):
        assert name in out
    assert max(map(len, out.splitlines())) <= 108


def test_a_group_alone_is_wrong_usage(capsys: Capture) -> None:
    """A group without a command explains itself on stderr and ends in 2; asked for help it ends in 0."""
    assert main(["runs"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "timeline" in captured.err
    assert main(["runs", "--help"]) == 0
    assert "timeline" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["dmeo"], 'Did you mean "demo"?'),
        (["runs", "lst"], 'Did you mean "list"?'),
        (["runs", "list", "--limt", "3"], "Did you mean --limit?"),
        (["runs", "list", "surplus"], "takes no further argument: surplus"),
        (["runs", "list", "--limit", "many"], "many"),
        (["runs", "list", "--limit", "0"], "from 1 to 1,000"),
        (["runs", "list", "--status", "faild"], 'Did you mean "failed"?'),
        (["runs", "show"], "run"),
        (["--json", "version"], "comes after the command"),
    ],
)
def test_wrong_words_are_told_with_the_way_out(words: list[str], told: str, capsys: Capture) -> None:
    """Wrong usage ends in 2 and says on stderr what was wrong and what to do."""
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.err.startswith("E2001  ")
    assert told in captured.err
    assert "Traceback" not in captured.err


def test_wrong_usage_has_a_json_form(capsys: Capture) -> None:
    """With --json the problem is the one object on stdout."""
    assert main(["runs", "list", "--limit", "0", "--json"]) == 2
    problem = json.loads(capsys.readouterr().out)["error"]
    assert problem["code"] == "E2001"
    assert problem["exit"] == 2


@pytest.mark.parametrize("group", [entry for entry in MENU if entry.entries], ids=lambda entry: entry.word)
def test_every_group_has_an_overview(group: Entry) -> None:
    """The overview of a group names each of its commands."""
    text = overview((group.word,)) or ""
    assert all(entry.word in text for entry in group.entries)


@pytest.mark.parametrize(
    "words",
    [(entry.word, inner.word) if inner else (entry.word,) for entry in MENU for inner in entry.entries or (None,)],
    ids=" ".join,
)
def test_every_command_can_be_asked_for_help(words: tuple[str, ...], capsys: Capture) -> None:
    """Each command of the menu exists and explains the options that every command takes."""
    assert main([*words, "--help"]) == 0
    out = capsys.readouterr().out
    assert out.startswith(f"Usage: holdfast {' '.join(words)}")
    for option in ("--store", "--json", "--utc", "--debug"):
        assert option in out


def test_the_version_is_that_of_the_package(capsys: Capture) -> None:
    """The version is printed for a person and, with those below it, for a script."""
    assert main(["version"]) == 0
    name, number = capsys.readouterr().out.split()
    assert name == "holdfast"
    assert main(["version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).items() >= {"holdfast": number}.items()
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == number


def test_help_is_quick() -> None:
    """The overview is there within 300 ms of processor time and without importing what draws or parses."""
    code = (
        "import sys; from holdfast_hosts.cli.main import main; main(['--help']);"
        "heavy = {'rich', 'cyclopts', 'pydantic', 'asyncio', 'sqlite3', 'attrs', 'structlog'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    before = os.times()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    after = os.times()
    spent = after.children_user + after.children_system - before.children_user - before.children_system
    assert spent < 0.3


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """A closed pipe ends the command without a word."""
    command = f"{sys.executable} -m holdfast_hosts.cli.main version --json"
    with subprocess.Popen(command, shell=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        time.sleep(0)
        assert process.stderr.read() == b""
        assert process.wait() == 0
