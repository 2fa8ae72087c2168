"""Every error Holdfast raises, as one tree with three branches that hosts act on.

::

    HoldfastError
    ├── Rejected                  the caller is wrong; repeating the call is useless
    │   ├── DefinitionError       a workflow that cannot be built, with its source line
    │   ├── UnknownWorkflow       no such workflow, or not in this version, is registered here
    │   ├── UnknownStage          the workflow has no stage of that id
    │   ├── UnknownCommand        no command of that wire name
    │   ├── InvalidCommand        a command that cannot be read
    │   ├── InvalidInput          a value that does not fit its declared type
    │   ├── InvalidConfig         config slices that do not fit their stages, all of them at once
    │   ├── PayloadTooLarge       a payload above the configured limit
    │   ├── RunNotFound           no run of that id
    │   ├── ArtifactNotFound      no artifact of that name was committed in the run
    │   ├── OutputMissing         an output was asked for that the stage may not or cannot see
    │   ├── IllegalTransition     an entity may not go from that status to this one
    │   ├── UnknownWait           the workflow never waits for anything of that name
    │   ├── UnknownToken          no wait has that token, or it has expired
    │   ├── WaitOver              the wait reached its limit before it was answered
    │   ├── WaitTimedOut          nobody answered a wait inside a stage in time
    │   ├── ChildFailed           a child run did not complete
    │   ├── StatementFailed       a statement of ctx.on_commit that the database refused; nothing was written
    │   ├── UnusableTransaction   a transaction that no command can be part of
    │   └── UnusableStore         a store that is foreign, newer, or may not be written
    ├── Conflict                  somebody was faster; repeating the call may help
    │   ├── StaleVersion          the entity changed since it was read
    │   ├── LeaseLost             the lease ended or went to another worker; nothing was written
    │   ├── TransactionLost       the caller's transaction met another one and has to begin again
    │   ├── RunLocked             somebody else's transaction keeps the run, and is not over yet
    │   ├── SingletonTaken        another run of the same singleton key is live
    │   └── IdempotencyMismatch   the key was used before, with another request
    └── Unavailable               the world failed; the cause is attached
        ├── StoreUnavailable      the store could not be reached or refused; nothing was written
        ├── CommitUnknown         a commit failed in a way that leaves open whether it happened
        ├── BlobMissing           a blob that must exist does not
        └── SinkFailed            an event sink refused a batch

Data are attributes; the message is made from them in one place.
"""

from __future__ import annotations

from collections.abc import Sequence


class HoldfastError(Exception):
    """The root of every error that Holdfast raises on purpose."""

    #: Stable identity of the kind of error, for machines and for the documentation.
    code: str = "E1000"


class Rejected(HoldfastError):
    """The caller is wrong; repeating the same call is useless."""

    code = "E2000"


class Conflict(HoldfastError):
    """Somebody else was faster; looking again and repeating may help."""

    code = "E3000"


class Unavailable(HoldfastError):
    """The world outside failed; the cause is attached as ``__cause__``."""

    code = "E4000"


class DefinitionError(Rejected):
    """Raise for a workflow that cannot be built; names what is wrong, the source lines and the way out.

    Args:
        what: One sentence saying what is wrong.
        where: Source lines, most important first, each ``file:line  text``.
        fix: One sentence saying what to do.
        code: The kind of mistake, ``E20xx``.
    """

    def __init__(self, what: str, *, where: Sequence[str] = (), fix: str = "", code: str = "E2040") -> None:
        self.what, self.where, self.fix, self.code = what, tuple(where), fix, code
        lines = [f"{code}  {what}", *(f"  {line}" for line in where)]
        if fix:
            lines.append(f"  {fix}")
        super().__init__("\n".join(lines))


class UnknownWorkflow(Rejected):
    """Raise when no workflow of that id (and version) is registered in this process."""

    code = "E2101"

    def __init__(self, workflow_id: str, *, version: str | None = None, known: Sequence[str] = ()) -> None:
        self.workflow_id, self.version, self.known = workflow_id, version, tuple(known)
        wanted = f'"{workflow_id}"' + (f" version {version}" if version else "")
        there = ", ".join(known) or "none"
        super().__init__(f"No workflow {wanted} is registered in this process. Registered: {there}.")


