"""`holdfast run`: from a module and some JSON to a run and its end."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hosts.cli.conftest import Cli

INPUT = '{"text": "a b c"}'


def test_a_run_that_is_not_waited_for_is_left_to_workers(cli: Cli) -> None:
    """Without --wait the run's id is the data, and it waits in the store."""
    said = cli("run", "flows.py:words", "--input", INPUT)
    assert said.code == 0
    run_id = said.out.strip()
    assert "holdfast worker flows.py:words" in said.err
    assert cli("runs", "show", run_id, "--json").json["status"] == "PENDING"


def test_waiting_executes_the_run_and_prints_its_output(cli: Cli) -> None:
    """With --wait the output is the data and the story goes to stderr."""
    said = cli("run", "flows.py:words", "--input", INPUT, "--wait")
    assert (said.code, said.out) == (0, "3\n")
    assert "completed in" in said.err


def test_waiting_has_a_json_form(cli: Cli) -> None:
    """With --wait and --json the run and its output are one object."""
    said = cli("run", "flows.py:words", "--input", INPUT, "--wait", "--json", "--key", "k")
    assert said.code == 0
    assert said.json.items() >= {"status": "COMPLETED", "output": 3, "key": "k", "failure": None}.items()


def test_a_failed_run_ends_in_1_and_says_why(cli: Cli) -> None:
    """A run that fails ends the command in 1, with its failure in words that cannot steer the terminal."""
    said = cli("run", "flows.py:words", "--input", '{"text": "bad"}', "--wait")
    assert (said.code, said.out) == (1, "")
    assert 'stage "split": NeverRetry: this text is bad \\x1b[31m' in said.err
    assert "holdfast runs timeline" in said.err


def test_waiting_works_without_any_file(cli: Cli, folder: Path) -> None:
    """A store in memory serves a run that is waited for, and leaves nothing behind."""
    said = cli("run", "flows.py:words", "--input", INPUT, "--wait", "--store", "memory:")
    assert (said.code, said.out) == (0, "3\n")
    assert {path.name for path in folder.iterdir()} <= {"flows.py", "__pycache__"}


def test_a_run_in_memory_has_to_be_waited_for(cli: Cli) -> None:
    """A run that nobody could ever execute is refused."""
    said = cli("run", "flows.py:words", "--input", INPUT, "--store", "memory:")
    assert said.code == 2
    assert "--wait" in said.err


