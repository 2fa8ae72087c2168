"""From the methods of a flow class to a draft: which of them are nodes, and how they are called as stages."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, Final, get_origin

import attrs

from holdfast.authoring import misclasses
from holdfast.authoring.context import Context
from holdfast.authoring.draft import Draft, Header, Link, Node, known_plan
from holdfast.authoring.mistakes import Subject
from holdfast.authoring.nodes import Leaving, Notes, Told, notes_of
from holdfast.authoring.signature import resolve
from holdfast.authoring.source import Caller, Source, source_of
from holdfast.authoring.stage import FunctionStage
from holdfast.entities.graph import END, START
from holdfast.errors import DefinitionError

_POSITIONAL: Final = frozenset({inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD})


@attrs.frozen(kw_only=True)
class Handler:
    """A node of a class: the method's name, and what stands above it."""

    method: str
    told: Told
    #: Where it is called the entry.
    entry: Source | None
    edges: tuple[Leaving, ...]

    @property
    def id(self) -> str:
        """The node's id."""
        return self.told.options.name


def handlers(made: type[Any], subject: Subject) -> tuple[Handler, ...]:
    """Return the nodes of a class, those of its bases first.

    A method that overrides a node is that node, unless it has decorators of its own.

    Raises:
        DefinitionError: If they do not hang together.
    """
    noted: dict[str, Notes] = {}
    for kind in reversed(made.__mro__):
        for name, member in vars(kind).items():
            notes = notes_of(member)
            if notes is not None:
                noted[name] = notes
    found = tuple(_handler(name, notes) for name, notes in noted.items() if notes != Notes())
    if not found:
        raise misclasses.no_nodes(subject)
    _check_ids(found)
    _check_entry(found, subject)
    for one in found:
        _check_edges(one, found)
    return found


def _handler(name: str, notes: Notes) -> Handler:
    if notes.node is None:
        call = notes.entry or notes.edges[0].call
        raise misclasses.no_node(name, "edge" if notes.entry is None else "entry", call=call)
    return Handler(method=name, told=notes.node, entry=notes.entry, edges=notes.edges)


def _check_ids(found: tuple[Handler, ...]) -> None:
    seen: dict[str, Source] = {}
    for one in found:
        if one.id in seen:
            raise misclasses.same_id(one.id, first=seen[one.id], call=one.told.call)
        seen[one.id] = one.told.call


def _check_entry(found: tuple[Handler, ...], subject: Subject) -> None:
    entries = [one.entry for one in found if one.entry is not None]
    if not entries:
        raise misclasses.no_entry(subject, [one.id for one in found])
    if len(entries) > 1:
        raise misclasses.two_entries(subject, entries)


def _check_edges(one: Handler, found: tuple[Handler, ...]) -> None:
    ids = [there.id for there in found]
    for leaving in one.edges:
        for target in leaving.targets:
            if target != END and target not in ids:
                meant = next((there.id for there in found if there.method == target), None)
                raise misclasses.unknown_target(target, source=one.id, ids=ids, meant=meant, call=leaving.call)


def draft_of(made: type[Any], found: tuple[Handler, ...], *, header: Header, names: Mapping[str, Any]) -> Draft:
    """Return the workflow of the nodes *found*, executed by the methods of one instance of the class *made*.

    Raises:
        DefinitionError: If the class cannot be made without arguments, or a method cannot be a node.
    """
    instance = _instance(made)
    draft = Draft(header)
    for one in found:
        stage = _stage(one, instance, names)
        draft.add(Node(id=one.id, stage=stage, plan=known_plan(stage, names), call=one.told.call))
    for one in found:
        if one.entry is not None:
            draft.link(Link(source=START, targets=(one.id,), call=one.entry))
    for one in found:
        for way in one.edges:
            link = Link(
                source=one.id, targets=way.targets, condition=way.condition, priority=way.priority, call=way.call
            )
            draft.link(link)
    return draft


def _stage(one: Handler, instance: object, names: Mapping[str, Any]) -> FunctionStage[Any, Any, Any]:
    options = one.told.options
    body = input_first(getattr(instance, one.method), names)
    undo = None if options.compensate is None else input_first(_bound(options.compensate, instance), names)
    stage = FunctionStage[Any, Any, Any](
        body, attrs.evolve(options, compensate=undo), call=Caller(one.told.call, names)
    )
    plan = known_plan(stage, names)
    if options.key is not None and plan is not None and plan.input is None:
        raise misclasses.blind_key(one.id, call=one.told.call)
    return stage


def _bound(function: Callable[..., Any], instance: object) -> Callable[..., Any]:
    """Return the method of *instance* that *function* is; the function itself if it is none."""
    for kind in type(instance).__mro__:
        for name, member in vars(kind).items():
            if member is function:
                method: Callable[..., Any] = getattr(instance, name)
                return method
    return function


def input_first(method: Callable[..., Any], names: Mapping[str, Any]) -> Callable[..., Any]:
    """Return *method* as stages are called: a method ``(ctx, input)`` takes its input before the context."""
    try:
        parameters = list(inspect.signature(method).parameters.values())
        needed = [one for one in parameters if one.kind in _POSITIONAL and one.default is one.empty]
        subject = Subject("a node", source_of(method))
        annotations = [one.annotation for one in needed]
        hints = resolve(annotations, subject, module=method.__module__, names=names)
    except (DefinitionError, NameError, SyntaxError, TypeError, ValueError):
        # What is wrong with it is said where the whole signature is read.
        return method
    if [_is_context(hint) for hint in hints] != [True, False]:
        return method

    @functools.wraps(method)
    def called(given: Any, ctx: Any, /) -> Any:
        return method(ctx, given)

    first, second, *rest = parameters
    vars(called)["__signature__"] = inspect.Signature([second, first, *rest])
    return called


def _is_context(annotation: Any) -> bool:
    return annotation is Context or get_origin(annotation) is Context


def _instance(made: type[Any]) -> object:
    try:
        return made()
    except Exception as error:
        raise misclasses.unmakeable(made, f"{type(error).__name__}: {error}") from error
