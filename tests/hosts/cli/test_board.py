"""The live picture of the demo, drawn on paper of several sizes and on a real terminal."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import re
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import attrs
import pytest
from rich.console import Console

from holdfast.authoring.registry import Registry
from holdfast.commands.run_claim_pending import RunClaimPending
from holdfast_hosts.cli.demo.batches import Batch, greeting, open_batch
from holdfast_hosts.cli.demo.board import board, visible
from holdfast_hosts.cli.demo.orders import read_orders
from holdfast_hosts.cli.demo.progress import Look, Progress
from holdfast_hosts.cli.demo.workflow import order
from holdfast_hosts.wiring import open_kernel
from tests.hosts.cli.test_demo import write_orders


async def looked() -> tuple[Batch, Look]:
    """Return the sample orders, three of them admitted and leased, at one instant."""
    async with open_kernel("memory:", registry=Registry([order])) as opened:
        batch = await open_batch(opened.kernel, read_orders(None), ledger=Path("ledger"), fresh=False)
        claim = RunClaimPending(worker="worker-1", max_claims=3, keep_queues=frozenset({"default"}))
        await opened.kernel.dispatch(claim)
        return batch, await Progress(batch, opened.persistence).look(now=opened.clock.now())


def drawn(look: Look, *, width: int, height: int = 40, remark: str = "a remark") -> list[str]:
    """Return the lines of the picture on a terminal of that size."""
    paper = Console(file=io.StringIO(), width=width, height=height, force_terminal=True, color_system=None)
    with paper.capture() as captured:
        paper.print(board(look, remark=remark, started=look.at - timedelta(seconds=61), console=paper))
    return captured.get().splitlines()


@pytest.mark.parametrize("width", [80, 120])
def test_every_order_has_its_line(width: int) -> None:
    """Each order has one line that fits the terminal, with icon and word for every stage that is live."""
    _, look = asyncio.run(looked())
    picture = drawn(look, width=width)
    assert max(map(len, picture)) <= width
    assert sum("ORD-" in line for line in picture) == 12
    first = next(line for line in picture if "ORD-1001" in line)
    assert first.startswith("▶ ORD-1001 ▶ running")
    assert next(line for line in picture if "ORD-1012" in line).split()[:3] == ["·", "ORD-1012", "·"]
    assert any("0/12 orders · 0/60 stages · 0 retries · 1 m 1 s" in line for line in picture)
    assert picture[-1].strip() == "a remark"


def test_a_low_terminal_shows_the_orders_that_are_not_done() -> None:
    """What does not fit is left out, finished orders first, and the order of the list is kept."""
    _, look = asyncio.run(looked())
    assert sum("ORD-" in line for line in drawn(look, width=80, height=11)) == 5
    shown = visible(look.orders, room=4)
    assert [one.order_id for one in shown] == [one.order_id for one in look.orders[:4]]


def test_a_resumed_batch_greets_with_what_it_found() -> None:
    """The greeting counts what goes on and what is not repeated, and names a lease that has to end first."""
    batch, look = asyncio.run(looked())
    assert greeting(batch, now=look.at) == []
    resumed = attrs.evolve(batch, resumed=7, complete=2, stages_done=23, leased_until=look.at + timedelta(seconds=2.8))
    assert greeting(resumed, now=look.at) == [
        "resumed 7 of 12 orders, 23 stages already done are not repeated; 2 were complete already",
        "waiting for the lease of the killed worker (3 s)",
    ]
    assert len(greeting(resumed, now=look.at + timedelta(seconds=3))) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there are no pseudo-terminals")
@pytest.mark.parametrize("colour", [True, False])
def test_the_demo_draws_on_a_terminal(folder: Path, colour: bool) -> None:
    """On a terminal the picture is redrawn in place, with colours unless NO_COLOR is set."""
    import pty

    orders = write_orders(folder, count=2, pace=0)
    terminal, end = pty.openpty()
    size = {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    plain = {
        name: value for name, value in os.environ.items() if name not in {"NO_COLOR", "FORCE_COLOR", "HOLDFAST_STORE"}
    }
    with subprocess.Popen(
        [sys.executable, "-m", "holdfast_hosts.cli.main", "demo", "--orders", orders],
        cwd=folder,
        env=plain | size | ({} if colour else {"NO_COLOR": "1"}),
        stdin=end,
        stdout=end,
        stderr=end,
    ) as running:
        os.close(end)
        text = read_to_the_end(terminal)
        assert running.wait() == 0, text
    assert "\x1b[1A" in text
    assert "ORD-1001" in text
    assert "2 orders, 2 charges, 0 duplicates" in text
    assert bool(re.search(r"\x1b\[[0-9;]*3[0-9][0-9;]*m", text)) is colour


def read_to_the_end(terminal: int) -> str:
    """Return everything that is written to a pseudo-terminal until its other end is closed."""
    seen = b""
    with contextlib.suppress(OSError):  # this is how Linux tells that the other end is closed
        while piece := os.read(terminal, 65_536):
            seen += piece
    os.close(terminal)
    return seen.decode()
