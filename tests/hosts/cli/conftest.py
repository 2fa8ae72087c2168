"""A command line in a folder of its own, called in this process or as one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import pytest
import structlog

from holdfast_hosts.cli.main import main

#: Workflows that end quickly in every way that a run can end.
FLOWS: Final = """
from pydantic import BaseModel

from holdfast import BatchStage, Context, NeverRetry, Pending, Retry, stage, workflow


class Doc(BaseModel):
    text: str
    copies: int = 1


class Size(BaseModel):
    least: int = 0


@stage(retry=Retry(3, base="10ms"))
async def split(doc: Doc, ctx: Context) -> list[str]:
    ctx.log("splitting", copies=doc.copies)
    if doc.text == "bad":
        raise NeverRetry("this text is bad \\x1b[31m")
    if doc.text == "flaky" and ctx.attempt < 3:
        raise ConnectionError(f"no answer {ctx.attempt}")
    return doc.text.split() * doc.copies


class Print(BatchStage[list[str], str, int]):
    name = "print"
    poll_every = "20ms"

    async def submit(self, words: list[str], ctx: Context[Size]) -> str:
        return str(max(len(words), ctx.config.least))

    async def poll(self, reference: str, ctx: Context[Size]) -> int | Pending:
        return int(reference)


words = workflow("words", input=Doc).pipe(split).pipe(Print())


@stage
async def shout(doc: Doc) -> str:
    return doc.text.upper()


loud = workflow("loud-words", input=Doc, version="2.1.0").pipe(shout)
"""


@attrs.frozen(kw_only=True)
class Said:
    """What a command said, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one object on stdout."""
        return json.loads(self.out)

    @property
    def problem(self) -> Any:
        """The problem in that object."""
        return self.json["error"]


Cli = Callable[..., Said]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Work in a folder of its own, with the workflows in flows.py; leave the process as it was."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HOLDFAST_STORE", raising=False)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "flows.py").write_text(FLOWS, encoding="utf-8")
    logging, modules = structlog.get_config(), set(sys.modules)
    yield tmp_path
    structlog.configure(**logging)
    for name in set(sys.modules) - modules:
        if (getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """Call the command line in this process."""

    def call(*words: str) -> Said:
        capsys.readouterr()
        code = main(words)
        captured = capsys.readouterr()
        return Said(code=code, out=captured.out, err=captured.err)

    return call


def start(*words: str, cwd: Path) -> subprocess.Popen[str]:
    """Start the command line as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "holdfast_hosts.cli.main", *words],
        cwd=cwd,
        env={name: value for name, value in os.environ.items() if name != "HOLDFAST_STORE"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def process(folder: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start command lines as processes of their own in the test's folder; none outlives the test."""
    started: list[subprocess.Popen[str]] = []

    def call(*words: str) -> subprocess.Popen[str]:
        started.append(start(*words, cwd=folder))
        return started[-1]

    yield call
    for one in started:
        if one.poll() is None:
            one.kill()
        one.communicate()


@pytest.fixture
def finished(cli: Cli) -> Callable[..., str]:
    """Run the sample workflow to its end and return the run's id."""

    def call(text: str = "a b c", *words: str) -> str:
        said = cli("run", "flows.py:words", "--input", json.dumps({"text": text}), "--wait", "--json", *words)
        assert said.code in {0, 1}, said.err
        run_id: str = said.json["id"]
        return run_id

    return call


def lines(said: Said, words: Sequence[str]) -> list[str]:
    """Return the lines of stdout that hold all of *words*."""
    return [line for line in said.out.splitlines() if all(word in line for word in words)]
