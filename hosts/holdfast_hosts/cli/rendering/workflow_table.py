"""Workflows as tables: several in a list, or one with its stages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from holdfast.entities.definition import Act, Definition, StageSpec
from holdfast_hosts.cli.rendering.times import took
from holdfast_hosts.cli.spelling import clean, one_line

_ACTS: Final = {Act.WAIT: "wait", Act.PASS: "meeting"}


def workflow_table(definitions: Sequence[Definition]) -> Table:
    """Return the table of *definitions*."""
    described = any(definition.description for definition in definitions)
    table = _table("WORKFLOW", "VERSION", "INPUT", "OUTPUT", "STAGES", *(["DESCRIPTION"] if described else []))
    for definition in definitions:
        cells = [definition.id, definition.version, definition.input.name, definition.output.name]
        cells.append(str(len(authored(definition))))
        table.add_row(*map(_cell, [*cells, *([definition.description] if described else [])]))
    return table


def workflow_page(definition: Definition) -> Iterator[RenderableType]:
    """Yield the parts of the page of one workflow."""
    yield Text.assemble((definition.id, "bold"), f" version {definition.version}")
    if definition.description:
        yield clean(definition.description)
    facts = Table.grid(padding=(0, 2, 0, 0))
    for name, value in _facts(definition):
        facts.add_row(Text(f"  {name}", style="dim"), _cell(value))
    yield facts
    yield ""
    table = _table("STAGE", "WHAT", "INPUT", "OUTPUT", "TRIES", "LIMIT", "QUEUE")
    for spec in authored(definition):
        table.add_row(*map(_cell, _row(spec)))
    yield table


def authored(definition: Definition) -> tuple[StageSpec, ...]:
    """Return the stages that the author of the workflow named."""
    return tuple(spec for spec in definition.stages.values() if "~" not in spec.id)


def _facts(definition: Definition) -> Iterator[tuple[str, str]]:
    yield "input", definition.input.name
    yield "output", definition.output.name
    yield "limit", "none" if definition.timeout is None else took(definition.timeout)
    if definition.compensates:
        yield "failure", "what completed stages did is undone"


def _row(spec: StageSpec) -> Iterator[str]:
    what = "batch" if spec.polling is not None else _ACTS.get(spec.act, "stage")
    limit = spec.timeout if spec.wait is None else spec.wait.timeout
    yield from (spec.id, what if spec.within is None else f"{what}, each item", spec.input.name, spec.output.name)
    yield str(spec.retry.attempts) if spec.body is not None else "–"
    yield "–" if limit is None else took(limit)
    yield spec.queue


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in headings:
        table.add_column(heading, no_wrap=True, overflow="ellipsis")
    return table


def _cell(text: str) -> Text:
    return Text(one_line(text))
