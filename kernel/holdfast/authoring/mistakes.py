"""Every mistake in a workflow that is found while it is built: what is wrong, where, and the way out.

========  ==================================================================================
E2041     a stage cannot follow another: the output does not fit the input
E2042     a type whose values cannot be stored as JSON
E2043     two stages of one workflow have the same id
E2044     a stage needs one that does not stand before it
E2045     a workflow or a parallel group without stages
E2046     an annotation is missing, or names what is not defined
E2047     a function that cannot be called as a stage
E2048     an id, version or queue that is not fit to be one
E2049     a duration that is none
E2050     a batch stage that lacks a part
E2051     a config whose defaults are not valid
E2052     something that is no stage stands where a stage must
E2053     two definitions have the same id and version
========  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from holdfast.authoring.source import Source
from holdfast.codec.problems import cut
from holdfast.codec.spelling import type_name
from holdfast.entities.definition import Definition
from holdfast.errors import DefinitionError

_MAX_SHOWN = 80


@attrs.frozen
class Subject:
    """What a mistake is in, such as ``stage "split"``, and where that is written."""

    name: str
    source: Source

    def mistake(self, what: str, *, fix: str, code: str, more: Iterable[str] = ()) -> DefinitionError:
        """Return the error that says *what* of the subject."""
        return DefinitionError(
            f"{self.name[0].upper()}{self.name[1:]} {what}",
            where=[self.source.of_statement().quoted(), *more],
            fix=fix,
            code=code,
        )


@attrs.frozen(kw_only=True)
class Endpoint:
    """One end of a connection: who gives or takes a value, of which type, and where that is declared."""

    name: str
    verb: str
    annotation: Any
    source: Source

    def described(self) -> str:
        """Return the end as one line, such as ``flows.py:12  "split" returns list[str]``."""
        return self.source.of_statement().with_words(f"{self.name} {self.verb} {type_name(self.annotation)}")


def cannot_follow(given: Sequence[Endpoint], taken: Endpoint, *, call: Source) -> DefinitionError:
    """Return the error for outputs of a step that do not fit the input of the next."""
    several = len(given) > 1
    names = " and ".join(one.name for one in given)
    tuples = " The outputs of a parallel group arrive as a tuple, in order." if several else ""
    return DefinitionError(
        f"Stage {taken.name} cannot follow {names}",
        where=[call.quoted(), *(one.described() for one in given), taken.described()],
        fix=f"Change one of the types, or put a stage between them that turns one into the other.{tuples}",
        code="E2041",
    )


def duplicate_stage(stage_id: str, *, first: Source, call: Source) -> DefinitionError:
    """Return the error for two stages of one workflow that have the same id."""
    return DefinitionError(
        f'There are two stages "{stage_id}"',
        where=[call.quoted(), *([f"{first.quoted()}  (the first)"] if first != call else [])],
        fix=f'Give one of them another name: .pipe({_identifier(stage_id)}.using(name="{stage_id}-again")).',
        code="E2043",
    )


def unknown_need(need: str, subject: Subject, *, call: Source, earlier: Sequence[str], beside: bool) -> DefinitionError:
    """Return the error for a stage that needs one that does not stand before it."""
    why = "which stands beside it, not before it" if beside else "which no earlier stage has for its id"
    there = ", ".join(earlier) or "none"
    return DefinitionError(
        f'{subject.name[0].upper()}{subject.name[1:]} needs "{cut(need, _MAX_SHOWN)}", {why}',
        where=[call.quoted(), subject.source.of_statement().quoted()],
        fix=f"A stage can need those that lead to it. Before this one stand: {there}.",
        code="E2044",
    )


def empty_group(call: Source) -> DefinitionError:
    """Return the error for a parallel group without stages."""
    return DefinitionError(
        "A parallel group has no stages",
        where=[call.quoted()],
        fix="Name the stages: .parallel(first, second). With a list of them, write .parallel(*stages).",
        code="E2045",
    )


def empty_workflow(workflow_id: str, *, call: Source) -> DefinitionError:
    """Return the error for a workflow without stages."""
    return DefinitionError(
        f'Workflow "{workflow_id}" has no stages',
        where=[call.quoted()],
        fix=f'Give it at least one: workflow("{workflow_id}", …).pipe(first).',
        code="E2045",
    )


def missing_annotation(subject: Subject, *, parameter: str | None) -> DefinitionError:
    """Return the error for a missing annotation; the return annotation if *parameter* is None."""
    if parameter is None:
        what, fix = "does not say what it returns", "Annotate it, such as `-> str`; `-> None` if it returns nothing."
    elif parameter in {"ctx", "context"}:
        what = f'has no annotation for "{parameter}"'
        fix = f"Annotate it as `{parameter}: Context`, or `{parameter}: Context[Config]` for a stage with a config."
    else:
        what = f'has no annotation for "{parameter}"'
        fix = f"Annotate it with the type of the stage's input, such as `{parameter}: str`."
    return subject.mistake(what, fix=fix, code="E2046")


def misplaced_context(subject: Subject, *, parameter: str) -> DefinitionError:
    """Return the error for a context that is not where it is passed."""
    return subject.mistake(
        f'has the context "{parameter}" in the wrong place',
        fix="A stage is called with its input and then, if it takes one, the context: def stage(input, ctx).",
        code="E2047",
    )


def uncallable(subject: Subject, what: str, *, fix: str) -> DefinitionError:
    """Return the error for a function that cannot be called as a stage."""
    return subject.mistake(what, fix=fix, code="E2047")


def unfit_name(what: str, value: object, *, call: Source, fix: str = "") -> DefinitionError:
    """Return the error for an id, version or queue that is not fit to be one."""
    shown = cut(repr(value), _MAX_SHOWN)
    rule = 'It has 1 to 100 of the characters a–z, A–Z, 0–9, "-", "_" and ".", and begins with a letter, digit or "_".'
    return DefinitionError(
        f"{shown} cannot be the {what}", where=[call.quoted()], fix=f"{rule} {fix}".rstrip(), code="E2048"
    )


def unfit_duration(what: str, value: object, *, call: Source, why: str) -> DefinitionError:
    """Return the error for a duration that is none."""
    return DefinitionError(
        f"{cut(repr(value), _MAX_SHOWN)} cannot be the {what}",
        where=[call.quoted()],
        fix=f'{why} Write a timedelta, or text such as "250ms", "30s", "5m", "24h" or "7d".',
        code="E2049",
    )


def unfit_option(what: str, value: object, *, call: Source, fix: str) -> DefinitionError:
    """Return the error for an option of the wrong kind."""
    return DefinitionError(
        f"{cut(repr(value), _MAX_SHOWN)} cannot be the {what}", where=[call.quoted()], fix=fix, code="E2047"
    )


def incomplete_batch(name: str, missing: Iterable[str], *, source: Source) -> DefinitionError:
    """Return the error for a batch stage that lacks a part."""
    parts = sorted(missing)
    return DefinitionError(
        f'Batch stage "{name}" has no method {" and no method ".join(parts)}',
        where=[source.quoted()],
        fix="It needs submit(input, ctx), which returns a reference, and poll(reference, ctx), "
        "which returns the output or Pending().",
        code="E2050",
    )


def untyped_batch(subject: Subject, *, part: str) -> DefinitionError:
    """Return the error for a batch stage whose types are nowhere declared."""
    return subject.mistake(
        f"does not say the type of its {part}",
        fix="Write class Name(BatchStage[Input, Reference, Output]), or annotate submit and poll.",
        code="E2050",
    )


def two_configs(subject: Subject, first: Any, second: Any) -> DefinitionError:
    """Return the error for a batch stage whose two methods ask for different configs."""
    return subject.mistake(
        f"has the config {type_name(first)} in submit and {type_name(second)} in poll",
        fix="A stage has one config: annotate both contexts alike.",
        code="E2050",
    )


def different_references(subject: Subject, submitted: Any, polled: Any) -> DefinitionError:
    """Return the error for a batch stage whose poll does not take what submit returns."""
    return subject.mistake(
        f"returns {type_name(submitted)} from submit but takes {type_name(polled)} in poll",
        fix="The reference that submit returns is stored and handed to poll: annotate both alike.",
        code="E2050",
    )


def unfit_defaults(subject: Subject, config: str, problems: Sequence[str]) -> DefinitionError:
    """Return the error for a config whose defaults are not valid."""
    return subject.mistake(
        f"has a config, {config}, with defaults that are not valid",
        more=problems,
        fix="Give the fields defaults of their own types, or none.",
        code="E2051",
    )


def other_undoing(subject: Subject, output: Any, taken: Any) -> DefinitionError:
    """Return the error for a stage whose compensation does not take its output."""
    return subject.mistake(
        f"returns {type_name(output)}, but its compensation takes {type_name(taken)}",
        fix="The compensation is called with the output of the stage it undoes: annotate both alike.",
        code="E2041",
    )


def no_stage(value: object, *, call: Source) -> DefinitionError:
    """Return the error for something that is no stage and stands where a stage must."""
    if isinstance(value, type):
        what, fix = f"The class {value.__name__} is no stage", f"Make one of it: {value.__name__}()."
    elif callable(value):
        what = f"The function {getattr(value, '__name__', type(value).__name__)} is no stage"
        fix = "Decorate it with @stage."
    else:
        what, fix = f"A {type(value).__name__} is no stage", "Pass functions decorated with @stage, or batch stages."
    return DefinitionError(what, where=[call.quoted()], fix=fix, code="E2052")


def different_definition(definition: Definition) -> DefinitionError:
    """Return the error for two definitions that have the same id and version."""
    first = next((spec.body.source for spec in definition.stages.values() if spec.body is not None), definition.name)
    return DefinitionError(
        f"Two different workflows are registered as {definition.name}",
        where=[f"{first}  (the first stage of the second)"],
        fix="Give the changed one a new version: runs stay on the version that they were started with.",
        code="E2053",
    )


def _identifier(stage_id: str) -> str:
    return stage_id if stage_id.isidentifier() else "stage"
