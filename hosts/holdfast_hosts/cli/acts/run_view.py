"""What a person sees of a run while it is waited for."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager

from rich.console import Group, RenderableType
from rich.live import Live

from holdfast_hosts.cli.opening import store_now
from holdfast_hosts.cli.output import console
from holdfast_hosts.cli.rendering.run_page import headline
from holdfast_hosts.cli.rendering.stage_table import stage_table
from holdfast_hosts.waiting import RunView


class RunWatch:
    """Keeps the newest view of a run and draws it."""

    def __init__(self) -> None:
        self._view: RunView | None = None

    @property
    def run_id(self) -> str | None:
        """The run's id, once it was seen."""
        return None if self._view is None else self._view.run.id

    def see(self, view: RunView) -> None:
        """Take in a newer view."""
        self._view = view

    @contextmanager
    def drawn(self) -> Generator[None]:
        """Draw the run on stderr while the context lasts, if that is a terminal; leave nothing behind."""
        paper = console(sys.stderr)
        if not paper.is_terminal:
            yield
            return
        with Live(console=paper, get_renderable=self._draw, refresh_per_second=8, transient=True):
            yield

    def _draw(self) -> RenderableType:
        view = self._view
        if view is None:
            return ""
        now = store_now()
        return Group(headline(view.run, view.stages, now=now), stage_table(view.run, view.stages, now=now))
