"""The parts of the reference pages that are made from the code, and the command that writes them.

A page holds them between ``<!-- made: NAME -->`` and ``<!-- end -->``. After a change of the code::

    .venv/bin/python -m tests.docs.reference
"""

from __future__ import annotations

import inspect
import re
import shlex
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import attrs

import holdfast
from holdfast import BatchStage, Context, Flow, Graph, Retry, Settings, errors, flow, node, run_sync, stage, workflow
from holdfast.authoring import misclasses, misroutes, mistakes, presets
from holdfast.authoring.draft import FOLLOWS
from holdfast.authoring.pausing import Pausing
from holdfast.authoring.writing import Writing
from holdfast.entities.run import RUN_TRANSITIONS
from holdfast.entities.stage import STAGE_TRANSITIONS
from holdfast.entities.wait import WAIT_TRANSITIONS
from holdfast_adapters.postgres import within
from holdfast_adapters.schedulers import HeapScheduler
from holdfast_adapters.sinks import CallbackSink, StructlogSink
from holdfast_adapters.sqlite import SqlitePersistence
from holdfast_adapters.system import SystemClock
from holdfast_hosts.joining import transactional_kernel
from holdfast_hosts.maintenance import Bounds
from holdfast_hosts.serverless import ServerlessHost
from holdfast_hosts.settings import HeartbeatSettings, ServerlessSettings, WorkerSettings
from holdfast_hosts.store_url import StoreUrl
from holdfast_hosts.waiting import run_and_wait, wait_for_run
from holdfast_hosts.wiring import Store, open_kernel
from holdfast_hosts.worker import Worker, run_worker
from holdfast_testing import CollectingSink, Ended, FakeClock, Harness
from holdfast_testing.faults import Fault, FaultPlan, faulty
from tests.docs.samples import PAGES, ROOT, said
from tests.docs.tables import comments, section, sentence, table
from tests.docs.wire import commands, values

