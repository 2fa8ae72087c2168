"""From the steps of a flow to its definition, with every check on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import MappingProxyType
from typing import Any, Final

import attrs

from holdfast.authoring import mistakes
from holdfast.authoring.fit import fits
from holdfast.authoring.mistakes import Endpoint, Subject
from holdfast.authoring.signature import Declared, declared
from holdfast.authoring.source import Caller, Source
from holdfast.authoring.stage import Plan, Stage
from holdfast.codec import JsonType
from holdfast.codec.refusals import UnresolvedName
from holdfast.entities.definition import Definition, StageSpec

#: The input of a stage that takes none: whatever arrives is not looked at.
NOTHING: Final = JsonType(name="nothing")


@attrs.frozen(kw_only=True)
class Header:
    """What a workflow is told beside its stages."""

    id: str
    version: str
    description: str
    timeout: timedelta | None
    #: The type of the run's input.
    input: Any
    #: Where the workflow is written.
    call: Source

    def declared_input(self) -> Declared:
        """Return the run's input as it is declared.

        Raises:
            UnresolvedName: If its type refers to a name that does not exist yet.
            DefinitionError: If its values cannot be stored.
        """
        return declared(self.input, f"the input of {self.subject.name}", self.subject)

    @property
    def subject(self) -> Subject:
        """The workflow as errors call it."""
        return Subject(f'workflow "{self.id}"', self.call)


@attrs.frozen(kw_only=True)
class Step:
    """One call of the builder: a stage, or several that run in parallel."""

    stages: tuple[Stage[Any, Any], ...]
    #: What is known of each stage; None while its annotations refer to names that do not exist yet.
    plans: tuple[Plan | None, ...]
    call: Source

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the step's stages."""
        return tuple(stage.id for stage in self.stages)


def make_step(stages: Sequence[object], *, call: Caller) -> Step:
    """Return the step of *stages*.

    Raises:
        DefinitionError: If there are none, or something else is among them.
    """
    if not stages:
        raise mistakes.empty_group(call.source)
    checked: list[Stage[Any, Any]] = []
    for stage in stages:
        if not isinstance(stage, Stage):
            raise mistakes.no_stage(stage, call=call.source)
        known: Stage[Any, Any] = stage
        checked.append(known)
    plans = tuple(_plan(stage, call.names) for stage in checked)
    return Step(stages=tuple(checked), plans=plans, call=call.source)


def _plan(stage: Stage[Any, Any], names: Mapping[str, Any]) -> Plan | None:
    try:
        return stage.plan(names)
    except UnresolvedName:
        return None


def check_step(header: Header, earlier: Sequence[Step], step: Step) -> None:
    """Check what is known of *step* against what stands before it.

    Raises:
        DefinitionError: If it cannot stand there.
    """
    seen = {stage_id: there.call for there in earlier for stage_id in there.ids}
    for stage_id in step.ids:
        if stage_id in seen:
            raise mistakes.duplicate_stage(stage_id, first=seen[stage_id], call=step.call)
        seen[stage_id] = step.call
    before = [stage_id for there in earlier for stage_id in there.ids]
    for plan in step.plans:
        if plan is not None:
            _check_needs(plan, step, before=before)
            _check_fit(plan, _given(header, earlier), call=step.call)


def _check_needs(plan: Plan, step: Step, *, before: Sequence[str]) -> None:
    for need in plan.options.needs:
        if need not in before:
            subject = Subject(f'stage "{plan.options.name}"', plan.source)
            raise mistakes.unknown_need(need, subject, call=step.call, earlier=before, beside=need in step.ids)


def _check_fit(plan: Plan, given: Sequence[Endpoint], *, call: Source) -> None:
    if plan.input is None or not given:
        return
    annotation = given[0].annotation if len(given) == 1 else tuple_of([one.annotation for one in given])
    if not fits(annotation, plan.input.annotation):
        name = f'"{plan.options.name}"'
        taken = Endpoint(name=name, verb="takes", annotation=plan.input.annotation, source=plan.source)
        raise mistakes.cannot_follow(given, taken, call=call)


def _given(header: Header, earlier: Sequence[Step]) -> list[Endpoint]:
    """Return what arrives behind the *earlier* steps; nothing if that is not known yet."""
    if not earlier:
        name = f"the input of {header.subject.name}"
        return [Endpoint(name=name, verb="is", annotation=header.input, source=header.call)]
    plans = [plan for plan in earlier[-1].plans if plan is not None]
    if len(plans) < len(earlier[-1].plans):
        return []
    return [
        Endpoint(name=f'"{plan.options.name}"', verb="returns", annotation=plan.output.annotation, source=plan.source)
        for plan in plans
    ]


def tuple_of(annotations: Sequence[Any]) -> Any:
    """Return the type of a tuple of values of these types."""
    return tuple[tuple(annotations)]  # type: ignore[misc]  # the members are known at run time only


def assemble(header: Header, steps: Sequence[Step], names: Mapping[str, Any]) -> Definition:
    """Return the definition of the workflow.

    Args:
        header: What it is told beside its stages.
        steps: Its steps, in order.
        names: What annotations may refer to if their own module does not have it.

    Raises:
        DefinitionError: If the workflow cannot be built.
    """
    if not steps:
        raise mistakes.empty_workflow(header.id, call=header.call)
    given = header.declared_input()
    placed: list[Step] = []
    specs: list[StageSpec] = []
    outputs: Sequence[Declared] = ()
    for step in steps:
        plans = tuple(plan or stage.plan(names) for plan, stage in zip(step.plans, step.stages, strict=True))
        resolved = attrs.evolve(step, plans=plans)
        check_step(header, placed, resolved)
        sources = placed[-1].ids if placed else ()
        placed.append(resolved)
        specs += [_spec(plan, index=len(specs) + n, group=len(placed), sources=sources) for n, plan in enumerate(plans)]
        outputs = [plan.output for plan in plans]
    return Definition(
        id=header.id,
        version=header.version,
        description=header.description,
        input=given.payload,
        output=_run_output(header, outputs).payload,
        stages=MappingProxyType({spec.id: spec for spec in specs}),
        groups=tuple(step.ids for step in placed),
        timeout=header.timeout,
    )


def _spec(plan: Plan, *, index: int, group: int, sources: tuple[str, ...]) -> StageSpec:
    options = plan.options
    given = () if plan.input is None else sources
    return StageSpec(
        id=options.name,
        index=index,
        group=group,
        body=plan.body,
        polling=plan.polling,
        input=NOTHING if plan.input is None else plan.input.payload,
        output=plan.output.payload,
        config=None if plan.config is None else plan.config.payload,
        sources=given,
        needs=tuple(need for need in options.needs if need not in given),
        retry=options.retry,
        timeout=options.timeout,
        queue=options.queue,
    )


def _run_output(header: Header, outputs: Sequence[Declared]) -> Declared:
    if len(outputs) == 1:
        return outputs[0]
    annotation = tuple_of([output.annotation for output in outputs])
    return declared(annotation, f"the output of {header.subject.name}", header.subject)
