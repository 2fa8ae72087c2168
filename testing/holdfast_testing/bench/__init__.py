"""Measures the engine on the machine at hand, next to what the machine itself can do at the same moment.

What opens a store and what runs a worker are handed in, for this kit knows no host. `holdfast bench` hands in those
of the package::

    report = await measure(Plan(sizes=QUICK), open_store=open_kernel, make_worker=make_worker)
    print(*table(report), sep=os.linesep)
"""

from holdfast_testing.bench.hosts import MakeWorker, OpenedStore, OpenStore, RunsJobs, Server
from holdfast_testing.bench.measuring import SERVER_SCENARIOS, measure, scenarios_of
from holdfast_testing.bench.plan import FULL, QUICK, USUAL, Place, Plan, Sizes
from holdfast_testing.bench.report import Report
from holdfast_testing.bench.scenarios import SCENARIOS
from holdfast_testing.bench.table import table

__all__ = [
    "FULL",
    "QUICK",
    "SCENARIOS",
    "SERVER_SCENARIOS",
    "USUAL",
    "MakeWorker",
    "OpenStore",
    "OpenedStore",
    "Place",
    "Plan",
    "Report",
    "RunsJobs",
    "Server",
    "Sizes",
    "measure",
    "scenarios_of",
    "table",
]
