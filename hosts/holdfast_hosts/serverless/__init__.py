"""The serverless host: bounded pieces of work, one for each invocation."""

from __future__ import annotations

from holdfast_hosts.serverless.host import ServerlessHost
from holdfast_hosts.serverless.results import Handling, JobHandled, JobsProcessed

__all__ = ["Handling", "JobHandled", "JobsProcessed", "ServerlessHost"]
