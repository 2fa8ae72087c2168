"""A Postgres server for benchmarks, from the wheel of the development set: data on a disk, synchronous commits."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

from psycopg import conninfo

from tests.postgres import Server

#: As somebody would set them who gives the server a machine of a few gigabytes; all else is as it comes.
SETTINGS: Final = {"shared_buffers": "512MB", "max_wal_size": "4GB"}


@contextmanager
def served(folder: Path | None = None) -> Generator[str]:
    """Give the URL of a server that vanishes at the end with all its data.

    Args:
        folder: Where its data lie for as long, on the disk that is to be measured.
    """
    data = Path(tempfile.mkdtemp(prefix="holdfast-bench-", dir=folder))
    try:
        server = Server(settings=SETTINGS, folder=data)
        try:
            yield f"postgresql://?{urlencode(conninfo.conninfo_to_dict(server.url))}"
        finally:
            server.stop()
    finally:
        shutil.rmtree(data, ignore_errors=True)
