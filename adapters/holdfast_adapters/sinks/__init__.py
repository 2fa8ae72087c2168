"""Places for committed events to go: the log, or functions of the application."""

from __future__ import annotations

from holdfast_adapters.sinks.callback import CallbackSink
from holdfast_adapters.sinks.structlog import StructlogSink

__all__ = ["CallbackSink", "StructlogSink"]