def test_input_comes_from_a_file_or_from_standard_input(
    cli: Cli, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The input may stand in a file, with a byte order mark or not, or come through a pipe."""
    (folder / "in.json").write_bytes(b"\xef\xbb\xbf" + INPUT.encode())
    assert cli("run", "flows.py:words", "--input", "@in.json", "--wait").out == "3\n"
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(INPUT.encode())))
    assert cli("run", "flows.py:words", "--input", "-", "--wait").out == "3\n"


def test_config_and_version_reach_the_run(cli: Cli) -> None:
    """Config slices and the version are those that were typed."""
    config = '{"print": {"least": 9}}'
    assert cli("run", "flows.py:words", "--input", INPUT, "--wait", "--config", config).out == "9\n"
    said = cli("run", "flows.py:loud", "--input", INPUT, "--version", "2.1.0", "--wait")
    assert (said.code, said.out) == (0, '"A B C"\n')
    assert cli("run", "flows.py:loud", "--input", INPUT, "--version", "9", "--wait").code == 3


def test_the_same_key_is_the_same_run(cli: Cli) -> None:
    """A repeated request under a key gives the same run; another request under it is refused."""
    first = cli("run", "flows.py:words", "--input", INPUT, "--key", "k")
    assert cli("run", "flows.py:words", "--input", INPUT, "--key", "k").out == first.out
    other = cli("run", "flows.py:words", "--input", '{"text": "other"}', "--key", "k")
    assert other.code == 4
    assert "E3003" in other.err


def test_waiting_ends_when_the_time_is_over(cli: Cli, folder: Path) -> None:
    """When --timeout runs out the command ends in 7, names the run, and the run is not touched."""
    (folder / "slow.py").write_text(
        "import asyncio\nfrom holdfast import Context, stage, workflow\n"
        "@stage\nasync def sleep(ctx: Context) -> None:\n    await asyncio.sleep(60)\n"
        'slow = workflow("slow", input=str).pipe(sleep)\n',
        encoding="utf-8",
    )
    said = cli("run", "slow.py", "--input", '""', "--wait", "--timeout", "200ms", "--json")
    assert said.code == 7
    run_id = said.problem["what"].split()[1]
    assert cli("runs", "show", run_id, "--json").json["status"] == "RUNNING"


def test_an_interruption_names_the_run_that_goes_on(
    folder: Path, process: Callable[..., subprocess.Popen[str]], cli: Cli
) -> None:
    """Ctrl-C ends the command in 130, hands the job back and says which run goes on."""
    (folder / "slow.py").write_text(
        "import asyncio, pathlib\nfrom holdfast import Context, stage, workflow\n"
        "@stage\nasync def sleep(ctx: Context) -> None:\n"
        "    pathlib.Path('begun').touch()\n    await asyncio.sleep(60)\n"
        'slow = workflow("slow", input=str).pipe(sleep)\n',
        encoding="utf-8",
    )
    running = process("run", "slow.py", "--input", '""', "--wait")
    while not (folder / "begun").exists():
        assert running.poll() is None
        time.sleep(0.02)
    running.send_signal(signal.SIGINT)
    _, err = running.communicate(timeout=20)
    assert running.returncode == 130
    assert "Traceback" not in err
    run_id = err.split()[2]
    (stage,) = cli("runs", "show", run_id, "--json").json["stages"]
    assert (stage["status"], stage["attempt"]) == ("READY", 0)


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["nowhere.py:words"], 3, "There is no file"),
        (["flws.py:words"], 3, 'Did you mean "flows.py"?'),
        (["nowhere.at.all:words"], 3, 'There is no module "nowhere.at.all"'),
        (["flows.py:wrods"], 3, 'Did you mean "words"?'),
        (["flows.py:loud-wrds"], 3, 'Did you mean "loud-words"?'),
        (["flows.py"], 2, "holds several workflows"),
        (["json:words"], 3, "holds no workflow"),
        (["flows.py:words", "--timeout", "3s"], 2, "Add --wait"),
        (["flows.py:words", "--timeout", "soon", "--wait"], 2, "is not a duration"),
        (["flows.py:words", "--input", "@nothing.json"], 3, "nothing.json"),
        (["flows.py:words", "--input", "-", "--config", "-"], 2, "Standard input"),
        (["flows.py:words", "--config", "[]", "--input", INPUT], 2, "no JSON object"),
        (["flows.py:words", "--config", '{"prnt": {}}', "--input", INPUT], 2, "prnt"),
        (["flows.py:words", "--config", '{"print": {"least": "x"}}', "--input", INPUT], 2, "least"),
        (["flows.py:words"], 2, 'input of workflow "words"'),
        (["flows.py:words", "--input", '{"text": 7}'], 2, "text"),
        (["flows.py:words", "--input", '{"text": "a", "copies": NaN}'], 2, "not JSON"),
        (["flows.py:words", "--input", '{"text": "a", "copies": 1e999}'], 2, "input of workflow"),
        (["flows.py:words", "--input", r'{"text": "\ud800"}'], 2, "surrogate"),
        (["flows.py:words", "--input", "[" * 100_000], 2, "200 levels"),
        (["flows.py:words", "--input", "{'text': 1}"], 2, "not JSON"),
        (["flows.py:words", "--input", INPUT, "--key", "a\x1b[31m"], 2, "control characters"),
        (["flows.py:words", "--input", INPUT, "--key", ""], 2, "empty"),
        (["flows.py:words", "--input", INPUT, "--priority", "99999999999999999999999"], 2, "riority"),
    ],
)
def test_what_cannot_be_run_is_refused_at_the_edge(words: list[str], code: int, told: str, cli: Cli) -> None:
    """Bad words, modules and values each end in their code with a clear problem, and nothing is stored."""
    said = cli("run", *words)
    assert (said.code, said.out) == (code, "")
    assert told in said.err
    assert "Traceback" not in said.err
    assert cli("db", "migrate").code == 0
    assert cli("runs", "list", "--json").json["runs"] == []


def test_a_payload_above_the_limit_is_refused(cli: Cli, folder: Path) -> None:
    """An input of 50 MB is refused with both sizes, and nothing is stored."""
    (folder / "big.json").write_text(json.dumps({"text": "x" * 50_000_000}), encoding="utf-8")
    said = cli("run", "flows.py:words", "--input", "@big.json")
    assert said.code == 2
    assert "E2112" in said.err
    assert "50,000,0" in said.err
    assert cli("runs", "list", "--json").json["runs"] == []


def test_bytes_that_are_no_text_are_refused(cli: Cli, folder: Path) -> None:
    """An input file that is not UTF-8 is refused by name."""
    (folder / "in.json").write_bytes(b'{"text": "\xff"}')
    said = cli("run", "flows.py:words", "--input", "@in.json")
    assert said.code == 2
    assert "in.json" in said.err
    assert "not UTF-8" in said.err


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("import holdfast\n\n\ndef broken(:\n", "flows.py:4", "SyntaxError"),
        ("def one():\n    return 1 / 0\n\n\none()\n", "flows.py:2  return 1 / 0", "ZeroDivisionError"),
        ("import nothing_of_that_name\n", "flows.py:1", "nothing_of_that_name"),
        ("raise SystemExit(3)\n", "flows.py:1", "SystemExit"),
    ],
)
def test_a_broken_module_shows_its_own_error(text: str, line: str, told: str, cli: Cli, folder: Path) -> None:
    """A module that cannot be imported is told with its own error, file and line, and without a traceback."""
    (folder / "flows.py").write_text(text, encoding="utf-8")
    for target in ("flows.py:words", "flows:words"):
        said = cli("run", target)
        assert said.code == 2
        assert line in said.err
        assert told in said.err
        assert "Traceback" not in said.err


def test_a_definition_error_points_at_the_source(cli: Cli, folder: Path) -> None:
    """A workflow that cannot be built is told with its code, its line and the way out."""
    (folder / "flows.py").write_text(
        "from holdfast import stage, workflow\n"
        "@stage\ndef one(text: str) -> int:\n    return 1\n"
        "@stage\ndef two(words: list[str]) -> int:\n    return 2\n"
        'words = workflow("words", input=str).pipe(one).pipe(two)\n',
        encoding="utf-8",
    )
    said = cli("run", "flows.py:words", "--input", '"x"')
    assert said.code == 2
    assert said.err.startswith("E20")
    assert "flows.py:8" in said.err


def test_the_traceback_is_there_for_those_who_ask(cli: Cli, folder: Path) -> None:
    """With --debug the traceback comes before the problem."""
    (folder / "flows.py").write_text("1 / 0\n", encoding="utf-8")
    said = cli("run", "flows.py:words", "--debug")
    assert "Traceback" in said.err
    assert said.err.rstrip().splitlines()[-4].startswith("E2108")
