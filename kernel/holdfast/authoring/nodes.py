"""What stands above the methods of a flow class: `node`, `entry` and `edge`, which only note what they are told."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeVar, overload

import attrs

from holdfast.authoring import misclasses, mistakes
from holdfast.authoring.condition import condition_of
from holdfast.authoring.options import Options, checked_priority, read_options
from holdfast.authoring.seen import Seen
from holdfast.authoring.source import Source, caller
from holdfast.authoring.stage import Stage
from holdfast.entities.definition import DEFAULT_QUEUE
from holdfast.entities.graph import Condition
from holdfast.entities.retry import Retry, Span

Method = TypeVar("Method", bound=Callable[..., Any])

#: A node by its id, or by its method, which then has to stand above.
Target = str | Callable[..., Any]
#: Takes the output of the node, and what the run knows if it wants to.
When = Callable[[Any], bool] | Callable[[Any, Seen], bool]

#: Where a method keeps what its decorators noted.
_NOTES: Final = "__holdfast_notes__"


@attrs.frozen(kw_only=True)
class Leaving:
    """An edge, as it is written above the method that it leads away from."""

    #: Ids of nodes, or `END`.
    targets: tuple[str, ...]
    condition: Condition | None
    priority: int | None
    call: Source


@attrs.frozen(kw_only=True)
class Told:
    """What a node is told by its decorator."""

    options: Options
    call: Source


@attrs.frozen(kw_only=True)
class Notes:
    """What the decorators of one method noted."""

    node: Told | None = None
    #: Where the method is called the entry.
    entry: Source | None = None
    #: In the order in which they are written.
    edges: tuple[Leaving, ...] = ()


def notes_of(method: object) -> Notes | None:
    """Return what the decorators of *method* noted; None if it has none of ours."""
    notes = getattr(method, _NOTES, None)
    return notes if isinstance(notes, Notes) else None


@overload
def node(method: Method, /) -> Method: ...
@overload
def node(
    id: str | None = None,
    /,
    *,
    retry: Retry | None = None,
    timeout: Span | None = None,
    needs: Sequence[Stage[Any, Any] | Target] = (),
    queue: str = DEFAULT_QUEUE,
    key: Callable[[Any], str] | None = None,
    waits: Mapping[str, Any] | None = None,
    compensate: Callable[..., Any] | None = None,
    weight: int = 1,
) -> Callable[[Method], Method]: ...
def node(  # noqa: PLR0913 - one for each option
    id: Any = None,
    /,
    *,
    retry: Retry | None = None,
    timeout: Span | None = None,
    needs: Sequence[Stage[Any, Any] | Target] = (),
    queue: str = DEFAULT_QUEUE,
    key: Callable[[Any], str] | None = None,
    waits: Mapping[str, Any] | None = None,
    compensate: Callable[..., Any] | None = None,
    weight: int = 1,
) -> Any:
    """Make a node of a flow class of a method ``(self, ctx)``, sync or async.

    The method takes the context, by which it reads the run's input, its state and the outputs of the nodes in *needs*;
    with a second parameter it also takes the output of the node that led to it. It returns its output, or `Ok`, `Fail`
    or `Wait`.

    Args:
        id: The node's id; the method's name if not given.
        retry: What happens after a failed attempt; ``Retry()``, three attempts in all, if not given.
        timeout: The limit of one attempt, such as ``30s``.
        needs: Earlier nodes whose outputs ``ctx.require(id)`` gives.
        queue: Where the node's jobs wait for a worker.
        key: A pure function of the second parameter; runs whose keys are the same share one execution and its result.
        waits: The types of the payloads that the node waits for, by name.
        compensate: Undoes what the completed node did, in a flow with ``compensate=True``; called with its output and,
            if it wants, the context. A method that stands above, or a function.
        weight: How many tokens an attempt takes of the rate of its queue, if that has one.

    Raises:
        DefinitionError: If an option is not fit to be what it is.
    """
    call = caller().source

    def decorate(method: Method) -> Method:
        _check_method(method, "node", call=call)
        options = read_options(
            name=method.__name__ if id is None or id is method else id,
            retry=retry,
            timeout=timeout,
            needs=needs if isinstance(needs, str) else [_named(need) for need in needs],
            queue=queue,
            key=key,
            waits=waits,
            compensate=compensate,
            weight=weight,
            call=call,
        )
        return _note(method, node=Told(options=options, call=call))

    return decorate(id) if callable(id) else decorate


def entry(method: Method, /) -> Method:
    """Make the node of *method* the one that runs begin with."""
    call = caller().source
    _check_method(method, "entry", call=call)
    return _note(method, entry=call)


def edge(
    to: Target | tuple[Target, ...], /, *, when: When | None = None, priority: int | None = None
) -> Callable[[Method], Method]:
    """Lead away from the node of a method; several edges of a node stand one above the other.

    Of the edges of a node exactly one is taken: that of the highest priority whose condition is true, or the one
    without a condition.

    Args:
        to: The node that follows, by its id, or by its method if that stands above; `END` to end the run. Several in
            a tuple begin in parallel.
        when: Takes the node's output and, with a second parameter, what the run knows; a pure function.
        priority: The highest of those that match is taken; 0 if not given, below all conditions without one.

    Raises:
        DefinitionError: If it leads nowhere.
    """
    call = caller().source
    given: Any = to
    several: tuple[Any, ...] = given if isinstance(given, tuple) else (given,)
    targets = tuple(_target(one, call=call) for one in several)
    if not targets:
        raise mistakes.unfit_option("target of an edge", to, call=call, fix='Name what follows: @edge("charge").')
    condition = None if when is None else _condition(when, call=call)
    known = None if priority is None else checked_priority(priority, call=call)
    leaving = Leaving(targets=targets, condition=condition, priority=known, call=call)

    def decorate(method: Method) -> Method:
        _check_method(method, "edge", call=call)
        noted = notes_of(method) or Notes()
        # The lowest decorator is called first.
        return _note(method, edges=(leaving, *noted.edges))

    return decorate


def _note(method: Method, **changes: Any) -> Method:
    setattr(method, _NOTES, attrs.evolve(notes_of(method) or Notes(), **changes))
    return method


def _check_method(method: Any, word: str, *, call: Source) -> None:
    if inspect.isclass(method) or not inspect.isfunction(inspect.unwrap(method)):
        fix = f"Write @{word} above a method of a class."
        raise mistakes.unfit_option(f"method of @{word}", method, call=call, fix=fix)


def _condition(when: object, *, call: Source) -> Condition:
    if inspect.isfunction(when) and next(iter(inspect.signature(when).parameters), None) == "self":
        raise misclasses.method_condition(when, call=call)
    return condition_of(when, call=call)


def _target(target: object, *, call: Source) -> str:
    named = _named(target)
    if not isinstance(named, str):
        fix = 'Name the node by its id, such as @edge("charge"); by its method, that has to stand above, as a @node.'
        raise mistakes.unfit_option("target of an edge", target, call=call, fix=fix)
    return named


def _named(target: Any) -> Any:
    """Return the id of the node that *target* is the method of; anything else as it is."""
    notes = notes_of(target)
    return target if notes is None or notes.node is None else notes.node.options.name
