"""The worker host: a process, or a part of one, that executes jobs."""

from __future__ import annotations

from holdfast_hosts.worker.host import Worker
from holdfast_hosts.worker.process import exit_process, fewer_collections, run_worker, signal_handlers
from holdfast_hosts.worker.shift import WorkerStats

__all__ = ["Worker", "WorkerStats", "exit_process", "fewer_collections", "run_worker", "signal_handlers"]
