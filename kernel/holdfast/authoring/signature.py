"""What a stage's function says about itself: the types of its input, output and config, and how it is called."""

from __future__ import annotations

import functools
import inspect
import sys
import types
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs

from holdfast.authoring import mistakes
from holdfast.authoring.config import faults_of_defaults
from holdfast.authoring.context import Context
from holdfast.authoring.mistakes import Subject
from holdfast.authoring.results import plain_output
from holdfast.authoring.source import source_of
from holdfast.codec.refusals import UnresolvedName
from holdfast.entities.definition import Body, Calling, PayloadType

if sys.version_info >= (3, 14):
    import annotationlib

    #: Names that are not defined yet are met by the hints, not by the signature.
    _signature = functools.partial(inspect.signature, annotation_format=annotationlib.Format.FORWARDREF)
else:
    _signature = inspect.signature

_Kind = inspect.Parameter
_POSITIONAL: Final = frozenset({_Kind.POSITIONAL_ONLY, _Kind.POSITIONAL_OR_KEYWORD})
_COLLECTING: Final = frozenset({_Kind.VAR_POSITIONAL, _Kind.VAR_KEYWORD})


@attrs.frozen(kw_only=True)
class Declared:
    """A type as it was declared, and the payload type made of it."""

    annotation: Any
    payload: PayloadType


@attrs.frozen(kw_only=True)
class Signature:
    """What a function takes and returns, and how it is called."""

    body: Body
    #: None for a function that takes no input.
    input: Declared | None
    output: Declared
    config: Declared | None


@attrs.frozen(kw_only=True)
class Assumed:
    """Types that count where a method has no annotations of its own."""

    input: Any
    output: Any


def read_signature(
    function: Callable[..., Any],
    subject: Subject,
    *,
    names: Mapping[str, Any],
    assumed: Assumed | None = None,
    returning: Callable[[Any], Any] = lambda output: output,
) -> Signature:
    """Read what *function* takes and returns.

    Args:
        function: The function, or a bound method.
        subject: What it is called in errors.
        names: What annotations may refer to beside the function's globals.
        assumed: Types that count where there are no annotations.
        returning: Gives the type of the output, of what the function returns.

    Raises:
        UnresolvedName: If an annotation refers to a name that does not exist yet.
        DefinitionError: If the function cannot be a stage.
    """
    _refuse_generators(function, subject)
    hints = _hints(function, subject, names)
    parameters = _parameters(function, subject)
    if assumed is not None:
        by_place = (assumed.input, Context)
        hints = {
            **{p.name: hint for p, hint in zip(parameters, by_place, strict=False)},
            "return": assumed.output,
            **hints,
        }
    given, context = _roles(parameters, hints, subject)
    if "return" not in hints:
        raise mistakes.missing_annotation(subject, parameter=None)
    output, is_awaitable = _awaited(hints["return"])
    return Signature(
        body=Body(
            function=function,
            calling=Calling.ASYNC if is_awaitable or is_async(function) else Calling.SYNC,
            takes_input=given is not None,
            takes_context=context is not None,
            source=str(source_of(function)),
        ),
        input=None if given is None else declared(hints[given.name], f"the input of {subject.name}", subject),
        output=declared(returning(plain_output(output)), f"the output of {subject.name}", subject),
        config=None if context is None else _config(hints[context.name], subject),
    )


@attrs.frozen(kw_only=True)
class Undoing:
    """A function that undoes what a stage did, and the type of output that it takes."""

    body: Body
    #: None if it does not say, or takes none.
    output: Any


def read_undoing(function: Callable[..., Any], subject: Subject, *, names: Mapping[str, Any]) -> Undoing:
    """Read a function that takes the output of a stage and, if it wants, the context.

    Raises:
        UnresolvedName: If an annotation refers to a name that does not exist yet.
        DefinitionError: If it cannot be called so.
    """
    _refuse_generators(function, subject)
    hints = _hints(function, subject, names)
    parameters = _parameters(function, subject)
    if parameters and parameters[0].name not in hints:
        hints = {**hints, parameters[0].name: Any}
    given, context = _roles(parameters, hints, subject)
    body = Body(
        function=function,
        calling=Calling.ASYNC if is_async(function) or _awaited(hints.get("return"))[1] else Calling.SYNC,
        takes_input=given is not None,
        takes_context=context is not None,
        source=str(source_of(function)),
    )
    return Undoing(body=body, output=None if given is None else hints[given.name])


def declared(annotation: Any, what: str, subject: Subject) -> Declared:
    """Return the declared type *annotation*.

    Raises:
        UnresolvedName: If it refers to a name that does not exist yet.
        DefinitionError: If its values cannot be stored.
    """
    from holdfast.codec.typed import declared_type

    what = f"{what[0].upper()}{what[1:]}"
    payload = declared_type(annotation, what=what, source=lambda: subject.source.of_statement().quoted())
    return Declared(annotation=annotation, payload=payload)


def _hints(function: Callable[..., Any], subject: Subject, names: Mapping[str, Any]) -> dict[str, Any]:
    annotated: Any = function
    while isinstance(annotated, functools.partial):
        annotated = annotated.func
    if not (inspect.isroutine(annotated) or inspect.isfunction(annotated)):
        annotated = type(annotated).__call__
    try:
        return get_type_hints(annotated, localns=_visible(annotated, names), include_extras=True)
    except NameError as error:
        source = subject.source.of_statement().quoted()
        what = f"An annotation of {subject.name}"
        raise UnresolvedName(error.name or str(error), what=what, source=source) from None
    except Exception as error:
        why = f"has annotations that cannot be evaluated: {type(error).__name__}: {error}"
        raise mistakes.uncallable(subject, why, fix="Write them as types, not as text.") from error


