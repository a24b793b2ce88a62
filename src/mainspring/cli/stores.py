"""Which store a verb of the command line is for, and what is said when it cannot be used."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Annotated, Final

import typer

from mainspring.app.app import App
from mainspring.app.connection import URL_VARIABLE
from mainspring.cli.loading import NotLoaded, load_app
from mainspring.cli.settings import Exit
from mainspring.errors import InvalidOption, MainspringError, StoreUnsuitable, StoreUrlError
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
UrlOption = Annotated[
    str,
    typer.Option(
        "--url",
        metavar="URL",
        help=f"The store, such as sqlite:///work.db. [default: that of --app, or {URL_VARIABLE}]",
        show_default=False,
    ),
]
"""The same for verbs that take something else first."""

AppPlace = Annotated[
    str, typer.Option(metavar="MODULE:APP", help="The store of this app, such as shop.main:app.", show_default=False)
]

_NO_STORE: Final = f"name a store: by its URL, by --app MODULE:APP, or by the environment's {URL_VARIABLE}"


class Refusal(Exception):
    """A verb cannot do what it was asked to; the text says why. It becomes the exit code FAILED."""


def ask(url: str, app: str, verb: Callable[[Store, str], Awaitable[Exit]]) -> Exit:
    """Run the verb on the store that is named, not opened yet; its second argument is the URL as it may be shown.

    What a store says against it is printed without a traceback; the answer is then FAILED, or USAGE when no store is
    named, or by a URL that names none. The store is closed in any case.
    """
    return _asked(url, app, lambda store, _, name: verb(store, name))


def ask_app(url: str, app: str, verb: Callable[[App], Awaitable[Exit]]) -> Exit:
    """Run the verb in an open app: that of `--app`, else one without tasks on the store that is named.

    A store that is not there, or whose schema is old, is refused, and neither made nor migrated; so is one in memory,
    in which there is nothing of other processes. For the rest see `ask`.
    """

    async def opened(store: Store, loaded: App | None, name: str) -> Exit:
        if not store.features.shared:
            raise Refusal(f"{name} holds nothing: a store in memory is seen by its own process alone")
        missing = await store.pending()
        if missing:
            raise StoreUnsuitable(f"{name} {lacking(missing)}")
        async with loaded or App(store=store) as used:
            return await verb(used)

    return _asked(url, app, opened)


def lacking(missing: Sequence[str]) -> str:
    """What is said of a store that lacks these migrations: opening would make it, which nobody has asked for."""
    what = "holds no store yet" if missing[0].startswith("0001") else f"lacks {', '.join(missing)}"
    return f"{what}; run `mainspring migrate`, or start a worker"


def _asked(url: str, app: str, verb: Callable[[Store, App | None, str], Awaitable[Exit]]) -> Exit:
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    try:
        named, loaded = _named(url, app)
        store = open_store(named)
    except (NotLoaded, StoreUrlError) as error:
        return _refused(str(error), Exit.USAGE)
    try:
        return asyncio.run(_closing(store, verb(store, loaded, shown(named))))
    except (Refusal, InvalidOption) as error:  # the fault of what was asked, not of the store
        return _refused(str(error), Exit.FAILED)
    except MainspringError as error:
        text = str(error)
        return _refused(text if shown(named) in text else f"{shown(named)}: {text}", Exit.FAILED)


async def _closing(store: Store, asked: Awaitable[Exit]) -> Exit:
    try:
        return await asked
    finally:
        await store.close()


def _named(url: str, app: str) -> tuple[str, App | None]:
    """The URL that was meant, and the app. Raises NotLoaded when there is none."""
    if url and app:
        raise NotLoaded("name the store by its URL or by --app, not by both")
    if url:
        return url, None
    if not app:
        found = os.environ.get(URL_VARIABLE, "")
        if not found:
            raise NotLoaded(_NO_STORE)
        return found, None
    # The installed script, unlike `python -m`, does not look for modules in the working directory.
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.insert(0, here)
    loaded = load_app(app)
    if loaded.url is None:
        raise NotLoaded(f"{app} has no URL of a store: it has none at all, or one that was given to it as an object")
    return loaded.url, loaded


def _refused(text: str, code: Exit) -> Exit:
    print(f"mainspring: {text}", file=sys.stderr)
    return code
