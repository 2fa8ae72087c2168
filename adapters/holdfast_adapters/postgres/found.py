"""What a wave reads of the store before it judges its change-sets, each kind of it with one query, all in one trip."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from holdfast.change import Rule
from holdfast.entities.keyed import KeyedResult
from holdfast.entities.operation import OperationRecord
from holdfast.gates import GateState
from holdfast_adapters.postgres import encoding, rows
from holdfast_adapters.postgres.flow import CLOCK_AND_LIMITED, GRANTING
from holdfast_adapters.postgres.prepared import GateKey, JobKey, Prepared, Scope, WaitKey
from holdfast_adapters.postgres.runstate import RUN_STATE
from holdfast_adapters.postgres.singles import Single
from holdfast_adapters.postgres.statements import Call, Statement, with_rows
from holdfast_adapters.postgres.wire import Rows

#: The runs of a wave, locked until the transaction ends. Everybody takes such locks in order of number and before any
#: other, so that two who want the same runs wait for each other in one direction only; `test_locks` shows it.
_LOCK_RUNS: Final = rows.select(
    """
    SELECT r.id, {state} FROM holdfast.run r WHERE r.id = ANY($1::text[]) ORDER BY r.n FOR UPDATE""",
    state=RUN_STATE,
)
LOCK_RUNS: Final = Statement(_LOCK_RUNS)
#: The same with the parents of those runs of *$2* that may end: who is to be told of an end may not end meanwhile.
_LOCK_FAMILIES: Final = rows.select(
    """
    SELECT r.id, {state} FROM holdfast.run r
    WHERE r.id = ANY($1::text[] || ARRAY(SELECT c.parent FROM holdfast.run c WHERE c.id = ANY($2::text[])))
    ORDER BY r.n FOR UPDATE""",
    state=RUN_STATE,
)
LOCK_FAMILIES: Final = Statement(_LOCK_FAMILIES)
#: The same for a wave that may grant leases: nobody changes limits before it ends.
_TO_GRANT: Final = "SELECT r.* FROM {granting} CROSS JOIN LATERAL ({lock}) r"
LOCK_RUNS_TO_GRANT: Final = Statement(
    rows.select(_TO_GRANT, granting=GRANTING, lock=_LOCK_RUNS.replace("WHERE r.id", "WHERE flow.held AND r.id"))
)
LOCK_FAMILIES_TO_GRANT: Final = Statement(
    rows.select(_TO_GRANT, granting=GRANTING, lock=_LOCK_FAMILIES.replace("WHERE r.id", "WHERE flow.held AND r.id"))
)
#: After the locks, so that what waited for another transaction is never earlier than what that one wrote.
CLOCK: Final = Statement("SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint")
NEW_NUMBERS: Final = Statement("SELECT nextval('holdfast.run_n') FROM generate_series(1, $1::integer)")

FIND_JOBS: Final = Statement("""
    SELECT v.id, j.stage_id, j.generation, j.turn, j.item, j.status, j.epoch, j.lease_until, j.lost, j.give_up_at
    FROM (
        SELECT r.n, v.*
        FROM unnest($1::text[], $2::text[], $3::integer[], $4::integer[], $5::integer[])
            v (id, stage_id, generation, turn, item)
        JOIN holdfast.run r ON r.id = v.id OFFSET 0
    ) v
    JOIN holdfast.job j ON j.run = v.n AND j.stage_id = v.stage_id AND j.generation = v.generation
        AND j.turn = v.turn AND j.item = v.item""")
#: Positions of what is known of a job, behind its key.
STATUS, EPOCH, LEASE_UNTIL, LOST, GIVE_UP_AT = range(5)

FIND_OPERATIONS: Final = Statement("""
    SELECT o.tenant, o.scope, o.key, o.command, o.fingerprint, o.result, o.run_id
    FROM unnest($1::text[], $2::text[], $3::text[]) v (tenant, scope, key)
    JOIN holdfast.operation o ON o.tenant = v.tenant AND o.scope = v.scope AND o.key = v.key""")
FIND_TIMERS: Final = Statement("""
    SELECT v.id, t.id, t.due_at
    FROM (
        SELECT r.n, v.* FROM unnest($1::text[], $2::text[]) v (id, timer)
        JOIN holdfast.run r ON r.id = v.id OFFSET 0
    ) v
    JOIN holdfast.timer t ON t.run = v.n AND t.id = v.timer""")
FIND_GATES: Final = Statement("""
    SELECT v.id, g.gate, g.generation, g.turn, g.arity, g.tolerate, g.resolved, g.taken, g.failed, g.sources, g.done
    FROM (
        SELECT r.n, v.* FROM unnest($1::text[], $2::text[], $3::integer[], $4::integer[]) v (id, gate, generation, turn)
        JOIN holdfast.run r ON r.id = v.id OFFSET 0
    ) v
    JOIN holdfast.gate g ON g.run = v.n AND g.gate = v.gate AND g.generation = v.generation AND g.turn = v.turn""")
#: Waits with the status of the job they belong to, if it is live.
FIND_WAITS: Final = Statement("""
    SELECT v.id, w.stage_id, w.generation, w.turn, w.item, w.name, w.status, j.status
    FROM (
        SELECT r.n, v.*
        FROM unnest($1::text[], $2::text[], $3::integer[], $4::integer[], $5::integer[], $6::text[])
            v (id, stage_id, generation, turn, item, name)
        JOIN holdfast.run r ON r.id = v.id OFFSET 0
    ) v
    JOIN holdfast.wait w ON w.run = v.n AND w.stage_id = v.stage_id AND w.generation = v.generation
        AND w.turn = v.turn AND w.item = v.item AND w.name = v.name
    LEFT JOIN holdfast.job j ON j.run = v.n AND j.stage_id = v.stage_id AND j.generation = v.generation
        AND j.turn = v.turn AND j.item = v.item""")
FIND_MESSAGES: Final = Statement("""
    SELECT v.id, m.name, m.text, m.digest, m.size, m.blob, m.actor
    FROM (
        SELECT r.n, v.* FROM unnest($1::text[], $2::text[]) v (id, name)
        JOIN holdfast.run r ON r.id = v.id OFFSET 0
    ) v
    JOIN holdfast.message m ON m.run = v.n AND m.name = v.name""")
FIND_NAMES: Final = Statement("""
    SELECT v.id, v.name
    FROM (
        SELECT r.n, v.* FROM unnest($1::text[], $2::text[]) v (id, name)
        JOIN holdfast.run r ON r.id = v.id OFFSET 0
    ) v
    CROSS JOIN LATERAL (
        SELECT 1 FROM holdfast.wait w WHERE w.run = v.n AND w.name = v.name AND w.status <> 'CLOSED' LIMIT 1
    ) w""")
FIND_KEYS: Final = Statement("""
    SELECT k.tenant, k.workflow_id, k.stage_id, k.key, k.fingerprint, r.id, k.holder, k.generation, k.turn, k.item,
        k.text, k.digest, k.size, k.blob
    FROM (
        SELECT k.* FROM unnest($1::text[], $2::text[], $3::text[], $4::text[]) v (tenant, workflow_id, stage_id, key)
        JOIN holdfast.keyed k ON k.tenant = v.tenant AND k.workflow_id = v.workflow_id AND k.stage_id = v.stage_id
            AND k.key = v.key OFFSET 0
    ) k
    JOIN holdfast.run r ON r.n = k.run""")
FIND_STATES: Final = Statement("""
    SELECT r.id, s.text
    FROM (SELECT x.n, x.id FROM holdfast.run x WHERE x.id = ANY($1::text[]) OFFSET 0) r
    JOIN holdfast.state s ON s.run = r.n""")

#: A row of `FIND_JOBS` behind the key.
JobRow = tuple[Any, ...]
_JOB_WIDTH: Final = 5


class Found:
    """What the store holds of what the change-sets of a wave are judged by, kept up with what the wave decides.

    Args:
        limited: The queues that have limits, if an earlier wave of the transaction has asked.
    """

    def __init__(self, limited: frozenset[str] | None = None) -> None:
        self._limited = limited
        #: The singleton keys that its change-sets concern, by run id.
        self.singles: dict[str, Single] = {}
        #: The rows of `runstate.RUN_STATE` by run id.
        self.runs: dict[str, tuple[Any, ...]] = {}
        #: The fenced jobs.
        self.jobs: dict[tuple[str, JobKey], JobRow] = {}
        #: The instant of the database's clock; None if nobody asked.
        self.now: int | None = None
        #: Numbers for the runs that are created.
        self.numbers: list[int] = []
        self.operations: dict[tuple[str, str, str], OperationRecord] = {}
        #: Due instants by run id and timer.
        self.timers: dict[tuple[str, str], int] = {}
        self._gates: dict[tuple[str, GateKey], GateState | None] = {}
        #: Status of the wait and of its job.
        self.waits: dict[tuple[str, WaitKey], tuple[str, str | None]] = {}
        #: Payload columns and actor by run id and name.
        self.messages: dict[tuple[str, str], tuple[Any, ...]] = {}
        #: Names of waits that are not CLOSED, with the run id.
        self.names: set[tuple[str, str]] = set()
        self.keys: dict[Scope, KeyedResult] = {}
        self.states: dict[str, Any] = {}
        self._asked: list[tuple[Call, Callable[[Rows], None]]] = []

    @classmethod
    def of(cls, runs: dict[str, tuple[Any, ...]], jobs: dict[tuple[str, JobKey], JobRow]) -> Found:
        """Return what is supposed to be held: these, and no limits."""
        found = cls(frozenset())
        found.runs, found.jobs = runs, jobs
        return found

    def ask(self, changes: Sequence[Prepared], *, clock: bool) -> list[Call]:
        """Return the queries for what *changes* need, with the database's clock if it is wanted."""
        granted = frozenset[str]().union(*(change.granted for change in changes)) if self._limited is None else ()
        self._ask_runs(changes, to_grant=bool(granted))
        if granted:
            self._asked.append(((CLOCK_AND_LIMITED, (list(granted),)), self._take_limited))
        elif clock:
            self._asked.append(((CLOCK, ()), self._take_clock))
        fenced = [(change.run_id, *change.job) for change in changes if change.job is not None]
        self._want(FIND_JOBS, fenced, self._take_jobs)
        creations = sum(change.change.create is not None for change in changes)
        if creations:
            self._asked.append(((NEW_NUMBERS, (creations,)), self._take_numbers))
        further = [change for change in changes if change.looks_further]
        if further:
            self._ask_further(further)
        return [call for call, _ in self._asked]

    def take(self, results: Sequence[Rows]) -> None:
        """Take in what the queries found."""
        for (_, take), found in zip(self._asked, results, strict=True):
            take(found)

    def _want(self, statement: Statement, wanted: Iterable[tuple[Any, ...]], take: Callable[[Rows], None]) -> None:
        # Each once: what two change-sets ask about need not be looked up twice.
        once = list(dict.fromkeys(wanted))
        if once:
            self._asked.append((with_rows(statement, once), take))

    @property
    def limited(self) -> frozenset[str]:
        """The queues that have limits, of those in which the change-sets may grant leases."""
        return self._limited or frozenset()

    def _ask_runs(self, changes: Sequence[Prepared], *, to_grant: bool) -> None:
        runs = dict.fromkeys(change.run_id for change in changes)
        runs.update((change.parent, None) for change in changes if change.parent is not None)
        ends = list(dict.fromkeys(change.run_id for change in changes if change.may_close))
        call: Call = (LOCK_RUNS_TO_GRANT if to_grant else LOCK_RUNS, (list(runs),))
        if ends:
            call = (LOCK_FAMILIES_TO_GRANT if to_grant else LOCK_FAMILIES, (list(runs), ends))
        self._asked.append((call, self._take_runs))

    def _ask_further(self, changes: Sequence[Prepared]) -> None:
        self._want(
            FIND_OPERATIONS,
            (identity for change in changes for identity in change.operations),
            self._take_operations,
        )
        self._want(
            FIND_TIMERS,
            ((change.run_id, change.change.fired) for change in changes if change.change.fired is not None),
            self._take_timers,
        )
        for change in changes:
            self._gates.update(((change.run_id, gate), None) for gate in change.gates)
        self._want(FIND_GATES, ((run_id, *gate) for run_id, gate in self._gates), self._take_gates)
        self._ask_waits(changes)
        self._want(FIND_KEYS, (change.scope for change in changes if change.scope is not None), self._take_keys)
        patched = dict.fromkeys(change.run_id for change in changes if change.change.patch is not None)
        if patched:
            self._asked.append(((FIND_STATES, (list(patched),)), self._take_states))

    def _ask_waits(self, changes: Sequence[Prepared]) -> None:
        asked = (
            (change.run_id, *job, name)
            for change in changes
            for waits in (change.answers, change.parks)
            for job, name in waits
        )
        self._want(FIND_WAITS, asked, self._take_waits)
        opened = [(change.run_id, name) for change in changes for name in change.opens]
        told = [(change.run_id, message.name) for change in changes for message in change.change.messages]
        self._want(FIND_MESSAGES, opened + told, self._take_messages)
        self._want(FIND_NAMES, told, self._take_names)

    def _take_runs(self, found: Rows) -> None:
        self.runs = {row[0]: row[1:] for row in found}

    def _take_jobs(self, found: Rows) -> None:
        self.jobs = {(row[0], row[1:_JOB_WIDTH]): row[_JOB_WIDTH:] for row in found}

    def _take_clock(self, found: Rows) -> None:
        self.now = found[0][0]

    def _take_limited(self, found: Rows) -> None:
        self.now, limited = found[0]
        self._limited = frozenset(limited)

    def _take_numbers(self, found: Rows) -> None:
        self.numbers = [number for (number,) in reversed(found)]

    def _take_operations(self, found: Rows) -> None:
        self.operations = {row[:3]: rows.operation(row) for row in found}

    def _take_timers(self, found: Rows) -> None:
        self.timers = {(run_id, timer): due_at for run_id, timer, due_at in found}

    def _take_gates(self, found: Rows) -> None:
        for run_id, gate, generation, turn, arity, tolerate, resolved, taken, failed, sources, done in found:
            self._gates[run_id, (gate, generation, turn)] = GateState(
                arity=arity,
                tolerate=tolerate,
                resolved=resolved,
                taken=taken,
                failed=failed,
                sources=encoding.names(sources),
                done=done,
            )

    def _take_waits(self, found: Rows) -> None:
        for run_id, stage_id, generation, turn, item, name, status, job in found:
            self.waits[run_id, ((stage_id, generation, turn, item), name)] = (status, job)

    def _take_messages(self, found: Rows) -> None:
        self.messages = {(row[0], row[1]): row[2:] for row in found}

    def _take_names(self, found: Rows) -> None:
        self.names.update((run_id, name) for run_id, name in found)

    def _take_keys(self, found: Rows) -> None:
        self.keys = {row[:4]: rows.keyed(row) for row in found}

    def _take_states(self, found: Rows) -> None:
        self.states = {run_id: encoding.decode(text) for run_id, text in found}

    def gate(self, run_id: str, rule: Rule) -> GateState | None:
        """Return the gate of the rule as it stands, None if it has not heard of an edge."""
        return self._gates[run_id, (rule.gate, rule.generation, rule.turn)]

    def keep_gate(self, run_id: str, gate: GateKey, state: GateState) -> None:
        """Let the gate stand so."""
        self._gates[run_id, gate] = state
