"""`mainspring check`: does a store keep what it promises? Makes and migrates none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import typer

from mainspring.cli.settings import Exit
from mainspring.cli.stores import AppPlace, Url, ask, lacking
from mainspring.store.base import Finding, Store

COLOURS: Final = {"ok": "green", "warning": "yellow", "error": "red"}


def check(*, url: Url = "", app: AppPlace = "") -> None:
    """Look whether a store keeps what it promises.

    Prints one finding a line: `ok`, `warning` or `error`, what it is about, and what to do. A store that is not there,
    or whose schema is old, is an error that says so; it is neither made nor migrated. On SQLite the whole file is
    read, which takes seconds for gigabytes; workers may go on meanwhile.

    Exit codes: 0 no errors (there may be warnings); 1 an error was found, or the store cannot be reached, or refuses;
    2 no store is named.
    """
    raise typer.Exit(ask(url, app, _check))


async def _check(store: Store, name: str) -> Exit:
    missing = await store.pending()
    if missing:
        findings = [Finding("error", "schema", f"{name} {lacking(missing)}")]
    else:
        await store.open()
        findings = await store.check()
    _print(findings)
    return Exit.FAILED if any(each.level == "error" for each in findings) else Exit.CLEAN


def _print(findings: Sequence[Finding]) -> None:
    width = max((len(each.subject) for each in findings), default=0)
    for each in findings:
        level = typer.style(f"{each.level:<7}", fg=COLOURS[each.level])
        typer.echo(f"{level}  {each.subject:<{width}}  {each.message}")
