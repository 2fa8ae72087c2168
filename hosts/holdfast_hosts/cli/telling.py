"""What each error of the tree means to a person, made from its attributes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final

from holdfast.entities.run import RunStatus
from holdfast.errors import (
    ArtifactNotFound,
    Conflict,
    DefinitionError,
    HoldfastError,
    IdempotencyMismatch,
    IllegalTransition,
    InvalidConfig,
    InvalidInput,
    PayloadTooLarge,
    RunNotFound,
    StoreUnavailable,
    Unavailable,
    UnknownStage,
    UnknownToken,
    UnknownWait,
    UnknownWorkflow,
    UnusableStore,
    WaitOver,
)
from holdfast_hosts.cli.exits import Exit
from holdfast_hosts.cli.problem import Problem, Told
from holdfast_hosts.cli.spelling import did_you_mean, one_line, sentence


def problem_of(error: BaseException) -> Problem:
    """Return *error* as a problem, made from its attributes."""
    if isinstance(error, Told):
        return error.problem
    if isinstance(error, KeyboardInterrupt):
        return Problem(code="E1001", what="Interrupted.", exit=Exit.INTERRUPTED)
    for kind, tell in _TELLING.items():
        if isinstance(error, kind):
            return dataclasses.replace(tell(error), exit=exit_of(error))
    if isinstance(error, HoldfastError):
        return Problem(code=error.code, what=str(error), why=_cause(error), exit=exit_of(error))
    return Problem(
        code="E1000",
        what=f"Holdfast failed in a way that nobody foresaw: {type(error).__name__}: {one_line(str(error))}",
        fix=("Repeat the command with --debug to see where, and report it with what that prints.",),
        exit=exit_of(error),
    )


def _cause(error: BaseException) -> tuple[str, ...]:
    cause = error.__cause__
    return () if cause is None else (f"{type(cause).__name__}: {one_line(str(cause))}",)


def _definition(error: DefinitionError) -> Problem:
    fix = (error.fix,) if error.fix else ()
    return Problem(code=error.code, what=error.what, where=error.where, fix=fix)


def _input(error: InvalidInput) -> Problem:
    return Problem(code=error.code, what=f"The {error.what} is not valid.", why=tuple(map(sentence, error.problems)))


def _config(error: InvalidConfig) -> Problem:
    what = f'The config for workflow "{error.workflow_id}" is not valid.'
    return Problem(code=error.code, what=what, why=tuple(map(sentence, error.problems)))


def _too_large(error: PayloadTooLarge) -> Problem:
    return Problem(
        code=error.code,
        what=f"The {error.what} is too large.",
        why=(f"It is {error.size:,} bytes; the limit is {error.limit:,}.",),
        fix=("Keep the data in a file or a blob store and pass its name.",),
    )


def _unknown_workflow(error: UnknownWorkflow) -> Problem:
    version = f" version {error.version}" if error.version else ""
    near = did_you_mean(error.workflow_id, [name.split("@")[0] for name in error.known])
    return Problem(
        code=error.code,
        what=f'No workflow "{error.workflow_id}"{version} is known here.',
        why=(f"Known: {', '.join(error.known) or 'none'}.",),
        fix=near or ("Name the module that defines it.",),
    )


def _unknown_stage(error: UnknownStage) -> Problem:
    return Problem(
        code=error.code,
        what=f'Workflow "{error.workflow_id}" has no stage "{error.stage_id}".',
        why=(f"It has: {', '.join(error.known) or 'none'}.",),
        fix=did_you_mean(error.stage_id, error.known),
    )


def _unknown_wait(error: UnknownWait) -> Problem:
    return Problem(
        code=error.code,
        what=f'Workflow {error.workflow} never waits for "{error.name}".',
        why=(f"It waits for: {', '.join(error.known) or 'nothing'}.",),
        fix=did_you_mean(error.name, error.known),
    )


def _run_not_found(error: RunNotFound) -> Problem:
    return Problem(
        code=error.code, what=f'There is no run "{error.run_id}".', fix=("List the runs: holdfast runs list",)
    )


def _illegal(error: IllegalTransition) -> Problem:
    hint = str(error).removeprefix(f"{error.entity} is {error.source} and cannot become {error.target}.").strip()
    what = f"{error.entity} is {error.source} and cannot become {error.target}."
    return Problem(code=error.code, what=what, fix=(hint,) if hint else ())


def _mismatch(error: IdempotencyMismatch) -> Problem:
    return Problem(
        code=error.code,
        what=f"Key {error.key!r} was used before for another {error.command} request.",
        why=("The same key must carry the same workflow, version, input, config, priority, state and start.",),
        fix=("Use a new key for a new request.",),
    )


def _unusable(error: UnusableStore) -> Problem:
    fix = (error.fix,) if error.fix else ()
    return Problem(
        code=error.code,
        what=f"The store {error.store} cannot be used.",
        why=(sentence(error.why),),
        fix=fix,
    )


def _unavailable(error: Unavailable) -> Problem:
    what = str(error) or "Something that Holdfast needs cannot be reached."
    fix = (
        ("Check the store URL (--store or HOLDFAST_STORE), then repeat the command.",)
        if isinstance(error, StoreUnavailable)
        else ()
    )
    return Problem(code=error.code, what=what, why=_cause(error), fix=fix)


_TELLING: Final[Mapping[type[BaseException], Callable[[Any], Problem]]] = {
    DefinitionError: _definition,
    InvalidInput: _input,
    InvalidConfig: _config,
    PayloadTooLarge: _too_large,
    UnknownWorkflow: _unknown_workflow,
    UnknownStage: _unknown_stage,
    UnknownWait: _unknown_wait,
    RunNotFound: _run_not_found,
    IllegalTransition: _illegal,
    IdempotencyMismatch: _mismatch,
    UnusableStore: _unusable,
    Unavailable: _unavailable,
}


def exit_of(error: BaseException) -> Exit:
    """Return the exit code for an error that ended a command."""
    match error:
        case RunNotFound() | ArtifactNotFound() | UnknownWorkflow() | UnknownStage() | UnknownWait() | UnknownToken():
            return Exit.NOT_FOUND
        case UnusableStore():
            return Exit.SETTINGS
        case IllegalTransition() | WaitOver() | Conflict():
            return Exit.REFUSED
        case Unavailable():
            return Exit.UNREACHABLE
        case HoldfastError():
            return Exit.USAGE
        case KeyboardInterrupt():
            return Exit.INTERRUPTED
        case _:
            return Exit.FAILED


def exit_of_run(status: RunStatus) -> Exit:
    """Return the exit code for a run that was waited for."""
    return Exit.DONE if status is RunStatus.COMPLETED else Exit.FAILED
