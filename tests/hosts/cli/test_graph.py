"""`holdfast workflows …`: lists workflows, shows one, and draws it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.hosts.cli.conftest import Cli, lines

REVIEW = """
from pydantic import BaseModel

from holdfast import stage
from holdfast.authoring.branching import otherwise, when
from holdfast.authoring.flow import line, workflow


class Decision(BaseModel):
    approved: bool


@stage
def split(text: str) -> list[str]:
    return text.split()


@stage
def label(word: str) -> str:
    return word.upper()


@stage
def publish(words: list[str]) -> str:
    return " ".join(words)


@stage
def drop(asked: tuple[list[str], Decision]) -> str:
    return "dropped"


review = (
    workflow("review", input=str, version="2.0.0", description="Labels words.")
    .pipe(split)
    .map(label, limit=8)
    .branch(
        when(lambda words: len(words) < 3, publish, priority=10),
        otherwise(line(list[str]).wait_for("approval", Decision, timeout="7d").pipe(drop)),
    )
)
"""


@pytest.fixture(autouse=True)
def review(folder: Path) -> None:
    """Put the workflow that is drawn beside the others."""
    (folder / "review.py").write_text(REVIEW, encoding="utf-8")


def test_workflows_are_listed(cli: Cli) -> None:
    """The list holds the workflows of all modules with what they take and give."""
    said = cli("workflows", "list", "flows.py", "review.py")
    assert said.code == 0
    assert lines(said, ["loud-words", "2.1.0", "Doc", "str", "1"])
    assert lines(said, ["review", "2.0.0", "str", "5", "Labels words."])
    shown = cli("workflows", "list", "flows.py", "--json").json["workflows"]
    assert [(one["id"], one["version"]) for one in shown] == [("loud-words", "2.1.0"), ("words", "1.0.0")]


def test_a_list_needs_a_module(cli: Cli) -> None:
    """Without a module there is nothing to list."""
    said = cli("workflows", "list")
    assert said.code == 2
    assert said.err.startswith("E2001  No module is named.")


def test_a_workflow_is_shown_with_its_stages(cli: Cli) -> None:
    """The page holds what the author wrote; the JSON all of the compiled workflow."""
    said = cli("workflows", "show", "review.py")
    assert lines(said, ["approval", "wait", "7 d"])
    assert lines(said, ["label", "stage, each item"])
    assert "~" not in said.out
    shown = cli("workflows", "show", "review.py", "--json").json
    assert [one["id"] for one in shown["stages"]][:4] == ["split", "label~split", "label", "label~join"]
    assert {"len(words) < 3", None} == {one["condition"] for one in shown["edges"]}


def test_an_unknown_version_is_not_found(cli: Cli) -> None:
    """A version that the module lacks ends in 3."""
    assert cli("workflows", "graph", "review.py", "--version", "9.9.9").code == 3
    assert cli("workflows", "show", "review.py", "--version", "9.9.9").code == 3


def test_a_workflow_is_drawn_for_mermaid(cli: Cli) -> None:
    """Without a format the drawing is Mermaid text on stdout, with each condition as its author wrote it."""
    said = cli("workflows", "graph", "review.py")
    assert said.code == 0
    assert "flowchart TD" in said.out
    for part in ('["label<br/>× each item, limit 8"]', '|"len(words) #60; 3 · priority 10"|', '{{"approval<br/>'):
        assert part in said.out
    assert "~" not in said.out


def test_a_drawing_goes_to_a_file(cli: Cli, folder: Path) -> None:
    """The file's name says the form unless --format does; stdout stays empty."""
    said = cli("workflows", "graph", "review.py", "--output", "review.svg")
    assert said.out == ""
    assert "review@2.0.0 is drawn in review.svg" in said.err
    assert ET.fromstring((folder / "review.svg").read_text(encoding="utf-8")).get("role") == "img"
    assert cli("workflows", "graph", "review.py", "--format", "mermaid", "--output", "other.svg").code == 0
    assert (folder / "other.svg").read_text(encoding="utf-8").startswith("---\n")


def test_a_drawing_that_cannot_be_written_is_told(cli: Cli) -> None:
    """A file in a folder that is not there is an error that names it."""
    said = cli("workflows", "graph", "review.py", "--output", "nowhere/review.svg", "--json")
    assert said.code == 2
    assert said.problem["code"] == "E2003"
    assert "nowhere/review.svg" in said.problem["what"]


def test_a_drawing_has_a_json_form(cli: Cli) -> None:
    """With --json the drawing is a text in the one object."""
    said = cli("workflows", "graph", "review.py", "--format", "svg", "--json").json
    assert (said["workflowId"], said["workflowVersion"], said["format"]) == ("review", "2.0.0", "svg")
    assert said["graph"].startswith("<svg")


def test_a_run_shows_which_ways_it_took(cli: Cli) -> None:
    """Nodes tell what became of them, taken arrows are thick, and a map counts its items."""
    assert cli("run", "review.py", "--input", '"a b"', "--key", "short", "--wait").code == 0
    said = cli("workflows", "graph", "review.py", "--run", "short")
    assert said.code == 0
    assert 'title: "review 2.0.0 · short completed"' in said.out
    assert '["label<br/>× each item, limit 8<br/>2 completed"]:::completed' in said.out
    assert '["publish<br/>completed"]:::completed' in said.out
    assert '["drop<br/>skipped"]:::skipped' in said.out
    assert '==>|"len(words) #60; 3 · priority 10"|' in said.out
    assert '-->|"otherwise"|' in said.out
    svg = ET.fromstring(cli("workflows", "graph", "review.py", "--run", "short", "--format", "svg").out)
    assert "publish: completed" in (svg.findtext("{http://www.w3.org/2000/svg}desc") or "")


def test_a_run_that_has_not_begun_shows_what_is_ahead(cli: Cli) -> None:
    """Nothing of a run that nobody has executed was reached yet."""
    cli("run", "review.py", "--input", '"a b"', "--key", "later")
    said = cli("workflows", "graph", "review.py", "--run", "later")
    assert 'title: "review 2.0.0 · later pending"' in said.out
    assert '["publish<br/>not reached yet"]:::pending' in said.out
    assert "==>" not in said.out


def test_a_run_of_another_workflow_is_refused(cli: Cli) -> None:
    """A run is drawn on its own workflow, in its own version."""
    cli("run", "flows.py:words", "--input", '{"text": "a"}', "--key", "other")
    said = cli("workflows", "graph", "review.py", "--run", "other")
    assert said.code == 2
    assert "is one of words, not of review" in said.err
    said = cli("workflows", "graph", "review.py", "--run", "other", "--version", "2.0.0")
    assert said.err.startswith("E2001  --run says which version is drawn.")
