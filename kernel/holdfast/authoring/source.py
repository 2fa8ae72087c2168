"""Where something stands in the user's source, so that an error can point at it."""

from __future__ import annotations

import inspect
import linecache
import sys
from collections.abc import Callable, Iterator, Mapping
from types import CodeType, FrameType
from typing import Any

import attrs

#: A definition begins with its decorators; its own line follows within so many lines.
_DECORATOR_LINES = 40


@attrs.frozen
class Source:
    """A line of a file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{_shown(self.file)}:{self.line}"

    def quoted(self) -> str:
        """Return the place and the line that stands there, if the file can be read."""
        text = linecache.getline(self.file, self.line).strip()
        return f"{self}  {text}" if text else str(self)

    def with_words(self, words: str) -> str:
        """Return the place and what is to be said about it."""
        return f"{self}  {words}"

    def of_statement(self) -> Source:
        """Return the line of the ``def`` or ``class`` that the decorators from this line on belong to."""
        for line in range(self.line, self.line + _DECORATOR_LINES):
            if linecache.getline(self.file, line).lstrip().startswith(("def ", "async def ", "class ")):
                return Source(self.file, line)
        return self


def source_of(function: Callable[..., Any]) -> Source:
    """Return where *function* begins; for a callable without Python code, the class that it comes from."""
    inner: Any = inspect.unwrap(function)
    inner = getattr(inner, "__func__", inner)
    code = getattr(inner, "__code__", None)
    if not isinstance(code, CodeType):
        # A functools.partial or an instance with __call__.
        inner = getattr(inner, "func", None) or type(inner).__call__
        code = getattr(inner, "__code__", None)
    return Source(code.co_filename, code.co_firstlineno) if isinstance(code, CodeType) else Source("<builtin>", 0)


def source_of_class(kind: type) -> Source:
    """Return where the class begins, or nearly so: before Python 3.13 its first method tells."""
    file = str(getattr(sys.modules.get(kind.__module__), "__file__", "<unknown>"))
    line = kind.__dict__.get("__firstlineno__")
    if isinstance(line, int):
        return Source(file, line)
    codes = [member.__code__ for member in vars(kind).values() if inspect.isfunction(member)]
    first = min(codes, key=lambda code: code.co_firstlineno, default=None)
    return Source(file, 1) if first is None else Source(first.co_filename, first.co_firstlineno)


@attrs.frozen
class Caller:
    """The place in the user's code that called, and the names that it can see beside its globals."""

    source: Source
    names: Mapping[str, Any]


def caller() -> Caller:
    """Return the nearest caller outside of the authoring layer."""
    for frame in _frames():
        if frame.f_globals.get("__name__", "").rpartition(".")[0] != __package__:
            local = {} if frame.f_locals is frame.f_globals else dict(frame.f_locals)
            return Caller(Source(frame.f_code.co_filename, frame.f_lineno), local)
    return Caller(Source("<unknown>", 0), {})


def _frames() -> Iterator[FrameType]:
    frame = inspect.currentframe()
    while frame is not None:
        yield frame
        frame = frame.f_back


def _shown(file: str) -> str:
    """Return *file* as it is imported, relative to the entry of the import path that it lies under."""
    roots = [root.rstrip("/\\") for root in sys.path if root and file.startswith((f"{root}/", f"{root}\\"))]
    return file[len(max(roots, key=len)) + 1 :] if roots else file
