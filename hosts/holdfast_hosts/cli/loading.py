"""Finds workflows in the modules that a person names: ``package.module`` or ``path/to/file.py``, or with ``:name``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeGuard

from holdfast.authoring.flow import Flow
from holdfast.authoring.registry import Registry
from holdfast.entities.definition import Definition
from holdfast.errors import DefinitionError
from holdfast_hosts.cli.exits import Exit
from holdfast_hosts.cli.problem import Problem, Told
from holdfast_hosts.cli.spelling import clean, did_you_mean, one_line

#: Frames of the user's own code that are shown when a module cannot be imported.
FRAMES: Final = 5

Workflow = Flow[Any, Any] | Definition


def load_registry(targets: Sequence[str]) -> Registry:
    """Return the workflows of all *targets*, each a module or ``module:name``.

    Raises:
        DefinitionError: If a workflow cannot be built.
        Told: If a module cannot be found or imported, or holds no such workflow.
    """
    registry = Registry()
    for target in targets:
        module, name = _split(target)
        for workflow in _wanted(_load(module), name, module=module):
            registry.add(workflow)
    return registry


def load_workflow(target: str) -> tuple[Registry, Definition]:
    """Return the workflow that *target* names; the name may be left out if there is only one.

    The registry holds the others of its module as well, for they may be its children.

    Raises:
        DefinitionError: If it cannot be built.
        Told: If it cannot be found, or the module holds several and none is named.
    """
    module, name = _split(target)
    loaded = _load(module)
    registry = Registry(_wanted(loaded, name, module=module))
    definitions = registry.definitions()
    ids = {definition.id for definition in definitions}
    if len(ids) > 1:
        names = ", ".join(f"{module}:{one}" for one in sorted(ids))
        raise _told("E2105", f"{clean(module)} holds several workflows.", fix=f"Name one of: {names}.", exit=Exit.USAGE)
    for beside in _workflows(loaded).values():
        # One that cannot be built is no child of one that can.
        with suppress(DefinitionError):
            registry.add(beside)
    return registry, definitions[-1]


def _split(target: str) -> tuple[str, str | None]:
    module, colon, name = target.rpartition(":")
    # A drive letter of Windows is no module.
    if not colon or len(module) == 1:
        return target, None
    return module, name or None


def _wanted(loaded: ModuleType, name: str | None, *, module: str) -> Sequence[Workflow]:
    there = _workflows(loaded)
    if not there:
        raise _told(
            "E2106",
            f"{clean(module)} holds no workflow.",
            fix='Define one at module level: order = workflow("order", input=Order).pipe(first).pipe(second)',
            exit=Exit.NOT_FOUND,
        )
    if name is None:
        return list(there.values())
    if name in there:
        return [there[name]]
    by_id = [one for one in there.values() if _id(one) == name]
    if not by_id:
        raise _told(
            "E2101",
            f'{clean(module)} holds no workflow "{clean(name)}".',
            why=f"It holds: {', '.join(sorted({*there, *map(_id, there.values())}))}.",
            fix=" ".join(did_you_mean(name, {*there, *map(_id, there.values())})),
            exit=Exit.NOT_FOUND,
        )
    return by_id


def _workflows(module: ModuleType) -> Mapping[str, Workflow]:
    return {name: value for name, value in vars(module).items() if _is_workflow(value)}


def _is_workflow(value: object) -> TypeGuard[Workflow]:
    """Return whether *value* can be run: a line is a part of a workflow and none by itself."""
    if isinstance(value, Flow):
        part: Flow[Any, Any] = value
        return not part.is_line
    return isinstance(value, Definition)


def _id(workflow: Workflow) -> str:
    return workflow.id


def _load(name: str) -> ModuleType:
    try:
        return _load_file(Path(name)) if name.endswith(".py") else _load_module(name)
    except (Told, DefinitionError, KeyboardInterrupt):
        raise
    except BaseException as error:
        raise _broken(name, error) from error


def _load_module(name: str) -> ModuleType:
    # A console script, unlike `python -m`, does not look for modules in the present folder.
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        fix = f"Give the file: {name.replace('.', '/')}.py" if Path(f"{name.replace('.', '/')}.py").is_file() else ""
        raise _told(
            "E2107",
            f'There is no module "{clean(name)}".',
            why=f"Looked in {Path.cwd()} and in the environment {sys.prefix}.",
            fix=fix or "Give a module that Python can import from here, or a path that ends in .py.",
            exit=Exit.NOT_FOUND,
        ) from None
    except ValueError as error:
        raise _told("E2107", f'"{clean(name)}" is no name of a module.', why=str(error), exit=Exit.USAGE) from None


def _load_file(path: Path) -> ModuleType:
    path = path.resolve()
    if not path.is_file():
        near = did_you_mean(path.name, [there.name for there in path.parent.glob("*.py")])
        raise _told("E2107", f"There is no file {clean(str(path))}.", fix=" ".join(near), exit=Exit.NOT_FOUND)
    if str(path.parent) not in sys.path:
        # What stands beside the file can be imported by it, as when Python runs the file.
        sys.path.insert(0, str(path.parent))
    loaded = sys.modules.get(path.stem)
    if loaded is not None and getattr(loaded, "__file__", None) == str(path):
        return loaded
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None, "a path that ends in .py has a spec"
    assert spec.loader is not None, "a path that ends in .py has a loader"
    module = importlib.util.module_from_spec(spec)
    shadowed = sys.modules.get(path.stem)
    sys.modules[path.stem] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(path.stem, None)
        if shadowed is not None:
            sys.modules[path.stem] = shadowed
        raise
    return module


def _broken(name: str, error: BaseException) -> Told:
    """Return the problem of a module that fails while it is imported: its own error and its own lines."""
    if isinstance(error, SyntaxError):
        where = [f"{error.filename}:{error.lineno}  {(error.text or '').strip()}"]
    else:
        frames = traceback.extract_tb(error.__traceback__)
        own = [frame for frame in frames if not _is_machinery(frame.filename)]
        where = [f"{frame.filename}:{frame.lineno}  {frame.line}" for frame in reversed(own[-FRAMES:])]
    return _told(
        "E2108",
        f"The module {clean(name)} cannot be imported.",
        where=where,
        why=f"{type(error).__name__}: {one_line(str(error), limit=1_000)}",
        fix="Correct it there; --debug shows the whole traceback.",
        exit=Exit.USAGE,
    )


def _is_machinery(filename: str) -> bool:
    return filename == __file__ or filename.startswith("<frozen") or "importlib" in Path(filename).parts


def _told(code: str, what: str, *, where: Sequence[str] = (), why: str = "", fix: str = "", exit: Exit) -> Told:
    return Told(
        Problem(
            code=code,
            what=what,
            where=tuple(clean(line) for line in where),
            why=(why,) if why else (),
            fix=(fix,) if fix else (),
            exit=exit,
        )
    )
