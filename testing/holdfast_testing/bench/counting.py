"""Counts the calls of a store."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import wraps
from typing import Any

from holdfast.ports.persistence import Persistence


@contextmanager
def counted_calls(persistence: Persistence) -> Generator[Counter[str], None, None]:
    """Count the calls of each method of *persistence* within the context.

    Its methods are covered by attributes of the object itself, for whoever holds it holds it already.
    """
    calls: Counter[str] = Counter()

    def counted(name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            calls[name] += 1
            return method(*args, **kwargs)

        return call

    covered = {name: counted(name, getattr(persistence, name)) for name in dir(Persistence) if not name.startswith("_")}
    vars(persistence).update(covered)
    try:
        yield calls
    finally:
        for name in covered:
            del vars(persistence)[name]
