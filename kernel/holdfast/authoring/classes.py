"""Workflows written as a class: `flow` makes one of a class whose methods are nodes.

How the nodes hang together is checked as soon as the class is there; what their types say, when the definition is
first asked for.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, overload

from holdfast.authoring import misclasses
from holdfast.authoring.compile import compiled
from holdfast.authoring.draft import FOLLOWS, Header
from holdfast.authoring.flow import Flow
from holdfast.authoring.growing import Step
from holdfast.authoring.handlers import draft_of, handlers
from holdfast.authoring.heading import Told, begun, read_header
from holdfast.authoring.source import Caller, caller
from holdfast.authoring.stage import In_contra, Out_co
from holdfast.entities.definition import STEP_LIMIT, Definition
from holdfast.entities.retry import Span

In = TypeVar("In")
Out = TypeVar("Out")
Made = TypeVar("Made")
Made_co = TypeVar("Made_co", covariant=True)


class ClassFlow(Flow[In_contra, Out_co], Generic[In_contra, Out_co, Made_co]):
    """A workflow made of a class; still callable as that class, and a base of further ones.

    The class is instantiated once, without arguments, for the definition.
    """

    def __init__(self, made: type[Any], header: Header, *, call: Caller) -> None:
        super().__init__(header)
        self._made = made
        self._class_header = header
        self._handlers = handlers(made, header.subject)
        self._names = {**call.names, **{name: one for name, one in vars(made).items() if isinstance(one, type)}}
        functools.update_wrapper(cast("Any", self), made, updated=())

    def definition(self) -> Definition:
        """Return the compiled workflow, every time the same one.

        Raises:
            DefinitionError: If it cannot be built.
        """
        if self._definition is None:
            names = {**caller().names, **self._names}
            draft = draft_of(self._made, self._handlers, header=self._class_header, names=names)
            self._definition = compiled(draft, names)
            self._names = {}
        return self._definition

    def _with(self, step: Step) -> Flow[In_contra, Any]:
        raise misclasses.complete(self._class_header.subject, call=caller().source)

    def __call__(self, *args: Any, **kwargs: Any) -> Made_co:
        """Make an instance of the class, outside of any workflow."""
        made: Made_co = self._made(*args, **kwargs)
        return made

    if not TYPE_CHECKING:
        # What checkers take for the class, because they do not look at what decorators of classes return, acts as it.

        def __getattr__(self, name):
            if name.startswith("__"):
                raise AttributeError(name)
            return getattr(self._made, name)

        def __mro_entries__(self, bases):
            return (self._made,)

        def __instancecheck__(self, instance):
            return isinstance(instance, self._made)

        def __subclasscheck__(self, kind):
            return issubclass(kind, self._made)

    def __repr__(self) -> str:
        return f"<workflow {self.id}@{self.version} from class {self._made.__qualname__}>"


class FlowDecorator(Generic[In_contra, Out_co]):
    """What `flow` returns: it makes a workflow of a class."""

    def __init__(self, header: Header) -> None:
        self._header = header

    def __call__(self, made: type[Made], /) -> ClassFlow[In_contra, Out_co, Made]:
        """Make a workflow of the class.

        Raises:
            DefinitionError: If its nodes do not hang together.
        """
        call = caller()
        if not isinstance(made, type):
            raise misclasses.no_class(made, call=call.source)
        return ClassFlow(made, self._header, call=call)


@overload
def flow(
    id: str,
    version: str = "1.0.0",
    *,
    input: type[In],
    output: type[Out],
    description: str = "",
    timeout: Span | None = None,
    step_limit: int = STEP_LIMIT,
    compensate: bool = False,
) -> FlowDecorator[In, Out]: ...
@overload
def flow(
    id: str,
    version: str = "1.0.0",
    *,
    input: None,
    output: type[Out],
    description: str = "",
    timeout: Span | None = None,
    step_limit: int = STEP_LIMIT,
    compensate: bool = False,
) -> FlowDecorator[None, Out]: ...
@overload
def flow(
    id: str,
    version: str = "1.0.0",
    *,
    input: type[In],
    description: str = "",
    timeout: Span | None = None,
    step_limit: int = STEP_LIMIT,
    compensate: bool = False,
) -> FlowDecorator[In, Any]: ...
@overload
def flow(
    id: str,
    version: str = "1.0.0",
    *,
    input: Any = ...,
    output: Any = ...,
    description: str = "",
    timeout: Span | None = None,
    step_limit: int = STEP_LIMIT,
    compensate: bool = False,
) -> FlowDecorator[Any, Any]: ...
def flow(  # noqa: PLR0913 - one for each option
    id: str,
    version: str = "1.0.0",
    *,
    input: Any = Any,
    output: Any = FOLLOWS,
    description: str = "",
    timeout: Span | None = None,
    step_limit: int = STEP_LIMIT,
    compensate: bool = False,
) -> Any:
    """Make a workflow of a class: the methods with `node` are its nodes, one of them the `entry`, joined by `edge`.

    Such as::

        @flow("order", "1.0.0", input=Order, output=Receipt)
        class OrderFlow:
            @entry
            @node(retry=Retry(5))
            @edge("review", when=lambda reserved: reserved.amount > 1_000)
            @edge("charge")
            async def reserve(self, ctx: Context) -> Ok[Reserved] | Fail: ...

    Runs have a state, which nodes see as ``ctx.state`` and change by ``Ok(output, patch=…)``. What comes of it is the
    workflow; it is still called like the class.

    Args:
        id: What the workflow is known by.
        version: Runs stay on the version that they were started with, so a changed workflow gets a new one.
        input: The type of the input of its runs, any JSON if not given; None if they take none.
        output: The type of the output of its runs; that of its last nodes if not given.
        description: What it is for, for people.
        timeout: The limit of a whole run, such as ``7d``.
        step_limit: How many nodes a path through a run may have.
        compensate: Whether completed nodes are undone when a run fails or is cancelled.

    Raises:
        DefinitionError: If an argument is not fit to be what it is.
    """
    options = Told(
        version=version,
        description=description,
        timeout=timeout,
        step_limit=step_limit,
        compensate=compensate,
        state=True,
        output=output,
    )
    return FlowDecorator[Any, Any](begun(read_header(id, input=input, options=options, call=caller().source)))


def definition_of(workflow: Flow[Any, Any] | Definition | type[Any]) -> Definition:
    """Return the compiled form of a workflow, however it is written.

    Raises:
        DefinitionError: If it cannot be built, or is none.
    """
    given: object = workflow
    if isinstance(given, Definition):
        return given
    if isinstance(given, Flow):
        known: Flow[Any, Any] = given
        return known.definition()
    raise misclasses.no_workflow(given)
