"""Persistence in one Postgres database."""

try:
    import psycopg as _psycopg
except ImportError as _error:
    raise ImportError(
        'The Postgres store needs psycopg. Install it: pip install "holdfast[postgres]"', name=_error.name
    ) from _error

from holdfast_adapters.postgres.blobs import PostgresBlobStore
from holdfast_adapters.postgres.persistence import PostgresPersistence
from holdfast_adapters.postgres.schema import Migration, all_migrations

__all__ = ["Migration", "PostgresBlobStore", "PostgresPersistence", "all_migrations"]

del _psycopg
