"""Batch stages: work that is submitted to somebody else and asked for until it is done."""

from __future__ import annotations

import abc
import copy
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Generic, Self, TypeVar, get_args, get_origin

import attrs

from holdfast.authoring import mistakes
from holdfast.authoring.context import Context
from holdfast.authoring.fit import fits
from holdfast.authoring.mistakes import Subject
from holdfast.authoring.options import checked_name, checked_number, checked_retry, checked_span, read_options
from holdfast.authoring.signature import Assumed, Declared, Signature, read_signature, resolve, without_members
from holdfast.authoring.source import caller, source_of, source_of_class
from holdfast.authoring.stage import Plan, Stage, undoing_of
from holdfast.entities.definition import DEFAULT_QUEUE, Polling
from holdfast.entities.retry import Retry, Span, span

In_contra = TypeVar("In_contra", contravariant=True)
Ref = TypeVar("Ref")
Out_co = TypeVar("Out_co", covariant=True)


def _optional_span(value: Span | None) -> timedelta | None:
    return None if value is None else span(value)


@attrs.frozen
class Pending:
    """Return from ``poll`` to say that the work is not done yet."""

    #: How long until the next poll; the stage's `poll_every` if None.
    check_in: timedelta | None = attrs.field(default=None, converter=_optional_span)


class BatchStage(Stage[In_contra, Out_co], Generic[In_contra, Ref, Out_co]):
    """A stage in two parts: `submit` hands work to somebody else, `poll` asks for it until it is done.

    Between the two nothing waits: the reference that `submit` returned is stored, and any worker can poll. ::

        class LabelBatch(BatchStage[list[str], str, list[Label]]):  # input, reference, output
            poll_every, give_up_after = "5m", "24h"

            async def submit(self, texts: list[str], ctx: Context[Config]) -> str: ...
            async def poll(self, reference: str, ctx: Context[Config]) -> list[Label] | Pending: ...

    Both parts get the same context, its config included.
    """

    #: The stage's id; the name of the class if not given.
    name: str | None = None
    #: How long between polls, unless one says otherwise by ``Pending(check_in=…)``.
    poll_every: Span = "5m"
    #: How long after `submit` the stage fails if it is still pending.
    give_up_after: Span = "24h"
    #: What happens after a failed attempt to submit or to poll.
    retry: Retry | None = None
    #: The limit of one call of `submit` or `poll`.
    timeout: Span | None = None
    #: Earlier stages whose outputs ``ctx.output(stage)`` gives.
    needs: Sequence[Stage[Any, Any] | str] = ()
    #: Where the stage's jobs wait for a worker.
    queue: str = DEFAULT_QUEUE
    #: How many tokens a submission takes of the rate of its queue, if that has one; polls take none.
    weight: int = 1
    #: A staticmethod that undoes what the stage did, in a workflow with ``compensate=True``; called with its output.
    compensate: Callable[..., Any] | None = None

    def __new__(cls, *_args: Any, **_kwargs: Any) -> Self:
        """Refuse a class that lacks a part, with the class's source line."""
        if cls.__abstractmethods__:
            raise mistakes.incomplete_batch(cls.__name__, cls.__abstractmethods__, source=source_of_class(cls))
        return super().__new__(cls)

    @abc.abstractmethod
    def submit(self, input: In_contra, ctx: Context[Any], /) -> Awaitable[Ref] | Ref:
        """Hand the work over and return a reference to it."""

    @abc.abstractmethod
    def poll(self, reference: Ref, ctx: Context[Any], /) -> Awaitable[Out_co | Pending] | Out_co | Pending:
        """Return the output of the work, or `Pending` while there is none."""

    @property
    def id(self) -> str:
        """The id that the stage has in a workflow."""
        return self.name or type(self).__name__

    def using(
        self,
        *,
        retry: Retry | None = None,
        timeout: Span | None = None,
        name: str | None = None,
        queue: str | None = None,
        weight: int | None = None,
    ) -> Self:
        """Return the same stage with other options; those that are not given stay.

        Raises:
            DefinitionError: If an option is not fit to be what it is.
        """
        call, other = caller().source, copy.copy(self)
        if name is not None:
            other.name = checked_name("id of a stage", name, call=call)
        if retry is not None:
            other.retry = checked_retry(retry, name=other.id, call=call)
        if timeout is not None:
            other.timeout = checked_span(f'timeout of stage "{other.id}"', timeout, call=call)
        if queue is not None:
            other.queue = checked_name(f'queue of stage "{other.id}"', queue, call=call)
        if weight is not None:
            other.weight = checked_number(f'weight of stage "{other.id}"', weight, least=0, call=call)
        return other

    def plan(self, names: Mapping[str, Any]) -> Plan:
        """Return what the stage is, its types resolved."""
        source = source_of_class(type(self))
        subject = Subject(f'batch stage "{self.id}"', source)
        options = read_options(
            name=self.id,
            retry=self.retry,
            timeout=self.timeout,
            needs=self.needs,
            queue=self.queue,
            weight=self.weight,
            compensate=self.compensate,
            call=source,
        )
        submit, poll = self._parts(names, subject)
        state = submit.output
        if poll.input is not None and not fits(state.annotation, poll.input.annotation):
            raise mistakes.different_references(subject, state.annotation, poll.input.annotation)
        return Plan(
            body=submit.body,
            polling=Polling(
                body=poll.body,
                state=state.payload,
                every=checked_span(f'poll_every of stage "{self.id}"', self.poll_every, call=source),
                give_up_after=checked_span(f'give_up_after of stage "{self.id}"', self.give_up_after, call=source),
            ),
            input=submit.input,
            output=poll.output,
            config=_one_config(submit, poll, subject),
            options=options,
            source=source,
            compensate=undoing_of(options, poll.output, subject, names=names),
        )

    def _parts(self, names: Mapping[str, Any], subject: Subject) -> tuple[Signature, Signature]:
        """Read the two methods, whose types the class's generic arguments may have declared."""
        submitting = Subject(f'submit of stage "{self.id}"', source_of(self.submit))
        polling = Subject(f'poll of stage "{self.id}"', source_of(self.poll))
        declared = _arguments(type(self), names, subject)
        before = after = None
        if declared is not None:
            given, reference, output = declared
            before, after = Assumed(input=given, output=reference), Assumed(input=reference, output=output)

        def outcome(returned: Any) -> Any:
            output = without_members(returned, Pending)
            if output is None:
                raise mistakes.untyped_batch(subject, part="output")
            return output

        return (
            read_signature(self.submit, submitting, names=names, assumed=before),
            read_signature(self.poll, polling, names=names, assumed=after, returning=outcome),
        )

    def __repr__(self) -> str:
        return f'<batch stage "{self.id}" from {source_of_class(type(self))}>'


def _arguments(kind: type, names: Mapping[str, Any], subject: Subject) -> tuple[Any, Any, Any] | None:
    """Return what the class puts into ``BatchStage[…]``; None if it leaves that open."""
    for base in kind.__mro__:
        for generic in base.__dict__.get("__orig_bases__", ()):
            arguments = get_args(generic)
            if get_origin(generic) is BatchStage and not any(isinstance(one, TypeVar) for one in arguments):
                given, reference, output = resolve(arguments, subject, module=base.__module__, names=names)
                return given, reference, output
    return None


def _one_config(submit: Signature, poll: Signature, subject: Subject) -> Declared | None:
    if submit.config is None or poll.config is None:
        return submit.config or poll.config
    if submit.config.payload is not poll.config.payload:
        raise mistakes.two_configs(subject, submit.config.annotation, poll.config.annotation)
    return submit.config