class UnknownStage(Rejected):
    """Raise when a workflow has no stage of the given id."""

    code = "E2102"

    def __init__(self, stage_id: str, *, workflow_id: str, known: Sequence[str] = ()) -> None:
        self.stage_id, self.workflow_id, self.known = stage_id, workflow_id, tuple(known)
        super().__init__(f'Workflow "{workflow_id}" has no stage "{stage_id}". It has: {", ".join(known) or "none"}.')


class UnknownCommand(Rejected):
    """Raise when a message names a command that does not exist."""

    code = "E2103"

    def __init__(self, type_name: object, *, known: Sequence[str] = ()) -> None:
        self.type_name, self.known = type_name, tuple(known)
        super().__init__(f"There is no command {type_name!r}. Commands: {', '.join(known)}.")


class InvalidCommand(Rejected):
    """Raise when a command message does not have the command's fields."""

    code = "E2104"

    def __init__(self, command: str, problems: Sequence[str]) -> None:
        self.command, self.problems = command, tuple(problems)
        super().__init__(f"{command} cannot be read: {'; '.join(problems)}.")


class InvalidInput(Rejected):
    """Raise when a value does not fit its declared type or cannot be written as canonical JSON.

    Args:
        what: What the value was meant to be, such as ``input of workflow "review"``.
        problems: One sentence for each fault, with the path to the field.
    """

    code = "E2110"

    def __init__(self, what: str, problems: Sequence[str]) -> None:
        self.what, self.problems = what, tuple(problems)
        super().__init__(f"The {what} is not valid: {'; '.join(problems)}")


class InvalidConfig(Rejected):
    """Raise when config slices do not fit their stages; carries all faults of all stages at once."""

    code = "E2111"

    def __init__(self, workflow_id: str, problems: Sequence[str]) -> None:
        self.workflow_id, self.problems = workflow_id, tuple(problems)
        super().__init__(f'The config for workflow "{workflow_id}" is not valid: {"; ".join(problems)}')


class PayloadTooLarge(Rejected):
    """Raise when a payload is larger than the kernel accepts."""

    code = "E2112"

    def __init__(self, what: str, *, size: int, limit: int) -> None:
        self.what, self.size, self.limit = what, size, limit
        super().__init__(
            f"The {what} is {size:,} bytes; the limit is {limit:,}. "
            "Save it with ctx.save() and pass its name, or raise Settings.max_payload_bytes."
        )


class RunNotFound(Rejected):
    """Raise when no run of that id exists."""

    code = "E2120"

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f'There is no run "{run_id}".')


class ArtifactNotFound(Rejected):
    """Raise when no artifact of that name was committed in the run."""

    code = "E2121"

    def __init__(self, name: str, *, run_id: str, known: Sequence[str] = ()) -> None:
        self.name, self.run_id, self.known = name, run_id, tuple(known)
        super().__init__(f'Artifact "{name}" was not found in run {run_id}. There: {", ".join(known) or "(none)"}.')


class OutputMissing(Rejected):
    """Raise when a stage asks for an output that it did not declare or that does not exist."""

    code = "E2122"

    def __init__(self, stage_id: str, *, asked_by: str, available: Sequence[str], reason: str) -> None:
        self.stage_id, self.asked_by, self.available, self.reason = stage_id, asked_by, tuple(available), reason
        there = ", ".join(available) or "(none)"
        super().__init__(f'Stage "{asked_by}" asked for the output of "{stage_id}", {reason}. Available: {there}.')


class IllegalTransition(Rejected):
    """Raise when an entity may not go from its present status to the one asked for."""

    code = "E2130"

    def __init__(self, entity: str, *, source: str, target: str, hint: str = "") -> None:
        self.entity, self.source, self.target = entity, source, target
        super().__init__(f"{entity} is {source} and cannot become {target}." + (f" {hint}" if hint else ""))


class UnknownWait(Rejected):
    """Raise when a payload is sent to a wait that the workflow does not have."""

    code = "E2150"

    def __init__(self, name: str, *, workflow: str, known: Sequence[str]) -> None:
        self.name, self.workflow, self.known = name, workflow, tuple(known)
        there = ", ".join(known) or "none"
        super().__init__(f'Workflow {workflow} never waits for "{name}". It waits for: {there}.')


class UnknownToken(Rejected):
    """Raise when a token is not the right to anything; whether it never was one or has expired is not told."""

    code = "E2151"

    def __init__(self) -> None:
        super().__init__("The token is unknown or has expired. Ask for a new one.")


