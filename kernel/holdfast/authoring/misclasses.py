"""The mistakes in a flow class: what is wrong, where, and the way out.

========  ==================================================================================
E2068     a class that cannot be a workflow, or is used as one without `flow`
E2069     a flow class without entry, or with two
E2070     an edge of a flow class that leads away from or to what is no node
========  ==================================================================================
"""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.authoring.mistakes import Subject
from holdfast.authoring.source import Source, source_of_class
from holdfast.codec.problems import cut
from holdfast.errors import DefinitionError

_MAX_SHOWN = 80


def no_workflow(value: object) -> DefinitionError:
    """Return the error for something that stands where a workflow must and is none."""
    if isinstance(value, type):
        return _of_class(value).mistake("is no workflow", fix='Decorate it: @flow("order", "1.0.0").', code="E2068")
    return DefinitionError(
        f"{cut(repr(value), _MAX_SHOWN)} is no workflow",
        where=[],
        fix="Pass what workflow(…) or Graph(…) built, a class decorated with @flow, or a definition.",
        code="E2068",
    )


def no_class(value: object, *, call: Source) -> DefinitionError:
    """Return the error for a flow made of something that is no class."""
    return DefinitionError(
        f"{cut(repr(value), _MAX_SHOWN)} is no class",
        where=[call.quoted()],
        fix="Write @flow above a class; above a function, write @workflow(…).",
        code="E2068",
    )


def complete(subject: Subject, *, call: Source) -> DefinitionError:
    """Return the error for a step that is to be put behind a flow class."""
    return subject.mistake(
        "is written as a class, which nothing can be put behind",
        more=[call.quoted()],
        fix="Write what follows as a node of the class, and lead to it by @edge.",
        code="E2068",
    )


def unmakeable(kind: type, why: str) -> DefinitionError:
    """Return the error for a flow class of which no instance can be made."""
    return _of_class(kind).mistake(
        f"cannot be made without arguments: {cut(why, 400)}",
        fix="A flow class is instantiated once, without arguments. What its nodes need from outside, "
        "they find in ctx.services and in their config.",
        code="E2068",
    )


def no_nodes(subject: Subject) -> DefinitionError:
    """Return the error for a flow class without nodes."""
    return subject.mistake(
        "has no nodes", fix="Write @node above the methods that its runs execute, and @entry above one.", code="E2045"
    )


def no_entry(subject: Subject, ids: Sequence[str]) -> DefinitionError:
    """Return the error for a flow class that does not say where its runs begin."""
    return subject.mistake(
        "has no entry", fix=f"Write @entry above the node that runs begin with, one of: {', '.join(ids)}.", code="E2069"
    )


def two_entries(subject: Subject, entries: Sequence[Source]) -> DefinitionError:
    """Return the error for a flow class with several entries."""
    return subject.mistake(
        f"has {len(entries)} entries",
        more=[one.of_statement().quoted() for one in entries],
        fix='Runs begin with one node. For several at once, let it lead to them: @edge(("first", "second")).',
        code="E2069",
    )


def no_node(method: str, word: str, *, call: Source) -> DefinitionError:
    """Return the error for an edge or entry above a method that is no node."""
    return DefinitionError(
        f'Method "{method}" has @{word}, but is no node',
        where=[call.quoted(), call.of_statement().quoted()],
        fix="Write @node above it as well.",
        code="E2070",
    )


def unknown_target(target: str, *, source: str, ids: Sequence[str], meant: str | None, call: Source) -> DefinitionError:
    """Return the error for an edge to a node that does not exist; *meant* is the id of the method of that name."""
    hint = f'The method {target} is the node "{meant}". ' if meant is not None else ""
    return DefinitionError(
        f'An edge leads from "{source}" to "{cut(target, _MAX_SHOWN)}", which is no node',
        where=[call.quoted(), call.of_statement().quoted()],
        fix=f"{hint}There are: {', '.join(ids)}; END ends the run.",
        code="E2070",
    )


def method_condition(function: object, *, call: Source) -> DefinitionError:
    """Return the error for a condition that wants the instance of the class."""
    return DefinitionError(
        f'The condition "{getattr(function, "__name__", "condition")}" takes self',
        where=[call.quoted()],
        fix="A condition is a function of the output, such as when=lambda report: report.sure, "
        "or of the output and what the run knows.",
        code="E2070",
    )


def same_id(node_id: str, *, first: Source, call: Source) -> DefinitionError:
    """Return the error for two nodes of one class that have the same id."""
    return DefinitionError(
        f'There are two nodes "{node_id}"',
        where=[call.of_statement().quoted(), f"{first.of_statement().quoted()}  (the first)"],
        fix=f'Give one of them another id: @node("{node_id}-again").',
        code="E2043",
    )


def blind_key(node_id: str, *, call: Source) -> DefinitionError:
    """Return the error for a key of a node that takes no input to make it of."""
    return DefinitionError(
        f'Node "{node_id}" has a key, but takes no input to make it of',
        where=[call.quoted(), call.of_statement().quoted()],
        fix="Take the output of the node that leads to it, or the run's input for the entry, as a second parameter: "
        "def charge(self, ctx: Context, order: Order).",
        code="E2047",
    )


def _of_class(kind: type) -> Subject:
    return Subject(f"class {kind.__qualname__}", source_of_class(kind))
