"""Several processes interleaved call by call, with faults at random, all of it replayed from one integer.

A kernel awaits nothing but ports, so its coroutines can be driven by hand: each port call is handed to the simulator,
which decides when it is made, whether it fails, and whether its process dies or stands still first. While the storm
lasts clients send random work; then everything heals, and all runs must come to their ends within a bound.

    outcome = simulate(42)
    assert not outcome.violations, outcome.describe()
"""

from __future__ import annotations

import random
import traceback
from collections import Counter, deque
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from itertools import count
from typing import Any, Final

import attrs

from holdfast.command import Command
from holdfast.commands.plugin_replay_dlq import PluginReplayDlq
from holdfast.commands.run_resume import RunResume
from holdfast.commands.run_unpause import RunUnpause
from holdfast.creating import RunCreated
from holdfast.driving import run_sync
from holdfast.entities.run import RunStatus
from holdfast.entities.wait import Wait, WaitKind, WaitStatus
from holdfast.errors import Conflict, Rejected, Unavailable
from holdfast.ports.job_transport import JobHint
from holdfast_testing.faults import Fault, ProcessDied
from holdfast_testing.interleaving import LATENCY, STAND_STILL, UNKNOWN, Call, Interleaving, Rest, SteppedPlan
from holdfast_testing.invariants import Violation, check_all
from holdfast_testing.rarities import CountingStore, rarities
from holdfast_testing.scenarios.client import look_up
from holdfast_testing.scenarios.host import Host
from holdfast_testing.scenarios.scenario import REAP_AFTER, SETTINGS, Scenario
from holdfast_testing.scenarios.world import World
from holdfast_testing.workload import FLOWS, HELP_EVERY, wanted

#: How many port calls a simulation makes at most before the weather clears, and after it.
STORM_CALLS: Final = 800
CALM_CALLS: Final = 20_000
#: How many commands each client sends.
COMMANDS: Final = 8
#: How long a keeper and an idle worker rest at most, in seconds.
REAP_EVERY: Final = 5.0
LONGEST_REST: Final = 5.0
#: The newest calls that a report shows.
TRACE: Final = 60
#: The most waits of a run that are looked at.
MOST_WAITS: Final = 100

SETTING: Final = Scenario(
    name="simulation",
    flows=tuple(FLOWS),
    script=(),
    ends={},
    settings=attrs.evolve(SETTINGS, blob_threshold=64, delivery_attempts=2),
    max_events=10,
)


@attrs.frozen(kw_only=True)
class Weather:
    """How likely it is that a call goes wrong; drawn anew for each seed, each of them also as never."""

    fail: float
    unknown: float
    #: Of deliveries alone.
    refuse: float
    die: float
    stand_still: float

    @classmethod
    def draw(cls, chance: random.Random) -> Weather:
        """Return the weather of one simulation."""
        return cls(
            fail=chance.choice((0.0, 0.01, 0.05)),
            unknown=chance.choice((0.0, 0.05, 0.3)),
            refuse=chance.choice((0.0, 0.1, 0.5)),
            die=chance.choice((0.0, 0.002, 0.02)),
            stand_still=chance.choice((0.0, 0.005, 0.03)),
        )


@attrs.frozen(kw_only=True)
class Outcome:
    """What became of one simulation."""

    seed: int
    violations: tuple[Violation, ...]
    #: How often something rare happened, by its name.
    happened: Mapping[str, int]
    calls: int
    #: Equal for two simulations that did the same.
    digest: str
    trace: tuple[str, ...]

    def describe(self) -> str:
        """Return what was broken and the newest calls, for the message of a failing test."""
        return "\n".join((f"seed {self.seed}", *map(str, self.violations), *self.trace))


def simulate(seed: int) -> Outcome:
    """Return what became of the simulation of that number; the same number does the same again."""
    return _Simulation(seed).run()


