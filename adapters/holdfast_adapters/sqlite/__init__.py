"""Persistence in one SQLite file."""

from holdfast_adapters.sqlite.facts import StoreFacts
from holdfast_adapters.sqlite.persistence import SqlitePersistence
from holdfast_adapters.sqlite.schema import Migration, current_version, migrate, migrations, pending_migrations

__all__ = [
    "Migration",
    "SqlitePersistence",
    "StoreFacts",
    "current_version",
    "migrate",
    "migrations",
    "pending_migrations",
]
