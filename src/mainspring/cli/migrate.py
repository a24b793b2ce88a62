"""`mainspring migrate`: bring the schema of a store up to date, and nothing else."""

from __future__ import annotations

import typer

from mainspring.cli.settings import Exit
from mainspring.cli.stores import AppPlace, Url, ask
from mainspring.store.base import Store


def migrate(*, url: Url = "", app: AppPlace = "") -> None:
    """Bring the schema of a store up to date.

    Prints the name of each migration that ran, one a line, and then that the store is up to date. Several of these,
    and workers that start meanwhile, take turns: each migration runs once. Migrations only go forward; a store whose
    schema is newer than this Mainspring is refused and left as it is.

    Opening a store does the same, so this is for those who want it done before the workers start, or by another
    user of the database.

    Exit codes: 0 up to date; 1 the store cannot be reached, or refuses; 2 no store is named.
    """
    raise typer.Exit(ask(url, app, _migrate))


async def _migrate(store: Store, name: str) -> Exit:
    for migration in await store.migrate():
        print(migration)
    print(f"{name} is up to date")
    return Exit.CLEAN
