"""From what a person types to one run: an id, a unique prefix of one, or an idempotency key."""

from __future__ import annotations

import re
from typing import Final

from holdfast.entities.run import Run
from holdfast.errors import RunNotFound
from holdfast.ports.persistence import Persistence
from holdfast.ports.queries import RunFilter
from holdfast_hosts.cli.exits import Exit
from holdfast_hosts.cli.problem import Problem, Told
from holdfast_hosts.cli.spelling import clean

#: Candidates that are named when a prefix is ambiguous.
CANDIDATES: Final = 5

_PREFIX: Final = re.compile(r"[0-9a-f-]{1,36}")


async def find_run(given: str, persistence: Persistence) -> Run:
    """Return the run that *given* names.

    Raises:
        RunNotFound: If there is none.
        Told: If it names several; the candidates are listed.
    """
    exact = await persistence.find_run(given) if given.isprintable() else None
    if exact is not None:
        return exact
    found: dict[str, Run] = {}
    if given and given.isprintable():
        keyed = RunFilter(idempotency_key=given)
        found |= {run.id: run for run in await persistence.list_runs(keyed, limit=CANDIDATES + 1)}
    if _PREFIX.fullmatch(given.lower()):
        begun = RunFilter(id_prefix=given.lower())
        found |= {run.id: run for run in await persistence.list_runs(begun, limit=CANDIDATES + 1)}
    if not found:
        raise RunNotFound(clean(given))
    if len(found) > 1:
        raise _ambiguous(given, list(found.values()))
    return next(iter(found.values()))


def _ambiguous(given: str, runs: list[Run]) -> Told:
    named = [
        clean(f"{run.id}  {run.status.value.lower():<9}  {run.header.workflow_id} {run.idempotency_key or ''}").rstrip()
        for run in runs[:CANDIDATES]
    ]
    more = ("… and more",) if len(runs) > CANDIDATES else ()
    return Told(
        Problem(
            code="E2123",
            what=f'"{clean(given)}" may be any of several runs.',
            where=(*named, *more),
            fix=("Give more of the id.",),
            exit=Exit.REFUSED,
        )
    )
