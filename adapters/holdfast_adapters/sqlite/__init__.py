"""Persistence in one SQLite file."""

from holdfast_adapters.sqlite.facts import StoreFacts
from holdfast_adapters.sqlite.persistence import SqlitePersistence
from holdfast_adapters.sqlite.schema import (
    Migration,
    all_migrations,
    current_version,
    migrate,
    migration_script,
    pending_migrations,
)

__all__ = [
    "Migration",
    "SqlitePersistence",
    "StoreFacts",
    "all_migrations",
    "current_version",
    "migrate",
    "migration_script",
    "pending_migrations",
]