def resolve(annotations: Sequence[Any], subject: Subject, *, module: str, names: Mapping[str, Any]) -> list[Any]:
    """Return *annotations* with the names in them resolved as code of *module* would.

    Raises:
        UnresolvedName: If a name does not exist yet.
    """
    holder = types.SimpleNamespace(__annotations__={str(place): one for place, one in enumerate(annotations)})
    try:
        return list(get_type_hints(holder, vars(sys.modules[module]), dict(names), include_extras=True).values())
    except NameError as error:
        source = subject.source.of_statement().quoted()
        raise UnresolvedName(error.name or str(error), what=f"The class of {subject.name}", source=source) from None


def _visible(function: Any, names: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the names that annotations see beside globals; None if there are none."""
    inner = inspect.unwrap(function)
    inner = getattr(inner, "__func__", inner)
    code, cells = getattr(inner, "__code__", None), getattr(inner, "__closure__", None) or ()
    closed = {}
    for name, cell in zip(getattr(code, "co_freevars", ()), cells, strict=False):
        try:
            closed[name] = cell.cell_contents
        except ValueError:
            continue
    return {**names, **closed} or None


def _parameters(function: Callable[..., Any], subject: Subject) -> list[inspect.Parameter]:
    """Return the parameters that a stage can be called with, in order."""
    try:
        signature = _signature(function)
    except (TypeError, ValueError):
        raise mistakes.uncallable(
            subject, "has no signature that could be read", fix="Wrap it in a function with annotations."
        ) from None
    parameters = list(signature.parameters.values())
    for parameter in parameters:
        if parameter.kind in _COLLECTING:
            raise mistakes.uncallable(
                subject,
                f'collects arguments in "{parameter.name}"',
                fix="Name the input and the context. A decorator between should use functools.wraps.",
            )
    return parameters


def _roles(
    parameters: Sequence[inspect.Parameter], hints: Mapping[str, Any], subject: Subject
) -> tuple[inspect.Parameter | None, inspect.Parameter | None]:
    """Return the parameters of the input and of the context, either of which may be absent."""
    rest = list(parameters)
    given = context = None
    if rest and rest[0].kind in _POSITIONAL and not _is_context(hints.get(rest[0].name)):
        given = rest.pop(0)
    if rest and rest[0].kind in _POSITIONAL and _is_context(hints.get(rest[0].name)):
        context = rest.pop(0)
    if given is not None and given.name not in hints:
        raise mistakes.missing_annotation(subject, parameter=given.name)
    for parameter in rest:
        if _is_context(hints.get(parameter.name)):
            raise mistakes.misplaced_context(subject, parameter=parameter.name)
        if parameter.default is parameter.empty:
            raise _surplus(parameter, hints, subject, context=None if given else context)
    return given, context


def _surplus(
    parameter: inspect.Parameter, hints: Mapping[str, Any], subject: Subject, *, context: inspect.Parameter | None
) -> Exception:
    """Return the error for a parameter to which nothing is passed; *context* may stand in its place."""
    if context is not None and parameter.kind in _POSITIONAL:
        return mistakes.misplaced_context(subject, parameter=context.name)
    if parameter.name not in hints and parameter.name in {"ctx", "context"}:
        return mistakes.missing_annotation(subject, parameter=parameter.name)
    return mistakes.uncallable(
        subject,
        f'has a parameter "{parameter.name}" that nothing is passed for',
        fix="A stage takes one input and, if it wants, the context. "
        "Give the parameter a default, or put several inputs into one model.",
    )


def _is_context(annotation: Any) -> bool:
    return annotation is Context or get_origin(annotation) is Context


def _config(annotation: Any, subject: Subject) -> Declared | None:
    """Return the type of the config in ``Context[Config]``; None if there is none or any would do."""
    config = next(iter(get_args(annotation)), None)
    if config is None or config is types.NoneType or config is Any or isinstance(config, TypeVar):
        return None
    found = declared(config, f"the config of {subject.name}", subject)
    faults = faults_of_defaults(found.payload)
    if faults:
        raise mistakes.unfit_defaults(subject, found.payload.name, faults)
    return found


def _awaited(annotation: Any) -> tuple[Any, bool]:
    """Return what is behind an awaitable, and whether there was one."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Coroutine:
        return arguments[2], True
    return (arguments[0], True) if origin is Awaitable else (annotation, False)


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether calling *function*, or what it decorates, gives a coroutine."""
    return any(inspect.iscoroutinefunction(one) for one in _layers(function))


def has_parameters(function: Callable[..., Any]) -> bool:
    """Return whether *function* takes anything; true if it cannot be said."""
    try:
        return bool(_signature(function).parameters)
    except (TypeError, ValueError):
        return True


def _layers(function: Callable[..., Any]) -> list[Any]:
    """Return *function* and what it is made of: the function it decorates, or its class's ``__call__``."""
    layers: list[Any] = [function, inspect.unwrap(function)]
    return layers if inspect.isroutine(function) else [*layers, type(function).__call__]


def _refuse_generators(function: Callable[..., Any], subject: Subject) -> None:
    if any(inspect.isgeneratorfunction(one) or inspect.isasyncgenfunction(one) for one in _layers(function)):
        raise mistakes.uncallable(subject, "is a generator", fix="Return a list, or one value, instead of yielding.")


def without_members(annotation: Any, kind: type) -> Any:
    """Return a union without the members of class *kind*; None if nothing remains."""
    if annotation is kind:
        return None
    if get_origin(annotation) not in {Union, types.UnionType}:
        return annotation
    rest = [member for member in get_args(annotation) if member is not kind]
    return Union[tuple(rest)] if rest else None  # noqa: UP007  # the members are known at run time only
