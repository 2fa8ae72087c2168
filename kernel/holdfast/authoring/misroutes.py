"""Every mistake in how the stages of a workflow are connected: what is wrong, where, and the way out.

========  ==================================================================================
E2054     a function that cannot be the condition of an edge
E2055     a branch without a case, without an otherwise, or with several
E2056     several edges of one stage are taken otherwise
E2057     an edge that can never be taken, or the same one twice
E2058     a stage behind which no edge would match
E2059     a stage that nothing leads to, or that leads nowhere
E2060     a loop that cannot be followed
E2061     a join that cannot come true, or stands where none can
E2062     a map over something that is no list, or a map within a map
E2063     two waits of one workflow have the same name
E2064     a stage that can be undone, in a workflow that undoes nothing
E2065     the stages that lead to a stage do not make up its input
E2066     a workflow where a line must stand, or a line where a workflow must
E2067     an edge for a timeout, of something that has none
========  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from holdfast.authoring.mistakes import Endpoint
from holdfast.authoring.source import Source, source_of
from holdfast.codec.problems import cut
from holdfast.codec.spelling import type_name
from holdfast.errors import DefinitionError

_MAX_SHOWN = 80


def _named(stage_ids: Iterable[str]) -> str:
    return " and ".join(f'"{stage_id}"' for stage_id in stage_ids)


def no_condition(value: object, *, call: Source) -> DefinitionError:
    """Return the error for something that is no function and stands where a condition must."""
    return DefinitionError(
        f"{cut(repr(value), _MAX_SHOWN)} cannot be a condition",
        where=[call.quoted()],
        fix="Write a function of the output, such as lambda report: report.sure.",
        code="E2054",
    )


def late_condition(function: Any, *, call: Source) -> DefinitionError:
    """Return the error for a condition that does not answer at once."""
    return DefinitionError(
        f'The condition "{getattr(function, "__name__", "condition")}" is async or a generator',
        where=[call.quoted(), source_of(function).of_statement().quoted()],
        fix="A condition answers at once, from the output alone. Let a stage before it find out what takes time.",
        code="E2054",
    )


def uncallable_condition(function: Any, *, call: Source) -> DefinitionError:
    """Return the error for a condition of other parameters."""
    return DefinitionError(
        "A condition takes the output and, if it wants, what the run knows, and nothing else",
        where=[call.quoted(), source_of(function).quoted()],
        fix='Write lambda output: …, or lambda output, run: … for one that looks at run.state or run.output("stage").',
        code="E2054",
    )


def no_case(value: object, *, call: Source) -> DefinitionError:
    """Return the error for something that is no case and stands in a branch."""
    return DefinitionError(
        f"A {type(value).__name__} is no case of a branch",
        where=[call.quoted()],
        fix="Write .branch(when(lambda output: …, first), otherwise(second)).",
        code="E2055",
    )


def empty_branch(*, call: Source) -> DefinitionError:
    """Return the error for a branch without a condition."""
    return DefinitionError(
        "A branch has no case with a condition",
        where=[call.quoted()],
        fix="Write .branch(when(lambda output: …, first), otherwise(second)); a stage that always follows is piped.",
        code="E2055",
    )


def branch_without_otherwise(*, call: Source) -> DefinitionError:
    """Return the error for a branch that does not say what follows if no condition is true."""
    return DefinitionError(
        "A branch does not say what follows if no condition is true",
        where=[call.quoted()],
        fix="Add otherwise(stage). To go on with the value as it is, write otherwise(line(Type)).",
        code="E2055",
    )


def two_otherwise(*, call: Source) -> DefinitionError:
    """Return the error for a branch with several cases that have no condition."""
    return DefinitionError(
        "A branch has more than one otherwise(…)",
        where=[call.quoted()],
        fix="Keep one; give the others a condition by when(…).",
        code="E2055",
    )


def same_case_twice(*, label: str, first: Source, call: Source) -> DefinitionError:
    """Return the error for two cases of a branch that are always true together."""
    return DefinitionError(
        f"Two cases of a branch have the same condition, {label}, and the same priority",
        where=[call.quoted(), f"{first.quoted()}  (the first)"],
        fix="Leave one out, or give one a higher priority.",
        code="E2057",
    )


def two_defaults(source: str, *, on: str, first: Source, call: Source) -> DefinitionError:
    """Return the error for two edges of one stage that are both taken otherwise."""
    kind = " for the timeout" if on == "timeout" else ""
    return DefinitionError(
        f'Two edges{kind} that lead away from "{source}" have no condition',
        where=[call.quoted(), f"{first.quoted()}  (the first)"],
        fix="Of the edges of a stage one is taken. Give all but one a condition, or make them one edge that leads to "
        "both: .edge(stage, (first, second)).",
        code="E2056",
    )


def shadowed(source: str, *, priority: int, label: str, other: int, call: Source) -> DefinitionError:
    """Return the error for an edge that a condition-less one of a priority as high always goes before."""
    return DefinitionError(
        f'The edge away from "{source}" if {label}, of priority {other}, could never be taken',
        where=[call.quoted()],
        fix=f"The edge without a condition has priority {priority} and goes before. Give it none: it is then the last.",
        code="E2057",
    )


def same_edge_twice(source: str, *, label: str, first: Source, call: Source) -> DefinitionError:
    """Return the error for two edges of one stage that are always true together."""
    return DefinitionError(
        f'Two edges away from "{source}" have the same condition, {label}, and the same priority',
        where=[call.quoted(), f"{first.quoted()}  (the first)"],
        fix="Leave one out, give one a higher priority, or make them one edge that leads to both targets.",
        code="E2057",
    )


def no_default(source: str, *, on: str, call: Source) -> DefinitionError:
    """Return the error for a stage whose edges all have conditions."""
    if on == "timeout":
        return DefinitionError(
            f'No edge away from "{source}" is taken if it times out and no condition is true',
            where=[call.quoted()],
            fix='Add one without a condition: .edge(wait, stage, on="timeout").',
            code="E2058",
        )
    return DefinitionError(
        f'No edge away from "{source}" is taken if no condition is true',
        where=[call.quoted()],
        fix="Add one without a condition: .edge(stage, other), or .end(stage) to end the run there.",
        code="E2058",
    )


def no_entry(name: str, *, call: Source) -> DefinitionError:
    """Return the error for a graph that does not say where it begins."""
    return DefinitionError(
        f"{name[0].upper()}{name[1:]} does not say where it begins",
        where=[call.quoted()],
        fix="Name the stages that begin: .entry(first).",
        code="E2059",
    )


def unreachable(stage_ids: Sequence[str], *, call: Source) -> DefinitionError:
    """Return the error for stages that nothing leads to."""
    return DefinitionError(
        f"No way leads from the beginning to {_named(stage_ids)}",
        where=[call.quoted()],
        fix="Add an edge that leads there, name it in .entry(…), or leave it out.",
        code="E2059",
    )


def dead_end(stage_id: str, *, call: Source) -> DefinitionError:
    """Return the error for a stage that no edge leads away from."""
    return DefinitionError(
        f'No edge leads away from "{stage_id}"',
        where=[call.quoted()],
        fix="Say what follows: .edge(stage, other), or .end(stage) to end the run there.",
        code="E2059",
    )


def no_way_out(stage_ids: Sequence[str], *, call: Source) -> DefinitionError:
    """Return the error for stages from which the end cannot be reached."""
    return DefinitionError(
        f"No way leads from {_named(stage_ids)} to the end",
        where=[call.quoted()],
        fix="Add an edge that leads out of the loop, or .end(stage).",
        code="E2059",
    )


def unknown_node(stage_id: str, *, known: Iterable[str], call: Source) -> DefinitionError:
    """Return the error for an edge to something that is no stage of the workflow."""
    return DefinitionError(
        f'An edge leads to or from "{cut(stage_id, _MAX_SHOWN)}", which is no stage of the workflow',
        where=[call.quoted()],
        fix=f"Its stages are: {', '.join(known) or 'none'}.",
        code="E2059",
    )


def bad_loop(problem: str, stage_ids: Sequence[str], *, call: Source, fix: str) -> DefinitionError:
    """Return the error for a loop that cannot be followed."""
    return DefinitionError(f"{problem}: {_named(stage_ids)}", where=[call.quoted()], fix=fix, code="E2060")


def bad_join(stage_id: str, problem: str, *, call: Source, fix: str) -> DefinitionError:
    """Return the error for a join that cannot come true."""
    return DefinitionError(f'The join before "{stage_id}" {problem}', where=[call.quoted()], fix=fix, code="E2061")


def too_many_needed(need: int, members: int, *, call: Source) -> DefinitionError:
    """Return the error for a parallel group that needs more stages than it has."""
    return DefinitionError(
        f"A parallel group of {members} needs {need}",
        where=[call.quoted()],
        fix=f"Ask for need={members} or less.",
        code="E2061",
    )


def several_ends(annotation: Any, given: Sequence[Endpoint], taken: Endpoint, *, call: Source) -> DefinitionError:
    """Return the error for a run that ends in several places at once and whose output is not a list."""
    return DefinitionError(
        f"Several ends can be reached in one run, which then gives {type_name(annotation)}",
        where=[call.quoted(), *(one.described() for one in given), taken.described()],
        fix="Let the ways meet in one stage before the end, or declare a list as the output.",
        code="E2065",
    )


def no_list(annotation: Any, given: Sequence[Endpoint], *, call: Source) -> DefinitionError:
    """Return the error for a map over something that is no list."""
    return DefinitionError(
        f"A map takes a list, not {type_name(annotation)}",
        where=[call.quoted(), *(one.described() for one in given)],
        fix="Let the stage before it return a list; .pipe(stage) calls a stage once with the whole value.",
        code="E2062",
    )


def empty_map(*, call: Source) -> DefinitionError:
    """Return the error for a map of a line without stages."""
    return DefinitionError(
        "A map has no stages",
        where=[call.quoted()],
        fix="Give the line at least one: .map(line(Item).pipe(first)).",
        code="E2062",
    )


def nested_map(*, call: Source) -> DefinitionError:
    """Return the error for a map within a map."""
    return DefinitionError(
        "A map stands within a map",
        where=[call.quoted()],
        fix="Let a stage flatten the lists first, or start a child run for each item: "
        'await ctx.call("item", workflow, item).',
        code="E2062",
    )


def two_waits(name: str, *, first: Source, call: Source) -> DefinitionError:
    """Return the error for two waits of one name."""
    return DefinitionError(
        f'Two waits of the workflow are called "{name}"',
        where=[call.quoted(), *([f"{first.quoted()}  (the first)"] if first != call else [])],
        fix="Payloads are addressed by run and name: call one of them something else.",
        code="E2063",
    )


def never_undone(stage_id: str, workflow: str, *, call: Source) -> DefinitionError:
    """Return the error for a stage that can be undone, in a workflow that undoes nothing."""
    return DefinitionError(
        f'Stage "{stage_id}" has compensate=…, but {workflow} undoes nothing',
        where=[call.quoted()],
        fix="Begin the workflow with compensate=True.",
        code="E2064",
    )


def named_unfit(
    stage_id: str, problem: str, *, given: Sequence[Endpoint], taken: Endpoint, call: Source
) -> DefinitionError:
    """Return the error for a stage that several lead to at once and whose input they do not make up."""
    return DefinitionError(
        f'Several stages lead to "{stage_id}" at once, and its input {problem}',
        where=[call.quoted(), *(one.described() for one in given), taken.described()],
        fix="Such a stage takes an object of their outputs by stage id: a dict, or a model or TypedDict with a field "
        "for each of them.",
        code="E2065",
    )


def workflow_in_line(workflow_id: str, *, call: Source) -> DefinitionError:
    """Return the error for a workflow that stands where a stage or a line must."""
    return DefinitionError(
        f'Workflow "{workflow_id}" cannot stand in another one',
        where=[call.quoted()],
        fix="Begin it with line(Type) instead of workflow(…), or let a stage start it as a child run: "
        'await ctx.call("name", workflow, input).',
        code="E2066",
    )


def line_as_workflow(*, call: Source) -> DefinitionError:
    """Return the error for a line that stands where a workflow must."""
    return DefinitionError(
        "A line is a part of workflows, not one itself",
        where=[call.quoted()],
        fix='Begin with workflow("id", input=Type) instead of line(Type), or pipe the line into a workflow.',
        code="E2066",
    )


def line_in_graph(*, call: Source) -> DefinitionError:
    """Return the error for a line that stands where a node of a graph must."""
    return DefinitionError(
        "A line is no node of a graph",
        where=[call.quoted()],
        fix="Connect its stages by edges. In .map(…) a line can stand.",
        code="E2066",
    )


def empty_edge(*, call: Source) -> DefinitionError:
    """Return the error for an edge that leads from or to nothing."""
    return DefinitionError(
        "An edge leads from or to nothing",
        where=[call.quoted()],
        fix="Name at least one stage on either side: .edge(first, second), or .edge(first, (second, third)).",
        code="E2059",
    )


def not_a_pipeline(workflow_id: str, *, call: Source) -> DefinitionError:
    """Return the error for a graph that is built further as if it were a pipeline."""
    return DefinitionError(
        f'Graph "{workflow_id}" is no pipeline',
        where=[call.quoted()],
        fix="Connect its stages by .edge(first, second).",
        code="E2066",
    )


def no_timeout(stage_id: str, *, call: Source) -> DefinitionError:
    """Return the error for an edge for a timeout that never comes."""
    return DefinitionError(
        f'An edge away from "{stage_id}" is for a timeout, which it does not have',
        where=[call.quoted()],
        fix='Give the wait a limit: Graph.wait("name", Payload, timeout="7d"). Only waits time out.',
        code="E2067",
    )


def timeout_without_limit(name: str, *, call: Source) -> DefinitionError:
    """Return the error for a wait that says what follows a timeout and has none."""
    return DefinitionError(
        f'The wait "{name}" has on_timeout=… but no timeout=…',
        where=[call.quoted()],
        fix='Say how long it waits, such as timeout="7d".',
        code="E2067",
    )
