"""The event sink contract on every adapter."""

from __future__ import annotations

from typing import Any

import pytest

from holdfast.events import Event
from holdfast.ports.event_sink import EventSink
from holdfast_adapters.sinks import CallbackSink, StructlogSink
from holdfast_testing.contracts.event_sink import EventSinkContract, FailOnce, Taken
from holdfast_testing.sinks import CollectingSink


class World:
    """What stands behind a sink: it remembers what comes through and can fail once."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, int]] = []
        self.is_broken = False

    def see(self, run_id: str, number: int) -> None:
        if self.is_broken:
            self.is_broken = False
            raise OSError("broken pipe")
        self.seen.append((run_id, number))

    def taken(self) -> list[tuple[str, int]]:
        return self.seen

    def fail_once(self) -> None:
        self.is_broken = True


class Log:
    """A logger that writes into a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def info(self, event: str, **values: Any) -> None:
        self._world.see(values["run_id"], values["number"])

    warning = error = info


class SinkIntoWorld(EventSinkContract):
    @pytest.fixture
    def world(self) -> World:
        return World()

    @pytest.fixture
    def taken(self, world: World) -> Taken:
        return world.taken

    @pytest.fixture
    def fail_once(self, world: World) -> FailOnce:
        return world.fail_once


class TestCallbackSink(SinkIntoWorld):
    @pytest.fixture
    def event_sink(self, world: World) -> EventSink:
        return CallbackSink("sync", lambda event: world.see(event.run_id, event.number))


class TestAsyncCallbackSink(SinkIntoWorld):
    @pytest.fixture
    def event_sink(self, world: World) -> EventSink:
        async def see(event: Event) -> None:
            world.see(event.run_id, event.number)

        return CallbackSink("async", see)


class TestStructlogSink(SinkIntoWorld):
    @pytest.fixture
    def event_sink(self, world: World) -> EventSink:
        return StructlogSink(logger=Log(world))


class TestCollectingSink(EventSinkContract):
    @pytest.fixture
    def event_sink(self) -> EventSink:
        return CollectingSink()

    @pytest.fixture
    def taken(self, event_sink: CollectingSink) -> Taken:
        return lambda: [(event.run_id, event.number) for event in event_sink.events]

    @pytest.fixture
    def fail_once(self, event_sink: CollectingSink) -> FailOnce:
        return lambda: event_sink.fail(1)