class WaitOver(Rejected):
    """Raise when a payload comes after its wait reached its limit; the run has gone on without it."""

    code = "E2152"

    def __init__(self, name: str, *, run_id: str) -> None:
        self.name, self.run_id = name, run_id
        super().__init__(f'The wait "{name}" of run {run_id} is over: it reached its limit before this answer.')


class WaitTimedOut(Rejected):
    """Raise inside a stage when nobody answered its wait in time; a stage may catch it and go another way."""

    code = "E2153"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(f'Nobody answered the wait "{name}" in time.')


class ChildFailed(Rejected):
    """Raise inside a stage when a child run it waits for ended otherwise than COMPLETED; a stage may catch it."""

    code = "E2154"

    def __init__(self, child_id: str, *, status: str, failure_code: str | None, message: str) -> None:
        self.child_id, self.status, self.failure_code, self.message = child_id, status, failure_code, message
        why = f": {message}" if message else ""
        super().__init__(f"Child run {child_id} is {status}{why}")


class UnusableStore(Rejected):
    """Raise when a store is foreign, has a newer schema, or may not be written; nothing was changed."""

    code = "E2140"

    def __init__(self, store: str, *, why: str, fix: str) -> None:
        self.store, self.why, self.fix = store, why, fix
        super().__init__(f"The store {store} cannot be used: {why} {fix}")


class StatementFailed(Rejected):
    """Raise when the database refuses a statement of ``ctx.on_commit``; nothing of the change-set was written."""

    code = "E2160"

    def __init__(self, sql: str, *, why: str) -> None:
        self.sql, self.why = sql, why
        super().__init__(f"{why} The statement was: {sql}")


class UnusableTransaction(Rejected):
    """Raise when a command cannot be part of the caller's transaction; nothing was written."""

    code = "E2161"

    def __init__(self, why: str, *, fix: str) -> None:
        self.why, self.fix = why, fix
        super().__init__(f"{why} {fix}")


class StaleVersion(Conflict):
    """Raise when an entity changed since it was read; nothing of the change-set was written."""

    code = "E3001"

    def __init__(self, entity: str, *, expected: str, actual: str) -> None:
        self.entity, self.expected, self.actual = entity, expected, actual
        super().__init__(f"{entity} changed meanwhile: expected {expected}, found {actual}.")


class LeaseLost(Conflict):
    """Raise when a lease ended or went to another worker; nothing of the change-set was written."""

    code = "E3002"

    def __init__(self, job: str, *, epoch: int, actual: str) -> None:
        self.job, self.epoch, self.actual = job, epoch, actual
        super().__init__(f"The lease on {job} (epoch {epoch}) is lost: {actual}.")


class SingletonTaken(Conflict):
    """Raise when a run may not go on because another live run of its workflow has the same singleton key."""

    code = "E3004"

    def __init__(self, key: str, *, run_id: str) -> None:
        self.key, self.run_id = key, run_id
        super().__init__(f'Run {run_id} is live and has the singleton key "{key}". Wait until it ends, or cancel it.')


class TransactionLost(Conflict):
    """Raise when the caller's transaction met another one; roll it back and begin again from its first statement."""

    code = "E3005"

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(f"The transaction met another one ({why}). Roll it back and begin again with a new one.")


class RunLocked(Conflict):
    """Raise when another transaction keeps a run and others should not wait for its end; nothing was written."""

    code = "E3006"

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"Run {run_id} is part of another transaction, which is not over yet.")


class IdempotencyMismatch(Conflict):
    """Raise when an idempotency key or operation id was used before with another request."""

    code = "E3003"

    def __init__(self, key: str, *, command: str) -> None:
        self.key, self.command = key, command
        super().__init__(
            f"Key {key!r} was used before for another {command} request. "
            "The same key must carry the same request; use a new key for a new one."
        )


class StoreUnavailable(Unavailable):
    """Raise when the store could not be reached or refused the work; nothing was written."""

    code = "E4001"


class CommitUnknown(Unavailable):
    """Raise when a commit failed in a way that leaves open whether it happened; look its outcome up, never guess."""

    code = "E4002"


class BlobMissing(Unavailable):
    """Raise when a blob that a committed row refers to does not exist."""

    code = "E4003"

    def __init__(self, key: str) -> None:
        self.key = key
        super().__init__(f'Blob "{key}" was not found.')


class SinkFailed(Unavailable):
    """Raise when an event sink refused a batch of events."""

    code = "E4004"
