"""The defaults of the hosts as they are documented, and the bounds that keep them sane."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import attrs
import pytest

from holdfast import Settings
from holdfast_hosts.settings import MAX_REST, HeartbeatSettings, ServerlessSettings, WorkerSettings


def test_defaults_are_those_that_are_promised() -> None:
    """A worker has 16 slots and recovers a dead one's jobs within a lease of 30 s and a reap interval of 5 s."""
    settings = WorkerSettings()
    assert settings.concurrency == 16
    assert settings.queues == {"default"}
    assert (settings.poll_min, settings.poll_max) == (timedelta(milliseconds=10), timedelta(milliseconds=500))
    assert settings.reap_interval == timedelta(seconds=5)
    assert (settings.rest_interval, settings.notice_interval) == (timedelta(seconds=20), timedelta(seconds=60))
    assert settings.drain_timeout == timedelta(seconds=30)
    assert settings.heartbeat.tick == timedelta(seconds=1)
    assert settings.heartbeat.extend_after == pytest.approx(1 / 3)
    assert Settings().lease_ttl == timedelta(seconds=30)


def test_a_lease_that_cannot_be_extended_stops_its_attempt_before_it_ends() -> None:
    """By default the last failing call, the next tick and the margin together end before the lease does."""
    settings, ttl = HeartbeatSettings(), Settings().lease_ttl
    latest = ttl * (1 - settings.margin) + settings.tick + ttl * settings.patience
    assert latest <= ttl


def test_queues_are_any_names() -> None:
    """Queues may be given as any collection of names."""
    assert WorkerSettings(queues=["gpu", "default"]).queues == {"gpu", "default"}
    assert ServerlessSettings(queues=["gpu"]).queues == {"gpu"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"concurrency": 0},
        {"concurrency": 10_001},
        {"queues": []},
        {"poll_min": timedelta()},
        {"poll_min": timedelta(seconds=2), "poll_max": timedelta(seconds=1)},
        {"reap_interval": timedelta()},
        {"rest_interval": timedelta()},
        {"rest_interval": MAX_REST + timedelta(seconds=1)},
        {"sweep_batch": 0},
        {"flush_batch": 0},
        {"chain_jobs": 0},
        {"drain_timeout": timedelta(seconds=-1)},
        {"backoff_base": timedelta(seconds=2), "backoff_cap": timedelta(seconds=1)},
    ],
)
def test_settings_out_of_bounds_are_refused(wrong: dict[str, Any]) -> None:
    """A setting that would make a worker spin, hang or do nothing is refused by name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        WorkerSettings(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"tick": timedelta()}, {"extend_after": 0.0}, {"extend_after": 0.9}, {"margin": 0.0}, {"patience": 1.0}]
)
def test_heartbeats_out_of_bounds_are_refused(wrong: dict[str, Any]) -> None:
    """A heartbeat that would come too late for the lease is refused by name."""
    with pytest.raises(ValueError, match=next(iter(wrong))):
        HeartbeatSettings(**wrong)


def test_settings_do_not_change() -> None:
    """Settings are values; a worker's cannot change under it."""
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        WorkerSettings().concurrency = 2  # type: ignore[misc]  # what must be refused
