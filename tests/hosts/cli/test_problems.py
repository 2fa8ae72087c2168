"""Errors as a person and a script meet them."""

from __future__ import annotations

import pytest

from holdfast import errors
from holdfast.entities.run import RunStatus
from holdfast.errors import HoldfastError
from holdfast_hosts.cli.exits import Exit
from holdfast_hosts.cli.problem import Problem, Told
from holdfast_hosts.cli.telling import exit_of, exit_of_run, problem_of


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.RunNotFound("x"), 3),
        (errors.UnknownWorkflow("x"), 3),
        (errors.UnknownStage("x", workflow_id="w"), 3),
        (errors.InvalidInput("input", ["wrong"]), 2),
        (errors.InvalidConfig("w", ["wrong"]), 2),
        (errors.PayloadTooLarge("input", size=2, limit=1), 2),
        (errors.DefinitionError("wrong"), 2),
        (errors.IllegalTransition("Run x", source="RUNNING", target="rerun"), 4),
        (errors.IdempotencyMismatch("k", command="run.create"), 4),
        (errors.UnknownWait("a", workflow="w@1", known=["b"]), 3),
        (errors.UnknownToken(), 3),
        (errors.WaitOver("a", run_id="x"), 4),
        (errors.StaleVersion("Run x", expected="1", actual="2"), 4),
        (errors.StoreUnavailable("gone"), 5),
        (errors.CommitUnknown("who knows"), 5),
        (errors.UnusableStore("sqlite:///x", why="It is foreign.", fix="Use another."), 6),
        (KeyboardInterrupt(), 130),
        (ZeroDivisionError(), 1),
    ],
)
def test_every_kind_of_error_has_its_exit_code(error: BaseException, code: int) -> None:
    """The exit code tells a script what kind of thing went wrong."""
    assert int(exit_of(error)) == code
    assert int(problem_of(error).exit) == code


def test_exit_codes_are_those_that_are_promised() -> None:
    """The exit codes are 0 to 8 and 130, and no others."""
    assert [int(code) for code in Exit] == [0, 1, 2, 3, 4, 5, 6, 7, 8, 130]


def test_a_run_that_was_waited_for_gives_the_exit_code() -> None:
    """A completed run ends in 0, any other end in 1."""
    assert exit_of_run(RunStatus.COMPLETED) == 0
    assert exit_of_run(RunStatus.FAILED) == exit_of_run(RunStatus.CANCELLED) == 1


def test_a_problem_is_told_in_one_form() -> None:
    """A problem says its code and what, then where, why and what to do."""
    problem = Problem(code="E1", what="It broke.", where=("flows.py:3  x",), why=("Rust.",), fix=("Oil it.",))
    assert problem.as_text() == "E1  It broke.\n  flows.py:3  x\n  Rust.\n  → Oil it."
    assert problem.as_json() == {
        "error": {
            "code": "E1",
            "what": "It broke.",
            "where": ["flows.py:3  x"],
            "why": ["Rust."],
            "fix": ["Oil it."],
            "exit": 1,
        }
    }


def test_no_error_of_the_tree_is_left_without_words() -> None:
    """Every error of the tree is told with its own code and without its class's name."""
    error = errors.IllegalTransition("Run 7", source="RUNNING", target="rerun", hint="Cancel it first.")
    problem = problem_of(error)
    assert (problem.code, problem.what) == ("E2130", "Run 7 is RUNNING and cannot become rerun.")
    assert problem.fix == ("Cancel it first.",)
    assert problem_of(errors.LeaseLost("job", epoch=1, actual="gone")).code == "E3002"
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, HoldfastError)]
    assert all(kind.code.startswith("E") for kind in kinds)


def test_the_cause_of_an_unavailable_store_is_told() -> None:
    """What the world said is part of the problem."""
    error = errors.StoreUnavailable("The store cannot be reached.")
    error.__cause__ = OSError("disk on fire")
    assert problem_of(error).why == ("OSError: disk on fire",)


def test_an_unforeseen_error_asks_to_be_reported() -> None:
    """An error that nobody foresaw says so and names --debug, and ends in 1."""
    problem = problem_of(ZeroDivisionError("division by zero"))
    assert "ZeroDivisionError: division by zero" in problem.what
    assert "--debug" in problem.fix[0]


def test_a_told_problem_is_passed_on() -> None:
    """A problem that a command raised is told as it is."""
    problem = Problem(code="E9", what="So.", exit=Exit.REFUSED)
    assert problem_of(Told(problem)) is problem
