"""The comparison with others: what it reckons, what it says when they are not there, and that it works with ours."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Final
from uuid import uuid4

import psycopg
import pytest

from holdfast_adapters.postgres.measuring import PostgresServer
from tests.benchmarks.__main__ import main
from tests.benchmarks.comparing import ENGINES, Score, as_json, best, lines, perform, ratios, tasks_of
from tests.benchmarks.serving import served
from tests.benchmarks.work import EXTRA, Work
from tests.postgres import server_url

SCORES: Final = [
    Score(name="holdfast-16", version="1", settings="", figures={"steps_per_second": 3_000.0, "step_us": 500.0}),
    Score(name="holdfast-64", version="1", settings="", figures={"steps_per_second": 4_000.0}),
    Score(name="dbos-sync", version="3", settings="", figures={"steps_per_second": 400.0, "step_us": 2_000.0}),
    Score(name="dbos-async", version="3", settings="", figures={"steps_per_second": 200.0, "step_us": 3_000.0}),
    Score(name="pgqueuer", version="1", settings="", figures={"steps_per_second": 1_000.0}),
]


@pytest.mark.parametrize("name", [name for name, engine in ENGINES.items() if engine.package != "holdfast"])
def test_missing_peers_are_told(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without the extra the command says so, and how to install it, before any server is started."""
    module = ENGINES[name].package.replace("-", "_")
    monkeypatch.setitem(sys.modules, module, None)
    assert main(["--only", name, "--data", "/nowhere"]) == 2
    assert f"{module} is not installed. Install the peers: {EXTRA}" in capsys.readouterr().err


def test_each_is_taken_at_its_best() -> None:
    """Of the variants of one engine the best counts: the most of what there should be much of, else the least."""
    assert {name: score.name for name, score in best(SCORES, "steps_per_second").items()} == {
        "holdfast": "holdfast-64",
        "dbos": "dbos-sync",
        "pgqueuer": "pgqueuer",
    }
    assert best(SCORES, "step_us")["dbos"].name == "dbos-sync"


def test_ratios_say_how_many_times_better() -> None:
    """More is better for rates and less for times; what an engine was not asked for it is not compared by."""
    assert ratios(SCORES) == {"steps_per_second": {"dbos": 10, "pgqueuer": 4}, "step_us": {"dbos": 4}}
    assert ratios(SCORES[2:]) == {}


def test_what_is_told_has_settings_and_ratios() -> None:
    """Both forms name the server's settings, every engine with its version, and the ratios."""
    told = as_json(SCORES, commit_us=300, facts={"fsync": "on"})
    assert json.loads(json.dumps(told))["times_better"]["steps_per_second"]["dbos"] == 10
    said = "\n".join(lines(SCORES, commit_us=300, facts={"fsync": "on"}))
    assert "fsync on" in said
    assert "dbos 10.0 ×, pgqueuer 4.0 ×" in said
    assert "dbos-sync: dbos 3" in said


@pytest.mark.postgres
@pytest.mark.parametrize("task", tasks_of(ENGINES["holdfast-16"]))
def test_ours_does_every_task(task: str) -> None:
    """Each task gives positive figures."""
    work = Work(runs=3, stages=2, singles=3, alone=2, starts=2, pause_seconds=0.001)
    with PostgresServer(server_url()).fresh(uuid4().hex) as url:
        figures = perform("holdfast-16", task, url, work)
    assert figures
    assert all(figure > 0 for figure in figures.values())


@pytest.mark.postgres
def test_server_of_its_own_keeps_what_it_commits() -> None:
    """The server that is started forgets nothing in a power cut, and leaves nothing behind."""
    with served() as url:
        facts = PostgresServer(url).facts()
        with psycopg.connect(url) as connection:
            data = str(connection.execute("SHOW data_directory").fetchall()[0][0])
    assert {facts[name] for name in ("fsync", "synchronous_commit", "full_page_writes")} == {"on"}
    assert not Path(data).parent.exists()
