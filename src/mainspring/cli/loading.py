"""From `module:app` on the command line to the App, with an answer to every way in which that goes wrong."""

from __future__ import annotations

import importlib
import inspect
import sys
from difflib import get_close_matches
from pathlib import Path
from types import ModuleType

from mainspring.app.app import App


class NotLoaded(Exception):
    """No app there; the text says what to write instead."""


def load_app(path: str) -> App:
    """The app at `package.module:name`; a function of that name without parameters is called and makes it.

    Raises NotLoaded. An error inside the user's own module is passed on: its traceback says where.
    """
    module_name, _, name = path.partition(":")
    if not module_name or not name or "/" in path or module_name.endswith(".py"):
        hint = module_name.removesuffix(".py").replace("/", ".").strip(".") or "shop.main"
        raise NotLoaded(
            f"{path!r} is no place of an app; write it as package.module:name, such as {hint}:{name or 'app'}"
        )
    module = _import(module_name)
    found: object = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            raise NotLoaded(f"module {module_name} has no {name!r}; {_apps_in(module, name)}") from None
    if inspect.isfunction(found) and not inspect.signature(found).parameters:
        found = found()
    if not isinstance(found, App):
        raise NotLoaded(f"{path} is no App: its type is {type(found).__name__}; {_apps_in(module, name)}")
    return found


def home_of(path: str) -> Path:
    """The folder to watch for changes: that of the app's top-level package, or of its module."""
    top = sys.modules[path.partition(":")[0].partition(".")[0]]
    file = getattr(top, "__file__", None)
    return Path.cwd() if file is None else Path(file).resolve().parent


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise  # a module that theirs needs
        raise NotLoaded(
            f"there is no module {error.name!r} in {Path.cwd()} or among the installed packages; "
            "run mainspring from the folder that holds it"
        ) from None


def _apps_in(module: ModuleType, wanted: str) -> str:
    apps = [name for name, value in vars(module).items() if isinstance(value, App)]
    close = get_close_matches(wanted, apps, n=1)
    if close:
        return f"did you mean {module.__name__}:{close[0]}?"
    return f"apps there: {', '.join(apps)}" if apps else "there is no app in it; make one with app = App(url)"