BLOCK: Final = re.compile(r"(<!-- made: (\S+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
SCHEMA: Final = ROOT / "docs" / "reference" / "schema.sql"

#: The front door by what a reader is after; together they are all of it.
FRONT_DOOR: Final[Mapping[str, Sequence[str]]] = {
    "writing": ("workflow", "line", "stage", "BatchStage", "Pending", "when", "otherwise", "Context", "Flow", "Stage"),
    "graphs": ("Graph", "END", "flow", "entry", "node", "edge", "Seen"),
    "results": ("Ok", "Fail", "Wait"),
    "retrying": ("Retry", "RetryAfter", "NeverRetry"),
    "waiting": ("WaitTimedOut", "Child", "ChildFailed"),
    "running": ("Kernel", "Registry", "Settings", "RunCreate", "RunCreated", "SingletonPolicy", "run_sync"),
    "steering": (
        "RunResume",
        "Resumed",
        "RunPause",
        "RunUnpause",
        "RunRetry",
        "RunRerunFrom",
        "RunCancel",
        "QueueConfigure",
    ),
    "looking": ("Run", "RunStatus", "StageStatus", "Failure", "Event", "EventType"),
    "failing": ("HoldfastError", "Rejected", "Conflict", "Unavailable", "DefinitionError"),
}
#: What names of the front door are that are no classes or functions, and so have no docstring of their own.
CONSTANTS: Final[Mapping[str, str]] = {"END": "Where runs end; what an edge leads to behind the last stage"}
#: What settings are that the code does not comment, because their names say it to those who read the code.
WORDS: Final[Mapping[str, str]] = {
    "heartbeat": "How leases are kept alive.",
    "backoff": "`exponential` or `fixed`.",
    "base": "The delay after the first failed attempt; exponential backoff doubles it with each further one.",
    "cap": "The longest delay.",
}
EXAMPLES: Final = ROOT / "docs" / "examples"
#: The workflows of the examples whose pictures are shown, by the file that holds them.
PICTURED: Final[Mapping[str, str]] = {
    "order": "order_fulfilment",
    "expenses": "approval",
    "Screening": "fraud",
    "labelling": "labelling",
    "agent": "agent",
    "checkout": "checkout",
}
HOSTS: Final = (
    open_kernel,
    transactional_kernel,
    run_and_wait,
    wait_for_run,
    Worker,
    run_worker,
    ServerlessHost,
    Store,
    StoreUrl,
)
ADAPTERS: Final = (CallbackSink, StructlogSink, HeapScheduler, within)
PRESETS: Final = [
    kind for kind in vars(presets).values() if isinstance(kind, type) and kind.__module__ == presets.__name__
]
TESTING: Final = (Harness, Ended, FakeClock, CollectingSink, FaultPlan, Fault, faulty)


def front_door(names: Sequence[str]) -> str:
    """Return a table of names of the front door, each with the first line of its docstring."""
    told = ((f"`{name}`", CONSTANTS.get(name) or sentence(getattr(holdfast, name))) for name in names)
    return table(("Name", "What it is"), told)


def elsewhere(things: Sequence[Any]) -> str:
    """Return a table of names that are imported from where they stand."""
    rows = ((f"`{public_module(thing)}.{thing.__name__}`", sentence(thing)) for thing in things)
    return table(("Name", "What it is"), rows)


def public_module(thing: Any) -> str:
    """Return the shortest package that offers *thing*."""
    parts = thing.__module__.split(".")
    for length in range(1, len(parts)):
        name = ".".join(parts[:length])
        if getattr(__import__(name, fromlist=["_"]), thing.__name__, None) is thing:
            return name
    return str(thing.__module__)


def members(kind: type[Any], *, prefix: str) -> str:
    """Return a table of the public properties and methods of a class."""
    rows: list[tuple[str, str]] = []
    for name, known in vars(kind).items():
        static = isinstance(known, staticmethod)
        member = known.__func__ if static else known
        if name.startswith("_") or not (isinstance(member, property) or inspect.isfunction(member)):
            continue
        call = "" if isinstance(member, property) else parameters(member, skipped=0 if static else 1)
        awaited = "await " if inspect.iscoroutinefunction(member) else ""
        rows.append((f"`{awaited}{prefix}.{name}{call}`", sentence(member)))
    return table(("Member", "What it does"), rows)


def parameters(function: Callable[..., Any], *, skipped: int) -> str:
    """Return the parameters of a method as it is called, without types and without the first *skipped* ones."""
    signature = inspect.signature(function)
    kept = [one.replace(annotation=inspect.Parameter.empty) for one in list(signature.parameters.values())[skipped:]]
    text = str(inspect.Signature(kept))
    return text.replace(", /", "").replace("(/", "(")


def settings(kind: type[Any]) -> str:
    """Return a table of the fields of a settings class with their defaults."""
    default = kind()
    rows = ((field.name, getattr(default, field.name)) for field in attrs.fields(kind))
    return defaults(rows, comments(kind))


def class_options(kind: type[Any]) -> str:
    """Return a table of the commented attributes of a class with their defaults."""
    return defaults(((name, getattr(kind, name)) for name in comments(kind)), comments(kind))


def defaults(rows: Iterable[tuple[str, object]], told: Mapping[str, str]) -> str:
    """Return a table of names with their defaults and what is told of them."""
    cells = ((f"`{name}`", shown(value), (told[name] or WORDS[name]).removesuffix(".")) for name, value in rows)
    return table(("Name", "Default", "What it is"), cells)


def arguments(function: Callable[..., Any]) -> str:
    """Return a table of the arguments of a function with their defaults, as its docstring tells them."""
    parameters = inspect.signature(function).parameters
    rows = (
        (
            f"`{name}`",
            "required" if (default := parameters[name].default) is inspect.Parameter.empty else shown(default),
            words,
        )
        for name, words in section(inspect.getdoc(function) or "", "Args")
        if name != "function"
    )
    return table(("Name", "Default", "What it is"), rows)


def shown(value: Any) -> str:
    """Return a default as a person reads it."""
    if value is None or value is FOLLOWS:
        return "–"
    if value is Any:
        return "`Any`"
    if isinstance(value, timedelta):
        return duration(value)
    if isinstance(value, frozenset | tuple):
        names = [getattr(one, "__name__", str(one)) for one in cast("Sequence[object]", value)]
        return ", ".join(f"`{name}`" for name in sorted(names)) or "none"
    if isinstance(value, str):
        return f"`{value}`" if value else "empty"
    if isinstance(value, bool):
        return f"`{value}`"
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, int):
        return f"{value:,}"
    return f"[`{type(value).__name__}`](#heartbeatsettings)"


def duration(value: timedelta) -> str:
    """Return a duration in its greatest whole unit."""
    milliseconds = round(value.total_seconds() * 1000)
    for size, unit in ((60_000, "min"), (1000, "s")):
        if milliseconds >= size and milliseconds % size == 0:
            return f"{milliseconds // size} {unit}"
    return f"{milliseconds} ms" if milliseconds else "0"


def transitions(moves: Mapping[Any, frozenset[Any]]) -> str:
    """Return a table of the statuses that may follow each status, in the order of their declaration."""
    order = list(moves)
    rows = (
        (f"`{source.value}`", ", ".join(f"`{one.value}`" for one in order if one in targets) or "–")
        for source, targets in moves.items()
    )
    return table(("From", "To"), rows)


def error_tree() -> str:
    """Return the tree of errors with their codes and data."""
    rows: list[tuple[str, ...]] = []

    def add(kind: type[errors.HoldfastError], depth: int) -> None:
        told = re.sub(r"^Raise (?:when|for) ", "", sentence(kind))
        told = re.sub(r"^Raise inside a stage when ", "inside a stage: ", told)
        told = told[:1].upper() + told[1:]
        rows.append((f"{'– ' * depth}`{kind.__name__}`", f"`{code_of(kind)}`", told, data_of(kind)))
        for below in vars(errors).values():
            if isinstance(below, type) and kind in below.__bases__:
                add(below, depth + 1)

    add(errors.HoldfastError, 0)
    return table(("Error", "Code", "When", "Data"), rows)