class _Simulation:
    """One storm and the calm after it."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        # Each kind of decision has its own stream, so that one more fault does not change the workload.
        self._order, self._faults, self._work = (
            random.Random(f"{seed}/{kind}") for kind in ("order", "faults", "work")
        )
        self.happened: Counter[str] = Counter()
        self._world = World(SETTING, lambda clock: CountingStore(clock, self.happened))
        self._weather: Weather | None = Weather.draw(self._faults)
        self._calls = 0
        self._started = 0
        self._hosts: list[Host] = []
        self._busy_clients = 0
        self._run_ids: list[str] = []
        self._trace: deque[str] = deque(maxlen=TRACE)
        self._digest = sha256()
        self._healed_at = self._world.clock.now()
        self._deaths_in_calm = 0
        self._all = Interleaving(
            order=self._order, clock=self._world.clock, decide=self._decide, ended=self._replace_the_dead
        )

    def run(self) -> Outcome:
        """Let the storm rage, heal everything, and demand that all comes to its end."""
        for _ in range(self._work.randint(2, 3)):
            self._start_process()
        for number in range(self._work.randint(1, 3)):
            self._all.begin(self._client(number))
        self._all.go_on(lambda: self._calls >= STORM_CALLS)
        self._heal()
        self._all.go_on(lambda: self._calls > CALM_CALLS or (self._calls % 25 == 0 and self._is_quiet()))
        violations = [] if self._is_quiet() else [self._broken("I26", "it never came to rest")]
        world = self._world
        violations += run_sync(
            check_all(world.store.connect(), ledger=world.ledger, definitions=world.registry, blob_store=world.blobs)
        )
        violations += self._late()
        self.happened.update(rarities(world.ledger.seen.values()))
        delivered = [(event.run_id, event.number) for batch in world.ledger.delivered["ledger"] for event in batch]
        self.happened["event delivered again"] += len(delivered) - len(set(delivered))
        self._all.close()
        return Outcome(
            seed=self._seed,
            violations=tuple(violations),
            happened=dict(+self.happened),
            calls=self._calls,
            digest=self._digest.hexdigest(),
            trace=tuple(self._trace),
        )

    # What goes wrong.

    def _decide(self, call: Call) -> str | None:
        what = None if self._weather is None or call.plan.is_dead else self._misfortune(call, self._weather)
        self._calls += 1
        line = f"{self._all.now:.3f} {call.plan.name} {call.port}.{call.method} {what or ''}"
        self._digest.update(line.encode())
        self._trace.append(line)
        return what

    def _misfortune(self, call: Call, weather: Weather) -> str | None:
        chance = self._faults
        if call.method == "commit" and chance.random() < weather.unknown:
            what = chance.choice((str(Fault.FAIL_AFTER.value), UNKNOWN))
            self.happened[f"commit unknown and had {'not' if what == UNKNOWN else 'committed'}"] += 1
            return what
        if call.method == "deliver" and chance.random() < weather.refuse:
            return str(Fault.FAIL_BEFORE.value)
        draw = chance.random()
        if draw < weather.die:
            return str(chance.choice((Fault.DIE_BEFORE, Fault.DIE_AFTER)).value)
        if draw < weather.die + weather.fail:
            return str(chance.choice((Fault.FAIL_BEFORE, Fault.FAIL_AFTER)).value)
        if draw < weather.die + weather.fail + weather.stand_still:
            call.plan.stands_still_until = self._all.now + SETTINGS.lease_ttl.total_seconds() * chance.uniform(0.9, 3)
            return STAND_STILL
        return None

    # Who takes part.

    def _start_process(self) -> None:
        self._started += 1
        plan = SteppedPlan(f"worker-{self._started}")
        # What runs side by side in one process shares its plan and its name.
        hosts = [Host(self._world, plan, number=self._started) for _ in range(3)]
        self._hosts.extend(hosts)
        self._all.begin(self._worker(hosts[0]))
        self._all.begin(self._worker(hosts[1]))
        self._all.begin(self._keeper(hosts[2]))

    def _replace_the_dead(self, defect: Exception | None) -> None:
        if defect is not None:
            where = "".join(traceback.format_exception(defect)[-3:])
            self._world.ledger.violations.append(self._broken("a defect", where))
        dead = {host.worker for host in self._hosts if host.plan.is_dead}
        self._hosts = [host for host in self._hosts if not host.plan.is_dead]
        for _ in dead:
            self.happened["a process died"] += 1
            self._deaths_in_calm += self._weather is None
            self._start_process()

    async def _worker(self, host: Host) -> None:
        idle = 0
        while True:
            idle = 0 if await host.work() else idle + 1
            if idle:
                # The longer there is nothing to do, the longer it rests, and never longer than a poll may take.
                await Rest(self._order.uniform(0.5, 1.0) * min(idle, LONGEST_REST))

    async def _keeper(self, host: Host) -> None:
        while True:
            await host.maintain()
            await Rest(self._order.uniform(0.8, 1.0) * REAP_EVERY)

    async def _messenger(self, message: JobHint) -> None:
        await Rest(self._work.choice((0.01, 1.0, 40.0)))
        executed = await self._order.choice(self._hosts).take(message)
        if executed is not None and executed.repeated:
            self.happened["message for a job that had nothing left to do"] += 1

    async def _client(self, number: int) -> None:
        self._busy_clients += 1
        for step in range(COMMANDS):
            await Rest(self._work.expovariate(0.2))
            self._bring_messages()
            now = self._world.clock.now()
            for command in wanted(f"{number}.{step}", self._run_ids, work=self._work, now=now):
                if self._work.random() < 0.2:
                    self._all.begin(self._send(command), after=self._work.uniform(0, 0.1))
                await self._send(command)
        self._busy_clients -= 1

    def _bring_messages(self) -> None:
        """Lose, repeat and delay what the broker holds."""
        messages = self._world.messages
        while messages:
            message = messages.popleft()
            for _ in range(self._work.choice((0, 1, 2))):
                self._all.begin(self._messenger(message))

    async def _send(self, command: Command[Any]) -> None:
        """Send the command to one process after the other until one of them answers."""
        ledger = self._world.ledger
        self._busy_clients += 1
        while True:
            host = self._order.choice(self._hosts)
            ledger.sent.append(command)
            try:
                result: object = await host.kernel.dispatch(command)
            except (Unavailable, ProcessDied):
                await look_up(command, ledger, host.store)
                await Rest(self._order.uniform(0.1, 2.0))
                continue
            except (Rejected, Conflict) as error:
                result = error
            break
        ledger.answer(command, result)
        if isinstance(result, RunCreated):
            self._run_ids.append(result.run_id)
        self._busy_clients -= 1

    # What must be in the end.

    def _heal(self) -> None:
        """Let everything go well from now on."""
        self._weather = None
        self._healed_at = self._world.clock.now()
        for host in self._hosts:
            assert isinstance(host.plan, SteppedPlan), "all processes of a simulation are stepped"
            host.plan.stands_still_until = 0.0
        self._all.begin(self._help())

    async def _help(self) -> None:
        """Replay what is parked, let go on what is held back, and answer what is asked, again and again."""
        store = self._world.store.connect()
        for number in count():
            await Rest(HELP_EVERY)
            with suppress(ProcessDied):
                replayed = await self._order.choice(self._hosts).kernel.dispatch(PluginReplayDlq())
                self.happened["stream stopped and went on"] += replayed.replayed
            for run_id in list(self._world.ledger.seen):
                run = await store.find_run(run_id)
                if run is not None and run.status is RunStatus.PAUSED:
                    await self._send(RunUnpause(run_id=run_id, operation_id=f"help {number} {run_id}"))
                for wait in await store.list_run_waits(run_id, limit=MOST_WAITS):
                    if wait.status is WaitStatus.OPEN and wait.kind is WaitKind.PAYLOAD:
                        await self._answer(wait, name=f"help {number} {run_id} {wait.name}")

    async def _answer(self, wait: Wait, *, name: str) -> None:
        """Let two people answer at the same time; one of them will be told that he was too late."""
        answer = RunResume(run_id=wait.key.run_id, name=wait.name, payload="yes", operation_id=name)
        rival = attrs.evolve(answer, payload="no", operation_id=f"{name} too")
        self._all.begin(self._send(rival), after=self._order.uniform(*LATENCY))
        await self._send(answer)

    def _is_quiet(self) -> bool:
        counts = run_sync(self._world.store.connect().count())
        live = sum(number for status, number in counts.runs.items() if not status.is_terminal)
        return not (self._busy_clients or live or counts.undelivered or counts.parked)

    def _late(self) -> list[Violation]:
        """Return the runs that took longer after the storm than their leases and their own time explain."""
        late: list[Violation] = []
        for seen in self._world.ledger.seen.values():
            run = seen.run
            own = next(time for flow, time in FLOWS.items() if flow.id == run.header.workflow_id)
            began = max(self._healed_at, run.started_at or run.created_at)
            # A stage that kills its process does so in any weather, and takes the leases of others along.
            allowed = began + (1 + self._deaths_in_calm) * (SETTINGS.lease_ttl + REAP_AFTER) + own
            if run.finished_at is None or run.finished_at > allowed:
                late.append(self._broken("I26", f"run {run.id} ended {run.finished_at}, {allowed} at the latest"))
        return late

    def _broken(self, invariant: str, found: str) -> Violation:
        return Violation(invariant=invariant, promise="a storm ends well", subject=f"seed {self._seed}", found=found)
