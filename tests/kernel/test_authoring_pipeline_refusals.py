"""Mistakes in branches, joins and lines: found where they are written, with the way out."""

from __future__ import annotations

from typing import Any, cast

import pytest

from holdfast.authoring.branching import otherwise, when
from holdfast.authoring.flow import line, workflow
from holdfast.authoring.stage import stage
from tests.kernel.written import double, is_long, joined, label, measure, mistake, shorten, split


def begun() -> Any:
    return workflow("w", input=str)


def test_branch_without_cases_is_refused() -> None:
    """A branch needs a case with a condition; an otherwise alone is none."""
    for build in (lambda: begun().branch(), lambda: begun().branch(otherwise(label))):
        mistake(build, code="E2055", says="no case with a condition", fix="when(lambda output: …, first)")


def test_branch_without_otherwise_is_refused() -> None:
    """A branch says what follows if no condition is true."""
    error = mistake(
        lambda: begun().branch(when(is_long, label)),
        code="E2055",
        says="if no condition is true",
        fix="Add otherwise(stage)",
    )
    assert "when(is_long, label)" in error.where[0]


def test_branch_with_two_otherwise_is_refused() -> None:
    """Only one case can be taken when no condition is true."""
    mistake(
        lambda: begun().branch(when(is_long, label), otherwise(shorten), otherwise(measure)),
        code="E2055",
        says="more than one otherwise",
        fix="Keep one",
    )


def test_stage_in_place_of_a_case_is_refused() -> None:
    """A branch takes cases, not stages."""
    mistake(lambda: begun().branch(label), code="E2055", says="A SyncStage is no case", fix="otherwise(second)")


def test_case_that_leads_to_no_stage_is_refused() -> None:
    """A case leads to a stage or line."""
    mistake(
        lambda: begun().branch(when(is_long, cast("Any", len)), otherwise(label)),
        code="E2052",
        says="The function len is no stage",
        fix="@stage",
    )


def test_same_condition_twice_is_refused() -> None:
    """Two cases that are always true together can never be told apart; with another priority they can."""
    mistake(
        lambda: begun().branch(when(is_long, label), when(is_long, shorten), otherwise(measure)),
        code="E2057",
        says="the same condition, is_long,",
        fix="higher priority",
    )
    flow = begun().branch(when(is_long, label), when(is_long, shorten, priority=1), otherwise(measure))
    assert [edge.priority for edge in flow.definition().edges[1:4]] == [0, 1, -1]


def test_condition_that_is_no_function_is_refused() -> None:
    """A condition is a function."""
    mistake(
        lambda: when(cast("Any", True), label),
        code="E2054",
        says="True cannot be a condition",
        fix="lambda report: report.sure",
    )
    mistake(lambda: when(cast("Any", str), label), code="E2054", says="cannot be a condition", fix="lambda report")


def test_condition_that_is_async_is_refused() -> None:
    """A condition answers at once."""

    async def later(text: str) -> bool:
        return True

    error = mistake(lambda: when(later, label), code="E2054", says='"later" is async', fix="answers at once")
    assert "async def later" in error.where[1]


def test_condition_with_other_parameters_is_refused() -> None:
    """A condition takes the output and at most the run."""

    def nothing() -> bool:
        return True

    def much(text: str, run: object, more: object) -> bool:
        return True

    says, fix = "takes the output and", "lambda output, run"
    mistake(lambda: when(cast("Any", nothing), label), code="E2054", says=says, fix=fix)
    mistake(lambda: when(cast("Any", much), label), code="E2054", says=says, fix=fix)


def test_condition_with_defaults_is_called_with_the_output_alone() -> None:
    """A second parameter that has a default does not ask for the run."""

    def longer(text: str, limit: int = 3) -> bool:
        return len(text) > limit

    case = when(longer, label)
    assert case.condition is not None
    assert not case.condition.takes_run


@pytest.mark.parametrize("priority", ["1", 1.5, None, True], ids=repr)
def test_priority_that_is_no_whole_number_is_refused(priority: Any) -> None:
    """A priority is a whole number, of any sign."""
    mistake(
        lambda: when(is_long, label, priority=priority), code="E2047", says="priority of an edge", fix="whole number"
    )
    assert when(is_long, label, priority=-5).priority == -5


def test_case_of_other_input_is_refused() -> None:
    """What arrives at a branch has to fit every case, also behind a fork."""
    mistake(
        lambda: begun().branch(when(is_long, label), otherwise(double)),
        code="E2041",
        says='"double" cannot follow the input of workflow "w"',
        fix="Change one of the types",
    )
    mistake(
        lambda: begun().pipe(measure).branch(when(lambda n: n, double), otherwise(label)),
        code="E2041",
        says='"label" cannot follow "measure"',
        fix="Change one of the types",
    )


def test_stage_behind_a_branch_that_cannot_take_every_case_is_refused() -> None:
    """What follows a branch has to take what any of the cases gives, and the one that does not fit is named."""
    error = mistake(
        lambda: begun().branch(when(is_long, label), otherwise(measure)).pipe(double),
        code="E2041",
        says='"double" cannot follow "label"',
        fix="Change one of the types",
    )
    assert error.where[1].endswith('  "label" returns str')


