"""What a wave reads of the store before it judges its change-sets, each kind of it with one query."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from holdfast.change import Rule
from holdfast.entities.keyed import KeyedResult
from holdfast.entities.operation import OperationRecord
from holdfast.gates import GateState
from holdfast_adapters.sqlite import encoding, rows
from holdfast_adapters.sqlite.prepared import Prepared, Scope, WaitKey
from holdfast_adapters.sqlite.runstate import RUN_STATE, RUN_WIDTH
from holdfast_adapters.sqlite.statements import Rows

#: The rows of a wave's runs and of their fenced jobs, in the order of the change-sets: VALUES is the outer loop, and
#: each of the two joins is a look-up by key. The names of the few queues that have limits come along with each of them,
#: so that a step needs no statement more.
CHECK: Final = Rows(
    rows.select(
        """
    SELECT {now},
        j.status, j.epoch, j.attempt, j.max_attempts, j.worker, j.lease_until, j.started_at, j.lost, j.give_up_at,
        j.via, j.depth, j.origin, (SELECT nullif(json_group_array(name), '[]') FROM queue)
    FROM (VALUES {{rows}}) v
    LEFT JOIN run r ON r.id = v.column1
    LEFT JOIN job j ON j.run = r.n AND j.stage_id = v.column2 AND j.generation = v.column3 AND j.turn = v.column4
        AND j.item = v.column5""",
        now=RUN_STATE,
    ),
    width=5,
)
#: Positions of the job's columns behind those of the run, and of the names of the queues that have limits.
STATUS, EPOCH, ATTEMPT, MAX_ATTEMPTS, WORKER, LEASE_UNTIL, STARTED_AT, LOST, GIVE_UP_AT, VIA, DEPTH, ORIGIN, LIMITED = (
    range(RUN_WIDTH, RUN_WIDTH + 13)
)
#: Of the epochs that were lost on one job this many are remembered; reaping counts as an attempt, so few ever are.
_MOST_LOST: Final = 32

FIND_OPERATIONS: Final = Rows(
    """
    SELECT o.tenant, o.scope, o.key, o.command, o.fingerprint, o.result, o.run_id
    FROM (VALUES {rows}) v
    CROSS JOIN operation o ON o.tenant = v.column1 AND o.scope = v.column2 AND o.key = v.column3""",
    width=3,
)
FIND_TIMERS: Final = Rows(
    """
    SELECT r.id, t.id, t.due_at
    FROM (VALUES {rows}) v
    CROSS JOIN run r ON r.id = v.column1
    CROSS JOIN timer t ON t.run = r.n AND t.id = v.column2""",
    width=2,
)
FIND_GATES: Final = Rows(
    """
    SELECT v.column1, g.gate, g.generation, g.turn,
        g.arity, g.tolerate, g.resolved, g.taken, g.failed, g.sources, g.done
    FROM (VALUES {rows}) v
    CROSS JOIN run r ON r.id = v.column1
    CROSS JOIN gate g ON g.run = r.n AND g.gate = v.column2 AND g.generation = v.column3 AND g.turn = v.column4""",
    width=4,
)
#: Waits with the status of the job they belong to, if it is live.
FIND_WAITS: Final = Rows(
    """
    SELECT v.column1, w.stage_id, w.generation, w.turn, w.item, w.name, w.status, j.status
    FROM (VALUES {rows}) v
    CROSS JOIN run r ON r.id = v.column1
    CROSS JOIN wait w ON w.run = r.n AND w.stage_id = v.column2 AND w.generation = v.column3 AND w.turn = v.column4
        AND w.item = v.column5 AND w.name = v.column6
    LEFT JOIN job j ON j.run = r.n AND j.stage_id = v.column2 AND j.generation = v.column3 AND j.turn = v.column4
        AND j.item = v.column5""",
    width=6,
)
FIND_MESSAGES: Final = Rows(
    """
    SELECT v.column1, m.name, m.text, m.digest, m.size, m.blob, m.actor
    FROM (VALUES {rows}) v
    CROSS JOIN run r ON r.id = v.column1
    CROSS JOIN message m ON m.run = r.n AND m.name = v.column2""",
    width=2,
)
FIND_NAMES: Final = Rows(
    """
    SELECT v.column1, v.column2
    FROM (VALUES {rows}) v
    CROSS JOIN run r ON r.id = v.column1
    WHERE EXISTS (
        SELECT 1 FROM wait w INDEXED BY wait_name WHERE w.run = r.n AND w.name = v.column2 AND w.status <> 'CLOSED'
    )""",
    width=2,
)
FIND_KEYS: Final = Rows(
    """
    SELECT k.tenant, k.workflow_id, k.stage_id, k.key, k.fingerprint, r.id, k.holder, k.generation, k.turn, k.item,
        k.text, k.digest, k.size, k.blob
    FROM (VALUES {rows}) v
    CROSS JOIN keyed k ON k.tenant = v.column1 AND k.workflow_id = v.column2 AND k.stage_id = v.column3
        AND k.key = v.column4
    CROSS JOIN run r ON r.n = k.run""",
    width=4,
)
FIND_STATES: Final = Rows(
    """
    SELECT v.column1, s.text
    FROM (VALUES {rows}) v
    CROSS JOIN run r ON r.id = v.column1
    CROSS JOIN state s ON s.run = r.n""",
    width=1,
)

#: A gate: run id, gate, generation, turn.
GateKey = tuple[str, str, int, int]


class Found:
    """What the store holds of what the change-sets of a wave are judged by, kept up with what the wave decides."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self.operations: dict[tuple[str, str, str], OperationRecord] = {}
        #: Due instants by run id and timer.
        self.timers: dict[tuple[str, str], int] = {}
        self._gates: dict[GateKey, GateState | None] = {}
        #: Status of the wait and of its job.
        self.waits: dict[tuple[str, WaitKey], tuple[str, str | None]] = {}
        #: Payload columns and actor by run id and name.
        self.messages: dict[tuple[str, str], tuple[Any, ...]] = {}
        #: Names of waits that are not CLOSED, with the run id.
        self.names: set[tuple[str, str]] = set()
        self.keys: dict[Scope, KeyedResult] = {}
        self.states: dict[str, Any] = {}

    def read(self, changes: Sequence[Prepared]) -> None:
        """Read what *changes* need beyond their runs and fenced jobs."""
        operations = [identity for change in changes for identity in change.operations]
        for row in FIND_OPERATIONS.fetch(self._connection, operations):
            self.operations[row[:3]] = rows.operation(row)
        fired = [(change.run_id, change.change.fired) for change in changes if change.change.fired is not None]
        for run_id, timer, due_at in FIND_TIMERS.fetch(self._connection, fired):
            self.timers[run_id, timer] = due_at
        self._read_gates(
            {
                _gate_key(change.run_id, change.change.rules[arrival.gate])
                for change in changes
                for arrival in change.change.step.arrivals
            }
        )
        self._read_waits(changes)
        scopes = [change.scope for change in changes if change.scope is not None]
        for row in FIND_KEYS.fetch(self._connection, scopes):
            self.keys[row[:4]] = rows.keyed(row)
        patched = [(change.run_id,) for change in changes if change.change.patch is not None]
        for run_id, text in FIND_STATES.fetch(self._connection, patched):
            self.states[run_id] = encoding.decode(text)

    def _read_waits(self, changes: Sequence[Prepared]) -> None:
        asked = [
            (change.run_id, *job, name)
            for change in changes
            for waits in (change.answers, change.parks)
            for job, name in waits
        ]
        for run_id, stage_id, generation, turn, item, name, status, job in FIND_WAITS.fetch(self._connection, asked):
            self.waits[run_id, ((stage_id, generation, turn, item), name)] = (status, job)
        opened = {(change.run_id, name) for change in changes for name in change.opens}
        told = {(change.run_id, message.name) for change in changes for message in change.change.messages}
        for run_id, name, *kept in FIND_MESSAGES.fetch(self._connection, list(opened | told)):
            self.messages[run_id, name] = tuple(kept)
        self.names.update(FIND_NAMES.fetch(self._connection, list(told)))

    def _read_gates(self, keys: set[GateKey]) -> None:
        self._gates.update(dict.fromkeys(keys))
        for row in FIND_GATES.fetch(self._connection, list(keys)):
            arity, tolerate, resolved, taken, failed, sources, done = row[4:]
            self._gates[row[:4]] = GateState(
                arity=arity,
                tolerate=tolerate,
                resolved=resolved,
                taken=taken,
                failed=failed,
                sources=encoding.names(sources),
                done=bool(done),
            )

    def gate(self, run_id: str, rule: Rule) -> GateState | None:
        """Return the gate of the rule as it stands, None if it has not heard of an edge."""
        key = _gate_key(run_id, rule)
        if key not in self._gates:
            # Only what follows from another gate leads here, which is rare.
            self._read_gates({key})
        return self._gates[key]

    def keep_gate(self, key: GateKey, state: GateState) -> None:
        """Let the gate stand so."""
        self._gates[key] = state


def _gate_key(run_id: str, rule: Rule) -> GateKey:
    return (run_id, rule.gate, rule.generation, rule.turn)


def lost_epochs(row: tuple[Any, ...]) -> str:
    """Return the epochs lost on the job of a row of `CHECK`, the present one included."""
    before: list[int] = json.loads(row[LOST]) if row[LOST] else []
    return encoding.encode([*before, row[EPOCH]][-_MOST_LOST:])
