"""`holdfast workflows graph`."""

from __future__ import annotations

from pathlib import Path

import attrs

from holdfast.entities.definition import Definition
from holdfast_hosts.cli.commands.workflows_graph import GraphOptions
from holdfast_hosts.cli.drawing.fates import with_fates
from holdfast_hosts.cli.drawing.folding import picture_of
from holdfast_hosts.cli.drawing.mermaid import mermaid_of
from holdfast_hosts.cli.drawing.picture import Picture
from holdfast_hosts.cli.drawing.svg import svg_of
from holdfast_hosts.cli.exits import Exit
from holdfast_hosts.cli.finding import find_run
from holdfast_hosts.cli.loading import load_workflow
from holdfast_hosts.cli.opening import opened
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, note, show
from holdfast_hosts.cli.problem import Problem, Told
from holdfast_hosts.cli.spelling import clean
from holdfast_hosts.cli.usage import misused


async def graph(target: str, options: GraphOptions, *, common: Common) -> int:
    """Draw the workflow that *target* names.

    Raises:
        DefinitionError: If it cannot be built.
        UnknownWorkflow: If it has no such version.
        RunNotFound: If there is no such run.
        Told: If the workflow cannot be found, the run is of another one, or the file cannot be written.
    """
    suffix = "" if options.output is None else options.output.suffix.lower()
    form = options.format or ("svg" if suffix == ".svg" else "mermaid")
    definition, picture = await _picture(target, options, common=common)
    drawn = svg_of(picture) if form == "svg" else mermaid_of(picture)
    if options.output is not None:
        _write(options.output, drawn)
    if common.json:
        shape = {"workflowId": definition.id, "workflowVersion": definition.version, "format": form}
        answer({**shape, **({"graph": drawn} if options.output is None else {"output": str(options.output)})})
    elif options.output is None:
        show(drawn.removesuffix("\n"))
    else:
        note(f"✓ {definition.name} is drawn in {clean(str(options.output))}")
    return Exit.DONE


async def _picture(target: str, options: GraphOptions, *, common: Common) -> tuple[Definition, Picture]:
    registry, latest = load_workflow(target)
    if options.run is None:
        definition = registry.get(latest.id, options.version)
        return definition, picture_of(definition)
    if options.version is not None:
        raise misused("--run says which version is drawn.", fix="Leave out --version.")
    async with opened(common, registry=registry) as store:
        run = await find_run(options.run, store.persistence)
        if run.header.workflow_id != latest.id:
            raise misused(
                f"Run {run.id} is one of {clean(run.header.workflow_id)}, not of {latest.id}.",
                fix=f"Name the module of {clean(run.header.workflow_id)}.",
            )
        definition = registry.get(latest.id, run.header.workflow_version)
        stages = await store.persistence.list_stages(run.id)
    picture = with_fates(picture_of(definition), definition, stages, status=run.status)
    name = run.idempotency_key or run.id
    return definition, attrs.evolve(picture, title=f"{picture.title} · {name} {run.status.value.lower()}")


def _write(path: Path, drawn: str) -> None:
    try:
        path.write_text(drawn, encoding="utf-8")
    except OSError as error:
        raise Told(
            Problem(
                code="E2003",
                what=f"The drawing cannot be written to {clean(str(path))}.",
                why=(f"{error.strerror}.",),
                fix=("Name a file in a folder that exists and may be written.",),
                exit=Exit.USAGE,
            )
        ) from None
