"""One operation, one effect: commands whose result is stored with their effect and found again."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import attrs

from holdfast.change import Change, Committed, Duplicate, Refusal
from holdfast.codec import converter, digest, from_json, to_json
from holdfast.command import Ports
from holdfast.entities.operation import OPERATION_SCOPE, OperationRecord
from holdfast.errors import CommitUnknown, IdempotencyMismatch, Rejected, SingletonTaken, StaleVersion, Unavailable
from holdfast.settling import announce, checked

R = TypeVar("R")


@attrs.frozen(kw_only=True)
class Request:
    """A command as far as its identity goes."""

    #: Wire name.
    command: str
    tenant: str
    #: Everything that makes the request what it is, as JSON values.
    body: object
    operation_id: str | None
    idempotency_key: str | None = None

    @property
    def fingerprint(self) -> str:
        """The digest by which a repeated request is told from another one under the same key."""
        return digest(to_json([self.command, self.body], what=f"{self.command} request"))

    @property
    def identities(self) -> tuple[tuple[str, str], ...]:
        """The (scope, key) pairs that the caller named."""
        named = ((OPERATION_SCOPE, self.operation_id), (self.command, self.idempotency_key))
        return tuple((scope, key) for scope, key in named if key is not None)


@attrs.frozen(kw_only=True)
class Decision(Generic[R]):
    """A change-set and the result to answer with once it stands; no change-set means that nothing needs doing."""

    change: Change | None
    result: R
    #: Changes nothing, but can carry the answer into the store when there is no other change-set and the caller named
    #: the operation: what was answered once stays the answer, also when the same request would do something later.
    note: Change | None = None


async def once(
    request: Request,
    ports: Ports,
    *,
    decide: Callable[[], Awaitable[Decision[R]]],
    result_type: type[R],
    instead: Callable[[SingletonTaken], Awaitable[Decision[R]]] | None = None,
) -> R:
    """Decide and commit, unless the same request was answered before: then return that answer.

    Args:
        request: The command's identity.
        ports: Where it happens.
        decide: Reads what it needs and decides; called again when somebody else changed the run meanwhile.
        result_type: The class that the stored answer is read back as.
        instead: What is answered when another run has the singleton key; an error if it is not given.

    Raises:
        IdempotencyMismatch: If the key was used before with another request.
        StaleVersion: If the run keeps changing.
        SingletonTaken: If another live run has the run's singleton key and nothing is answered *instead*.
    """
    fingerprint = request.fingerprint
    record = await _find(request, ports)
    if record is not None:
        return replayed(record, fingerprint=fingerprint, result_type=result_type)
    # Without an identity of the caller's the operation still gets one, so that an unknown commit can be looked up.
    identities = request.identities or ((OPERATION_SCOPE, ports.ids.new_id()),)
    stale: StaleVersion | None = None
    taken: SingletonTaken | None = None
    # The other answer has a try of its own.
    for _ in range(ports.settings.conflict_tries + (instead is not None)):
        try:
            decision = await (decide() if taken is None or instead is None else instead(taken))
        except Rejected:
            # What the run has become may be the doing of the same request, carried out elsewhere since the look-up.
            record = await _find(request, ports)
            if record is None:
                raise
            return replayed(record, fingerprint=fingerprint, result_type=result_type)
        change = decision.change or (decision.note if request.identities else None)
        if change is None:
            return decision.result
        records = tuple(
            OperationRecord(
                tenant=request.tenant,
                scope=scope,
                key=key,
                command=request.command,
                fingerprint=fingerprint,
                result=to_json(converter.unstructure(decision.result), what=f"{request.command} result"),
                run_id=change.run_id,
            )
            for scope, key in identities
        )
        change = attrs.evolve(change, operations=records)
        outcome = await _commit(change, ports)
        if isinstance(outcome, Duplicate):
            return replayed(outcome.record, fingerprint=fingerprint, result_type=result_type)
        if isinstance(outcome, StaleVersion):
            stale = outcome
            continue
        if isinstance(outcome, SingletonTaken) and instead is not None:
            taken = outcome
            continue
        await announce(change, checked(outcome), ports)
        return decision.result
    beaten = stale or taken
    assert beaten is not None, "only somebody who was faster makes the loop go round"
    raise beaten


async def _find(request: Request, ports: Ports) -> OperationRecord | None:
    for scope, key in request.identities:
        record = await ports.persistence.find_operation(tenant=request.tenant, scope=scope, key=key)
        if record is not None:
            return record
    return None


def replayed(record: OperationRecord, *, fingerprint: str, result_type: type[R]) -> R:
    """Return the stored answer of *record*.

    Raises:
        IdempotencyMismatch: If it answered another request.
    """
    if record.fingerprint != fingerprint:
        raise IdempotencyMismatch(record.key, command=record.command)
    return converter.structure(from_json(record.result, what="stored result"), result_type)


async def _commit(change: Change, ports: Ports) -> Committed | Refusal:
    """Commit; after an unknown outcome the repeated commit meets its own record as a `Duplicate` if it had happened."""
    unknown: CommitUnknown | None = None
    for _ in range(ports.settings.commit_tries):
        try:
            return (await ports.persistence.commit((change,)))[0]
        except CommitUnknown as error:
            unknown = error
        except Unavailable as error:
            if unknown is None:
                raise
            # Nothing stands of this try, and of the one before it nobody knows.
            raise unknown from error
    assert unknown is not None, "only an unknown outcome makes the loop go round"
    raise unknown
