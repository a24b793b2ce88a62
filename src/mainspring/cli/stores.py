"""Which store a verb of the command line is for, and what is said when it cannot be used."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Final

import typer

from mainspring.app.connection import URL_VARIABLE
from mainspring.cli.loading import NotLoaded, load_app
from mainspring.cli.settings import Exit
from mainspring.errors import MainspringError, StoreUrlError
from mainspring.store.base import Store
from mainspring.store.open import open_store
from mainspring.store.url import shown

Url = Annotated[
    str,
    typer.Argument(
        metavar="URL",
        help=f"The store, such as sqlite:///work.db. [default: that of --app, or {URL_VARIABLE}]",
        show_default=False,
    ),
]
AppPlace = Annotated[
    str, typer.Option(metavar="MODULE:APP", help="The store of this app, such as shop.main:app.", show_default=False)
]

_NO_STORE: Final = f"name a store: by its URL, by --app MODULE:APP, or by the environment's {URL_VARIABLE}"


def ask(url: str, app: str, verb: Callable[[Store, str], Awaitable[Exit]]) -> Exit:
    """Run the verb on the store that is named, not opened yet; its second argument is the URL as it may be shown.

    What a store says against it is printed without a traceback; the answer is then FAILED, or USAGE when no store is
    named, or by a URL that names none. The store is closed in any case.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        named = _named(url, app)
        store = open_store(named)
    except (NotLoaded, StoreUrlError) as error:
        return _refused(str(error), Exit.USAGE)
    try:
        return asyncio.run(_closing(store, verb, shown(named)))
    except MainspringError as error:
        text = str(error)
        return _refused(text if shown(named) in text else f"{shown(named)}: {text}", Exit.FAILED)


async def _closing(store: Store, verb: Callable[[Store, str], Awaitable[Exit]], name: str) -> Exit:
    try:
        return await verb(store, name)
    finally:
        await store.close()


def _named(url: str, app: str) -> str:
    """The URL that was meant. Raises NotLoaded when there is none."""
    if url and app:
        raise NotLoaded("name the store by its URL or by --app, not by both")
    if url:
        return url
    if not app:
        found = os.environ.get(URL_VARIABLE, "")
        if not found:
            raise NotLoaded(_NO_STORE)
        return found
    # The installed script, unlike `python -m`, does not look for modules in the working directory.
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    found_by_app = load_app(app).url
    if found_by_app is None:
        raise NotLoaded(f"{app} has no URL of a store: it has none at all, or one that was given to it as an object")
    return found_by_app


def _refused(text: str, code: Exit) -> Exit:
    print(f"mainspring: {text}", file=sys.stderr)
    return code
