"""How instants, durations and JSON values are written into columns and read from them."""

from __future__ import annotations

import json
import json.encoder
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, Final

from holdfast.entities.payload import Payload
from holdfast.entities.run import Failure

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

#: Of the epochs that were lost on one job this many are remembered; reaping counts as an attempt, so few ever are.
_MOST_LOST: Final = 32
#: What an escaped line of a log begins with.
_ESCAPED: Final = "\x01"
_ENCODER: Final = json.JSONEncoder(separators=(",", ":"))
decode: Final = json.loads


def _encoding() -> Callable[[Any], str]:
    """Return how to encode: by the interpreter's own encoder, made once, or where it has none by the usual way.

    `JSONEncoder.encode` makes a new one for every call, which costs more than the encoding of an event.
    """
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return _ENCODER.encode
    try:
        chunks = make(None, _ENCODER.default, json.encoder.encode_basestring_ascii, None, ":", ",", False, False, True)
    except TypeError:
        # An interpreter that wants other arguments: it is no public interface.
        return _ENCODER.encode
    return lambda value: "".join(chunks(value, 0))


#: ASCII only, so that neither NUL nor anything else in a JSON value needs care in the store.
encode: Final = _encoding()


def micros(instant: datetime) -> int:
    """Return an instant as it is stored."""
    return (instant - _EPOCH) // _MICROSECOND


def span(delta: timedelta) -> int:
    """Return a duration in microseconds."""
    return delta // _MICROSECOND


def instant(stored: int) -> datetime:
    """Return a stored instant."""
    return _EPOCH + timedelta(microseconds=stored)


def duration(stored: int) -> timedelta:
    """Return a number of microseconds as a duration."""
    return timedelta(microseconds=stored)


def maybe_instant(stored: int | None) -> datetime | None:
    """Return a stored instant, None for none."""
    return None if stored is None else _EPOCH + timedelta(microseconds=stored)


def mapping_text(data: Mapping[str, Any]) -> str | None:
    """Return a mapping as it is stored, None for an empty one."""
    if not data:
        return None
    return encode(data if type(data) is dict else dict(data))


def mapping(text: str | None) -> dict[str, Any]:
    """Return a stored mapping."""
    return decode(text) if text else {}


def failure_text(failure: Failure | None) -> str | None:
    """Return a failure as it is stored."""
    if failure is None:
        return None
    return encode([failure.code, failure.message, failure.error, failure.stage_id, failure.trace])


def failure(text: str | None) -> Failure | None:
    """Return a stored failure."""
    if text is None:
        return None
    code, message, error, stage_id, trace = decode(text)
    return Failure(code=code, message=message, error=error, stage_id=stage_id, trace=trace)


def line_text(text: str) -> str:
    """Return a line of a log as it is stored: as it is, but escaped if it holds NUL, which no row can."""
    return _ESCAPED + encode(text) if "\0" in text or text.startswith(_ESCAPED) else text


def line(stored: str) -> str:
    """Return a stored line of a log."""
    return str(decode(stored.removeprefix(_ESCAPED))) if stored.startswith(_ESCAPED) else stored


def lost_text(before: str | None, epoch: int) -> str:
    """Return the epochs lost on a job, *epoch* included, as they are stored."""
    known: list[int] = decode(before) if before else []
    return encode([*known, epoch][-_MOST_LOST:])


def state_text(payload: Payload) -> str:
    """Return the state of a suspended instance as it is stored."""
    return encode([payload.text, payload.digest, payload.size, payload.blob])


def state(text: str | None) -> Payload | None:
    """Return the stored state of a suspended instance."""
    if text is None:
        return None
    content, digest, size, blob = decode(text)
    return Payload(text=content, digest=digest, size=size, blob=blob)


@lru_cache(maxsize=4_096)
def names_text(names: tuple[str, ...]) -> str | None:
    """Return names as they are stored, None for none; of few workflows they are few."""
    return encode(names) if names else None


def names(text: str | None) -> tuple[str, ...]:
    """Return stored names."""
    return tuple(decode(text)) if text else ()