def test_duplicate_ids_across_cases_and_lines_are_refused() -> None:
    """Two stages of one id are refused wherever they stand, also when a line brings one of them."""
    fix = 'label.using(name="label-again")'
    says = 'two stages "label"'
    mistake(lambda: begun().branch(when(is_long, label), otherwise(label)), code="E2043", says=says, fix=fix)
    words_line = line(str).pipe(label)
    mistake(lambda: begun().pipe(words_line).pipe(words_line), code="E2043", says=says, fix=fix)
    mistake(lambda: begun().parallel(words_line, label), code="E2043", says=says, fix=fix)
    mistake(
        lambda: begun().pipe(split).map(label).wait_for("label", int),
        code="E2043",
        says=says,
        fix=fix,
    )


def test_line_of_other_input_is_refused() -> None:
    """What arrives has to fit what a line says it takes, whatever its first stage would take."""
    for build in (
        lambda: begun().pipe(line(int).pipe(double)),
        lambda: begun().pipe(line(int)),
        lambda: begun().parallel(label, line(int)),
        lambda: begun().branch(when(is_long, label), otherwise(line(int))),
        lambda: begun().pipe(split).map(line(int).pipe(double)),
        lambda: begun().wait_for("go", int, timeout="1h", on_timeout=line(int).pipe(double)),
    ):
        mistake(build, code="E2041", says="a line cannot follow", fix="Change one of the types")


def test_workflow_in_place_of_a_line_is_refused() -> None:
    """A whole workflow is no part of another one."""
    inner = workflow("inner", input=str).pipe(label)
    mistake(lambda: begun().pipe(inner), code="E2066", says='Workflow "inner" cannot stand', fix="line(Type)")


def test_line_in_place_of_a_workflow_is_refused() -> None:
    """A line has no definition of its own."""
    mistake(
        lambda: line(str).pipe(label).definition(),
        code="E2066",
        says="not one itself",
        fix='workflow("id", input=Type)',
    )
    assert line(str).is_line
    assert not workflow("w", input=str).is_line


def test_group_that_needs_more_than_it_has_is_refused() -> None:
    """A group of two cannot need three."""
    mistake(
        lambda: begun().parallel(label, measure, need=3),
        code="E2061",
        says="A parallel group of 2 needs 3",
        fix="need=2 or less",
    )


def test_group_that_tolerates_more_than_it_has_is_refused() -> None:
    """A group of two cannot tolerate three failures."""
    flow = begun().parallel(label, measure, tolerate=3)
    mistake(flow.definition, code="E2061", says="tolerates 3 failures, and 2 ways lead to it", fix="tolerate=2 or less")


@pytest.mark.parametrize("number", [0, -1, "1", 1.5, True], ids=repr)
def test_bad_numbers_of_joins_are_refused(number: Any) -> None:
    """A join needs one or more, and tolerates none or more."""
    mistake(
        lambda: begun().parallel(label, measure, need=number),
        code="E2047",
        says="number of stages that a join needs",
        fix="1 or more",
    )
    if number != 0:
        mistake(
            lambda: begun().parallel(label, measure, tolerate=number),
            code="E2047",
            says="number of failures that a join tolerates",
            fix="0 or more",
        )


def test_stage_behind_a_lenient_group_has_to_take_none() -> None:
    """A member that may be absent is None, and what follows has to take that."""

    @stage
    def strict(both: tuple[str, int]) -> int:
        return 1

    mistake(
        lambda: begun().parallel(label, measure, tolerate=1).pipe(strict),
        code="E2041",
        says='"strict" cannot follow "label" and "measure"',
        fix="tuple, in order",
    )


def test_need_of_a_stage_in_another_case_is_refused() -> None:
    """A stage can need those on its way only; another case is never on it."""

    @stage(needs=[label])
    def wanting(text: str) -> int:
        return 1

    error = mistake(
        lambda: begun().pipe(split).map(shorten).pipe(joined).branch(when(is_long, label), otherwise(wanting)),
        code="E2044",
        says="which stands beside it, not before it",
        fix="Before this one stand: split, shorten, joined.",
    )
    assert "def wanting" in error.where[1]


def test_compensation_in_a_workflow_that_undoes_nothing_is_refused() -> None:
    """A stage that can be undone is a hint that the workflow should say so."""

    def undo(number: int) -> None: ...

    @stage(compensate=undo)
    def book(text: str) -> int:
        return 1

    error = mistake(lambda: begun().pipe(book), code="E2064", says='workflow "w" undoes nothing', fix="compensate=True")
    assert ".pipe(book)" in error.where[0]


def test_bad_step_limit_is_refused() -> None:
    """A run has at least one step."""
    mistake(
        lambda: workflow("w", input=str, step_limit=0), code="E2047", says='step_limit of workflow "w"', fix="1 or more"
    )
