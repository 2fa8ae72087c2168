"""What the builder's calls are told, read and checked: from arguments to steps."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from holdfast.authoring import misroutes, mistakes
from holdfast.authoring.branching import Case
from holdfast.authoring.growing import Item, Several, Step, one_of
from holdfast.authoring.mistakes import Subject
from holdfast.authoring.options import checked_name, checked_number, checked_span
from holdfast.authoring.pipeline import Pipeline
from holdfast.authoring.signature import declared
from holdfast.authoring.source import Caller, Source
from holdfast.authoring.stage import Stage
from holdfast.authoring.steps import Branched, Choice, MappedOver, Parallel, Piped, Waited
from holdfast.codec.refusals import UnresolvedName
from holdfast.entities.definition import Join
from holdfast.entities.retry import Span


def item_of(value: object, *, call: Caller) -> Item:
    """Return a stage or line as something that can be put into a workflow.

    Raises:
        DefinitionError: If it is something else.
    """
    if isinstance(value, Stage):
        stage: Stage[Any, Any] = value
        return one_of(stage, call.names)
    if not isinstance(value, Pipeline):
        raise mistakes.no_stage(value, call=call.source)
    flow: Pipeline[Any, Any] = value
    if not flow.is_line:
        raise misroutes.workflow_in_line(flow.id, call=call.source)
    return Several(beginning=flow.beginning, steps=flow.steps, first=flow.first)


def read_pipe(stage: object, *, call: Caller) -> Step:
    """Return the step of `Flow.pipe`."""
    return Piped(item=item_of(stage, call=call), call=call.source)


def read_parallel(stages: Sequence[object], *, need: object, tolerate: object, call: Caller) -> Step:
    """Return the step of `Flow.parallel`.

    Raises:
        DefinitionError: If there are no stages, or an argument is not fit to be what it is.
    """
    if not stages:
        raise mistakes.empty_group(call.source)
    items = tuple(item_of(stage, call=call) for stage in stages)
    join = read_join(need, tolerate, call=call.source)
    if join.need is not None and join.need > len(items):
        raise misroutes.too_many_needed(join.need, len(items), call=call.source)
    if len(items) == 1 and join == Join():
        return Piped(item=items[0], call=call.source)
    return Parallel(items=items, join=join, call=call.source)


def read_join(need: object, tolerate: object, *, call: Source) -> Join:
    """Return the rule of a join.

    Raises:
        DefinitionError: If an argument is no number of stages.
    """
    known = None if need is None else checked_number("number of stages that a join needs", need, least=1, call=call)
    return Join(
        need=known, tolerate=checked_number("number of failures that a join tolerates", tolerate, least=0, call=call)
    )


def read_branch(cases: Sequence[object], *, call: Caller) -> Step:
    """Return the step of `Flow.branch`.

    Raises:
        DefinitionError: If there is no condition, no otherwise or several, or a case leads to no stage.
    """
    known: list[Case[Any, Any]] = []
    for case in cases:
        if not isinstance(case, Case):
            raise misroutes.no_case(case, call=call.source)
        one: Case[Any, Any] = case
        known.append(one)
    defaults = [case for case in known if case.condition is None]
    if len(defaults) == len(known):
        raise misroutes.empty_branch(call=call.source)
    if not defaults:
        raise misroutes.branch_without_otherwise(call=call.source)
    if len(defaults) > 1:
        raise misroutes.two_otherwise(call=defaults[1].call.source)
    _check_twice(known)
    choices = tuple(
        Choice(
            condition=case.condition,
            priority=case.priority,
            item=item_of(case.part, call=case.call),
            call=case.call.source,
        )
        for case in known
    )
    return Branched(choices=choices, call=call.source)


def _check_twice(cases: Sequence[Case[Any, Any]]) -> None:
    seen: dict[tuple[object, int | None], Source] = {}
    for case in cases:
        if case.condition is None:
            continue
        same = (case.condition.function, case.priority)
        if same in seen:
            label = case.condition.label
            raise misroutes.same_case_twice(label=label, first=seen[same], call=case.call.source)
        seen[same] = case.call.source


def read_map(stage: object, *, limit: object, tolerate: object, call: Caller) -> Step:
    """Return the step of `Flow.map`.

    Raises:
        DefinitionError: If an argument is not fit to be what it is.
    """
    item = item_of(stage, call=call)
    if isinstance(item, Several) and not item.steps:
        raise misroutes.empty_map(call=call.source)
    return MappedOver(
        item=item,
        limit=checked_number("limit of a map", limit, least=1, call=call.source),
        tolerate=_tolerance(tolerate, call=call.source),
        call=call.source,
    )


def _tolerance(tolerate: object, *, call: Source) -> int | float:
    if tolerate is None:
        return 0
    if isinstance(tolerate, float) and 0 < tolerate <= 1:
        return tolerate
    if not isinstance(tolerate, int) or isinstance(tolerate, bool) or tolerate < 0:
        fix = "Give a number of items, such as 3, or a fraction of them, such as 0.1."
        raise mistakes.unfit_option("tolerance of a map", tolerate, call=call, fix=fix)
    return tolerate


def read_wait(
    name: object, payload: Any, *, timeout: Span | None, on_timeout: object, reason: str, call: Caller
) -> Step:
    """Return the step of `Flow.wait_for`.

    Raises:
        DefinitionError: If an argument is not fit to be what it is.
    """
    known = checked_name("name of a wait", name, call=call.source)
    check_payload(known, payload, call=call.source)
    if on_timeout is not None and timeout is None:
        raise misroutes.timeout_without_limit(known, call=call.source)
    return Waited(
        name=known,
        payload=payload,
        timeout=None if timeout is None else checked_span(f'timeout of the wait "{known}"', timeout, call=call.source),
        reason=reason,
        on_timeout=None if on_timeout is None else item_of(on_timeout, call=call),
        call=call.source,
    )


def check_payload(name: str, payload: Any, *, call: Source) -> None:
    """Check that a payload of the type can be stored, as far as that is known already.

    Raises:
        DefinitionError: If it cannot.
    """
    with suppress(UnresolvedName):
        declared(payload, f'the payload of the wait "{name}"', Subject(f'wait "{name}"', call))
