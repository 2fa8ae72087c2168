"""What is true of the system's clock and ids beyond their contracts."""

from __future__ import annotations

import copy
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from itertools import pairwise

from holdfast_adapters.system import SystemIds
from holdfast_testing.clock import FakeClock


def milliseconds(id: str) -> int:
    """Return the time that is written in a UUIDv7."""
    return uuid.UUID(id).int >> 80


def test_id_tells_the_time_of_its_clock() -> None:
    """The first 48 bits of an id are the milliseconds since 1970 by the injected clock, exactly."""
    clock = FakeClock()
    ids = SystemIds(clock=clock)
    for _ in range(5_000):
        clock.advance(timedelta(milliseconds=7))
        assert milliseconds(ids.new_id()) == round(clock.now().timestamp() * 1_000)


def test_ids_go_on_rising_when_the_clock_goes_back() -> None:
    """A corrected clock does not disturb the order, and ids tell the time again once it has caught up."""
    clock = FakeClock()
    ids = SystemIds(clock=clock)
    before = ids.new_id()
    clock.set(clock.now() - timedelta(hours=1))
    made = [before, *(ids.new_id() for _ in range(100))]
    assert all(first < second for first, second in pairwise(made))
    clock.advance(timedelta(hours=2))
    assert milliseconds(ids.new_id()) == round(clock.now().timestamp() * 1_000)


def test_threads_never_make_the_same_id() -> None:
    """Ids made by several threads at one instant differ before their random bits, and each thread sees its own rise."""
    ids = SystemIds(clock=FakeClock())
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            futures = [pool.submit(lambda: [ids.new_id() for _ in range(5_000)]) for _ in range(4)]
    finally:
        sys.setswitchinterval(interval)
    batches = [future.result() for future in futures]
    assert len({made[:18] for batch in batches for made in batch}) == 20_000
    assert all(batch == sorted(batch) for batch in batches)


def test_copied_state_makes_other_ids() -> None:
    """A forked child, which has the same state as its parent, makes ids of its own."""
    parent = SystemIds(clock=FakeClock())
    parent.new_id()
    child = copy.copy(parent)
    assert {parent.new_id() for _ in range(100)}.isdisjoint({child.new_id() for _ in range(100)})


def test_every_random_bit_comes_from_the_entropy() -> None:
    """The injected entropy fills the last 62 bits, and the version and variant stand whatever it says."""
    for byte in (b"\x00", b"\xff", b"\xa5"):
        made = uuid.UUID(SystemIds(clock=FakeClock(), entropy=byte.__mul__).new_id())
        assert (made.version, made.variant) == (7, uuid.RFC_4122)
        assert made.int & ((1 << 62) - 1) == int.from_bytes(byte * 8, "big") & ((1 << 62) - 1)


def test_fraction_reaches_both_ends() -> None:
    """The least entropy is 0, and the greatest stays below 1."""
    assert SystemIds(entropy=lambda size: b"\x00" * size).fraction() == 0
    assert 0.9999 < SystemIds(entropy=lambda size: b"\xff" * size).fraction() < 1
