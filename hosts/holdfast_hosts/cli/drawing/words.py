"""What a picture says about a stage beside its name."""

from __future__ import annotations

from collections.abc import Iterator

from holdfast.entities.definition import DEFAULT_QUEUE, Definition, Join, Mapped, StageSpec
from holdfast_hosts.cli.rendering.times import took


def notes_of(spec: StageSpec, definition: Definition) -> Iterator[str]:
    """Yield what everybody should see of a stage."""
    if spec.wait is not None:
        name = f" for {spec.wait.name}" if spec.wait.name != spec.id else ""
        yield f"waits{name} {_limit(spec)}"
    if spec.polling is not None:
        yield f"batch, asked every {took(spec.polling.every)}"
    if spec.waits:
        yield f"may wait for {', '.join(spec.waits)}"
    if spec.key is not None:
        yield "once per key"
    if spec.compensate is not None and definition.compensates:
        yield f"undone by {getattr(spec.compensate.function, '__name__', 'its compensation')}"


def _limit(spec: StageSpec) -> str:
    limit = None if spec.wait is None else spec.wait.timeout
    return "without limit" if limit is None else f"at most {took(limit)}"


def hints_of(spec: StageSpec, definition: Definition) -> tuple[str, ...]:
    """Return what is told of a stage to who asks for more."""
    hints = [f"{spec.id}: {spec.input.name} → {spec.output.name}"]
    if spec.body is not None:
        hints.append(f"at most {spec.retry.attempts} tries" if spec.retry.attempts > 1 else "one try")
    if spec.timeout is not None:
        hints.append(f"a try takes at most {took(spec.timeout)}")
    if spec.queue != DEFAULT_QUEUE:
        hints.append(f"queue {spec.queue}")
    if spec.wait is not None and spec.wait.reason:
        hints.append(spec.wait.reason)
    return tuple(hints)


def join_notes(join: Join, ways: int) -> Iterator[str]:
    """Yield when a stage begins that *ways* lead to, unless that is as usual."""
    if join.need is not None:
        yield f"begins after {join.need} of {ways}"
    if join.tolerate:
        yield f"{join.tolerate} of {ways} may fail"


def map_notes(mapped: Mapped) -> Iterator[str]:
    """Yield how the items of a map are handled."""
    yield f"limit {mapped.limit:,}"
    if mapped.tolerate:
        share = f"{mapped.tolerate:,}" if isinstance(mapped.tolerate, int) else f"{mapped.tolerate * 100:g} %"
        yield f"{share} may fail"
