"""Persistence in one Postgres database."""

try:
    import psycopg as _psycopg
except ImportError as _error:
    raise ImportError(
        'The Postgres store needs psycopg. Install it: pip install "holdfast[postgres]"', name="psycopg"
    ) from _error

from holdfast_adapters.postgres.blobs import PostgresBlobStore
from holdfast_adapters.postgres.facts import HOT_TABLES, Holder, ServerFacts, Session, Table
from holdfast_adapters.postgres.joining import within
from holdfast_adapters.postgres.persistence import PostgresPersistence
from holdfast_adapters.postgres.reaching import database_facts, database_version, migrate_database
from holdfast_adapters.postgres.schema import Migration, all_migrations, migration_script

__all__ = [
    "HOT_TABLES",
    "Holder",
    "Migration",
    "PostgresBlobStore",
    "PostgresPersistence",
    "ServerFacts",
    "Session",
    "Table",
    "all_migrations",
    "database_facts",
    "database_version",
    "migrate_database",
    "migration_script",
    "within",
]

del _psycopg
