"""What commands there are, as data: the parser and the overview are made from it, and neither imports a command."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

STORE_VARIABLE: Final = "HOLDFAST_STORE"
DEFAULT_STORE: Final = "sqlite:///holdfast.db"


class Entry(NamedTuple):
    """One command or group of commands."""

    #: The word on the command line.
    word: str
    #: ``module:function`` below `holdfast_hosts.cli.commands`; empty for a group.
    target: str
    #: One sentence.
    summary: str
    #: The commands of a group.
    entries: tuple[Entry, ...] = ()


MENU: Final[tuple[Entry, ...]] = (
    Entry("demo", "demo:demo", "Run a sample workflow for a list of orders and watch it."),
    Entry("run", "run:run", "Create a run of a workflow, and wait for it if you like."),
    Entry("worker", "worker:worker", "Execute the runs of your workflows until stopped."),
    Entry(
        "runs",
        "",
        "Look at runs and steer them.",
        (
            Entry("list", "runs_list:list_runs", "List runs, newest first."),
            Entry("show", "runs_show:show_run", "Show one run with its stages, output or failure."),
            Entry("timeline", "runs_timeline:timeline", "Tell what happened in a run, event by event."),
            Entry("waits", "runs_waits:waits", "List what a run waits for."),
            Entry("resume", "runs_resume:resume", "Answer what a run waits for."),
            Entry("pause", "runs_pause:pause", "Hold a run back until it is unpaused."),
            Entry("unpause", "runs_unpause:unpause", "Let a paused run go on."),
            Entry("cancel", "runs_cancel:cancel", "Cancel a run with everything of it that is still live."),
            Entry("retry", "runs_retry:retry", "Let a failed run go on from where it failed."),
            Entry("rerun", "runs_rerun:rerun", "Do a finished run again from one of its stages."),
        ),
    ),
    Entry(
        "workflows",
        "",
        "Look at the workflows of your modules.",
        (
            Entry("list", "workflows_list:list_workflows", "List the workflows that modules define."),
            Entry("show", "workflows_show:show_workflow", "Show one workflow with its stages."),
            Entry("graph", "workflows_graph:graph", "Draw a workflow, as Mermaid text or as SVG."),
        ),
    ),
    Entry(
        "queues",
        "",
        "Look at queues and limit them.",
        (
            Entry("list", "queues_list:list_queues", "List queues with what waits in them."),
            Entry("set", "queues_set:set_queue", "Change the limits of a queue."),
            Entry("pause", "queues_pause:pause", "Hold a queue back."),
            Entry("unpause", "queues_unpause:unpause", "Let a paused queue go on."),
        ),
    ),
    Entry(
        "db",
        "",
        "Look after the store: its schema, and what is over.",
        (
            Entry("migrate", "db_migrate:migrate", "Create the store or bring its schema up to date."),
            Entry("status", "db_status:status", "Show which migrations are applied."),
            Entry("sql", "db_sql:sql", "Print the migrations as SQL, for review."),
            Entry("prune", "db_prune:prune", "Remove runs that ended long ago."),
        ),
    ),
    Entry("doctor", "doctor:doctor", "Check the store and everything in it."),
    Entry("bench", "bench:bench", "Measure the engine on this machine."),
    Entry("version", "version:version", "Print the version."),
)


def overview(words: tuple[str, ...]) -> str | None:
    """Return the help text of the program or of the group that *words* name, or None if they name neither.

    The parser could print it too, but importing the parser takes longer than a person should wait for a list.
    """
    entries = MENU
    summary = "Durable workflows: run them, watch them, repair them."
    for word in words:
        group = next((entry for entry in entries if entry.word == word and entry.entries), None)
        if group is None:
            return None
        entries, summary = group.entries, group.summary
    return "\n".join(_lines(("holdfast", *words), entries, summary))


def _lines(words: tuple[str, ...], entries: tuple[Entry, ...], summary: str) -> Iterator[str]:
    name = " ".join(words)
    yield f"Usage: {name} COMMAND [OPTIONS]"
    yield ""
    yield summary
    yield ""
    yield "Commands"
    listed = [
        (f"{entry.word} {inner.word}", inner.summary) if inner else (entry.word, entry.summary)
        for entry in entries
        for inner in entry.entries or (None,)
    ]
    width = max(len(word) for word, _ in listed)
    for word, text in listed:
        yield f"  {word:<{width}}  {text}"
    yield ""
    yield "Options of every command"
    yield "  --store URL   Where the runs live: memory:, sqlite:///path or postgresql://user@host/database"
    yield f"                [{STORE_VARIABLE}, {DEFAULT_STORE}]"
    yield "  --json        Print one JSON object on stdout"
    yield "  --utc         Show times in UTC instead of local time"
    yield "  --debug       Show the traceback of an error"
    yield "  --help, -h    Show help, also of one command"
    yield ""
    yield "Exit codes"
    yield "  0 done · 1 the run failed · 2 wrong usage · 3 not found · 4 refused · 5 store unreachable"
    yield "  6 settings or schema · 7 --timeout ran out · 8 waits for somebody · 130 interrupted"
