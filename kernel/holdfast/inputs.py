"""What a stage's body is called with: its input, its config and its context, read lazily and decoded once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import attrs

from holdfast.authoring.config import config_text
from holdfast.authoring.context import Attempt, Context, Surroundings, Watch
from holdfast.checkpoints import JournalledSteps
from holdfast.command import Ports
from holdfast.decide.open import Keep
from holdfast.entities.definition import Body, Definition, StageSpec
from holdfast.entities.payload import Payload
from holdfast.entities.run import Failure
from holdfast.entities.stage import Lease, StageStatus
from holdfast.errors import Rejected
from holdfast.payloads import BlobArtifacts, text_of


@attrs.define(kw_only=True)
class Leased:
    """A leased job with everything that is known about it before its body runs."""

    lease: Lease
    ports: Ports
    definition: Definition
    spec: StageSpec
    #: Outputs that need not be read again, by stage id.
    given: Mapping[str, Payload]
    #: The worker that takes what follows at once, if it may.
    stay: Keep | None
    watch: Watch

    @property
    def is_poll(self) -> bool:
        """Whether the job is to be polled, not executed."""
        return self.lease.status is StageStatus.SUSPENDED


@attrs.frozen
class Unfit(Exception):
    """The attempt failed for a reason in the stored data or the code, which another attempt cannot mend."""

    failure: Failure


async def prepare(job: Leased) -> tuple[tuple[Any, ...], Body]:
    """Return the arguments and the body to call with them.

    Raises:
        Unfit: If a stored value does not fit the type that the code declares for it.
        Unavailable: If a port cannot be reached.
    """
    spec = job.spec
    polling = spec.polling if job.is_poll else None
    body = spec.body if polling is None else polling.body
    # A poll is called with its reference; the stage's sources were the business of what it submitted.
    wanted = spec.needs if job.is_poll else spec.sources + spec.needs
    # Most are at hand, and for those nothing is awaited.
    texts = _at_hand(wanted, job) or await _outputs(wanted, job)
    arguments: list[Any] = []
    if polling is not None:
        assert job.lease.state is not None, "a suspended stage instance has its state"
        text = await text_of(job.lease.state, blob_store=job.ports.blob_store)
        arguments.append(_read(polling.state.decode, text, what=f'reference of stage "{spec.id}"', job=job))
    elif body.takes_input:
        if spec.sources:
            text = _joined(job, texts)
        else:
            text = await text_of(job.lease.run.input, blob_store=job.ports.blob_store)
        arguments.append(_read(spec.input.decode, text, what=f'input of stage "{spec.id}"', job=job))
    if body.takes_context:
        arguments.append(_context(job, texts))
    return tuple(arguments), body


def _at_hand(wanted: tuple[str, ...], job: Leased) -> Mapping[str, str]:
    """Return the texts of the *wanted* outputs, or nothing if one of them is not in memory."""
    texts: dict[str, str] = {}
    for stage_id in wanted:
        payload = job.given.get(stage_id)
        if payload is None or payload.text is None:
            return {}
        texts[stage_id] = payload.text
    return texts


async def _outputs(wanted: tuple[str, ...], job: Leased) -> Mapping[str, str]:
    if not wanted:
        return {}
    payloads = job.given
    missing = tuple(stage_id for stage_id in wanted if stage_id not in payloads)
    if missing:
        payloads = {**payloads, **await job.ports.persistence.get_outputs(job.lease.key.run_id, missing)}
    return {
        stage_id: await text_of(payloads[stage_id], blob_store=job.ports.blob_store)
        for stage_id in wanted
        if stage_id in payloads
    }


def _joined(job: Leased, texts: Mapping[str, str]) -> str:
    """Return the input of a stage that takes the outputs of others."""
    sources = job.spec.sources
    absent = [source for source in sources if source not in texts]
    if absent:
        message = f"The output of {', '.join(absent)} is not there; the run's input never stands in for it."
        raise Unfit(Failure(code="INVALID_INPUT", message=message, stage_id=job.spec.id))
    if len(sources) == 1:
        return texts[sources[0]]
    return f"[{','.join(texts[source] for source in sources)}]"


def _context(job: Leased, texts: Mapping[str, str]) -> Context[Any]:
    spec, ports = job.spec, job.ports
    config = None
    if spec.config is not None:
        text = config_text(job.lease.run.config, spec.id)
        config = _read(spec.config.decode, text, what=f'config of stage "{spec.id}"', job=job, code="INVALID_CONFIG")
    at = Attempt(
        lease=job.lease,
        spec=spec,
        definition=job.definition,
        outputs=texts,
        watch=job.watch,
        surroundings=Surroundings(
            clock=ports.clock,
            services=ports.services,
            artifacts=BlobArtifacts(ports),
            steps=JournalledSteps(ports),
            block_on=ports.block_on,
        ),
        deadline=None if spec.timeout is None else ports.clock.now() + spec.timeout,
    )
    return Context(at, config=config)


def _read(decode: Callable[..., Any], text: str, *, what: str, job: Leased, code: str = "INVALID_INPUT") -> Any:
    try:
        return decode(text, what=what)
    except Rejected as error:
        name = type(error).__qualname__
        raise Unfit(Failure(code=code, message=str(error), error=name, stage_id=job.spec.id)) from error
    except BaseException as error:  # noqa: BLE001 - a validator of the user's, and nothing is awaited here
        message = f"The {what} could not be read: its validator raised {type(error).__name__}."
        failure = Failure(code=code, message=message, error=type(error).__qualname__, stage_id=job.spec.id)
        raise Unfit(failure) from None
