"""`holdfast db …`: the schema of the store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from holdfast_adapters.sqlite import Migration, all_migrations, current_version
from holdfast_adapters.sqlite import migrate as migrate_file
from holdfast_hosts.cli.exits import Exit
from holdfast_hosts.cli.opening import existing, lasting
from holdfast_hosts.cli.options import Common
from holdfast_hosts.cli.output import answer, note, show
from holdfast_hosts.cli.spelling import counted
from holdfast_hosts.store_url import StoreUrl

_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def migrate(common: Common) -> int:
    """Apply what the store lacks.

    Raises:
        UnusableStore: If it is no store of this version of Holdfast, or may not be written.
        StoreUnavailable: If it cannot be written now.
    """
    url = lasting(common.store)
    applied = migrate_file(_path(url), now=(datetime.now(UTC) - _EPOCH) // _MICROSECOND)
    version = len(all_migrations())
    if common.json:
        answer({"store": str(url), "version": version, "applied": [_name(one) for one in applied]})
        return Exit.DONE
    for one in applied:
        show(f"✓ {_name(one)}")
    done = f"{counted(len(applied), 'migration')} applied" if applied else "there was nothing to do"
    note(f"{url} is at version {version}; {done}.")
    return Exit.DONE


def status(common: Common) -> int:
    """Show each migration and whether it is applied.

    Raises:
        Told: If there is no store.
        UnusableStore: If it is no store of this version of Holdfast.
        StoreUnavailable: If it cannot be read now.
    """
    url = existing(common.store)
    version = current_version(_path(url))
    known = all_migrations()
    if common.json:
        answer(
            {
                "store": str(url),
                "version": version,
                "newest": len(known),
                "applied": [_name(one) for one in known[:version]],
                "pending": [_name(one) for one in known[version:]],
            }
        )
    else:
        _print(known, version=version)
        note(f"{url} is at version {version} of {len(known)}.")
    if version < len(known):
        note(f"  → {common.command('db', 'migrate')}")
        return Exit.SETTINGS
    return Exit.DONE


def _print(known: Sequence[Migration], *, version: int) -> None:
    for one in known:
        show(f"✓ {_name(one)}  applied" if one.number <= version else f"· {_name(one)}  pending")


def _name(migration: Migration) -> str:
    return f"{migration.number:04}_{migration.name}"


def _path(url: StoreUrl) -> Path:
    assert url.path is not None, "a store that lasts is a file"
    return url.path