def code_of(kind: type[errors.HoldfastError]) -> str:
    """Return the code of an error; those of definitions have many."""
    return "E20xx" if kind is errors.DefinitionError else kind.code


def data_of(kind: type[errors.HoldfastError]) -> str:
    """Return the attributes that an error carries."""
    if "__init__" not in vars(kind):
        return "–"
    assigned = re.findall(r"self\.(\w+)(?=[, ])", inspect.getsource(vars(kind)["__init__"]))
    return ", ".join(f"`{name}`" for name in dict.fromkeys(assigned)) or "–"


def definition_codes() -> str:
    """Return the codes of mistakes in definitions, as their modules tell them."""
    told = "\n".join(module.__doc__ or "" for module in (mistakes, misroutes, misclasses))
    rows = re.findall(r"^(E20\d\d)\s+(.*)$", told, re.MULTILINE)
    return table(("Code", "What is wrong"), ((f"`{code}`", what) for code, what in rows))


def picture(name: str) -> str:
    """Return what the command line draws of a workflow of the examples, as a block that Markdown viewers draw."""
    path, modules = list(sys.path), set(sys.modules)
    try:
        drawn = said(shlex.join(["workflows", "graph", f"{EXAMPLES / PICTURED[name]}.py:{name}"]))
    finally:
        sys.path[:] = path
        for loaded in set(sys.modules) - modules:
            if (getattr(sys.modules[loaded], "__file__", None) or "").startswith(str(EXAMPLES)):
                del sys.modules[loaded]
    return f"```mermaid\n{drawn}```\n"


MADE: Final[Mapping[str, Callable[[], str]]] = {
    **{f"front-door-{part}": partial(front_door, names) for part, names in FRONT_DOOR.items()},
    "workflow-options": lambda: arguments(workflow),
    "stage-options": lambda: arguments(stage),
    "flow": lambda: members(Flow, prefix="flow"),
    "graph": lambda: members(Graph, prefix="graph"),
    "class-options": lambda: arguments(flow),
    "node-options": lambda: arguments(node),
    "batch-options": lambda: class_options(BatchStage),
    "retry": lambda: settings(Retry),
    "context": lambda: members(Context, prefix="ctx"),
    "pausing": lambda: members(Pausing, prefix="ctx"),
    "own-rows": lambda: members(Writing, prefix="ctx"),
    "hosts": lambda: elsewhere(HOSTS),
    "adapters": lambda: elsewhere(ADAPTERS),
    "presets": lambda: elsewhere(PRESETS),
    "testing": lambda: elsewhere(TESTING),
    "harness": lambda: members(Harness, prefix="harness"),
    "ended": lambda: members(Ended, prefix="ended"),
    "kernel-settings": lambda: settings(Settings),
    "worker-settings": lambda: settings(WorkerSettings),
    "heartbeat-settings": lambda: settings(HeartbeatSettings),
    "serverless-settings": lambda: settings(ServerlessSettings),
    "bounds": lambda: settings(Bounds),
    "run-transitions": lambda: transitions(RUN_TRANSITIONS),
    "stage-transitions": lambda: transitions(STAGE_TRANSITIONS),
    "wait-transitions": lambda: transitions(WAIT_TRANSITIONS),
    "errors": error_tree,
    "definition-codes": definition_codes,
    **{f"picture-{name.lower()}": partial(picture, name) for name in PICTURED},
    "commands": commands,
    "values": values,
}


def schema() -> str:
    """Return the schema of a new store, as SQLite itself keeps it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "new.db"
        store = SqlitePersistence(path, clock=SystemClock())
        run_sync(store.open())
        run_sync(store.close())
        connection = sqlite3.connect(path)
        rows = connection.execute(_SCHEMA).fetchall()
        connection.close()
    head = "-- The schema of a SQLite store, as all migrations leave it: a picture for readers, compared by a test.\n"
    return head + "".join(f"\n{sql};\n" for (sql,) in rows)


_SCHEMA: Final = (
    "SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL"
    " ORDER BY tbl_name, CASE type WHEN 'table' THEN 0 WHEN 'index' THEN 1 ELSE 2 END, name"
)


def remade(text: str) -> str:
    """Return the text of a page with every made part as the code says now."""
    return BLOCK.sub(lambda found: f"{found[1]}\n{MADE[found[2]]()}\n{found[4]}", text)


def write(pages: Sequence[Path] = PAGES) -> None:
    """Bring every page and the picture of the schema up to date."""
    for page in pages:
        text = page.read_text(encoding="utf-8")
        if (now := remade(text)) != text:
            page.write_text(now, encoding="utf-8")
    SCHEMA.write_text(schema(), encoding="utf-8")


if __name__ == "__main__":
    write()
