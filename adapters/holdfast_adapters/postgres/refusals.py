"""What a failure of Postgres means to a caller."""

from __future__ import annotations

import struct
from typing import Final

import psycopg
from psycopg import errors

from holdfast.errors import CommitUnknown, InvalidInput, StoreUnavailable
from holdfast_adapters.postgres.wire import ConnectionLost

#: Two transactions met, nothing of this one stands, and it may well stand when it is tried again. A key that is there
#: already is one of them: whoever was faster is seen the next time.
MEETINGS: Final = (errors.SerializationFailure, errors.DeadlockDetected, errors.UniqueViolation)
#: A value that has no form in the store: text that is no Unicode or holds NUL, a number that is too large.
_VALUES: Final = (psycopg.DataError, UnicodeEncodeError, OverflowError, struct.error)


#: What is told to callers in other words.
FAULTS: Final = (*_VALUES, psycopg.Error, ConnectionLost, OSError)


def is_fault_of_server(error: Exception) -> bool:
    """Return whether the server or the way to it failed, so that trying parts of the same again is useless."""
    lost = isinstance(error, CommitUnknown | ConnectionLost | OSError | psycopg.OperationalError)
    return lost and not isinstance(error, MEETINGS)


def refused(error: Exception) -> Exception:
    """Return what to tell a caller of whose request nothing was written because of *error*."""
    if isinstance(error, CommitUnknown):
        failure: Exception = CommitUnknown(str(error))
    elif isinstance(error, _VALUES):
        failure = InvalidInput("value for the store", [_first_line(error)])
    elif isinstance(error, psycopg.Error | ConnectionLost | OSError):
        failure = StoreUnavailable(f"Postgres refused: {_first_line(error)}")
    else:
        return error
    failure.__cause__ = error
    return failure


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
