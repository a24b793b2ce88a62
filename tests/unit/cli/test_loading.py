"""From `module:app` to the App, and what is said when there is none."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mainspring.app.app import App
from mainspring.cli.loading import NotLoaded, home_of, load_app

SHOP = """
from mainspring import App
app = App("memory://")
other = 3
def make_app():
    return App("memory://")
class Inner:
    app = app
"""


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    (tmp_path / "shop_for_loading").mkdir()
    (tmp_path / "shop_for_loading" / "__init__.py").touch()
    (tmp_path / "shop_for_loading" / "main.py").write_text(SHOP, encoding="utf-8")
    (tmp_path / "shop_for_loading" / "broken.py").write_text("import not_there_at_all\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    yield "shop_for_loading"
    for name in [name for name in sys.modules if name.startswith("shop_for_loading")]:
        del sys.modules[name]


@pytest.mark.parametrize("name", ["app", "make_app", "Inner.app"])
def test_an_app_is_found(shop: str, name: str, tmp_path: Path) -> None:
    assert isinstance(load_app(f"{shop}.main:{name}"), App)
    assert home_of(f"{shop}.main:{name}") == tmp_path / shop


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("{}.main", "package.module:name"),
        ("{}/main.py:app", r"such as shop_for_loading\.main:app"),
        (":app", "package.module:name"),
        ("{}.main:ap", r"did you mean shop_for_loading\.main:app\?"),
        ("{}.main:zzz", "apps there: app"),
        ("{}.main:other", "is no App: its type is int"),
        ("{}:app", "there is no app in it"),
        ("{}.mian:app", r"no module 'shop_for_loading\.mian'"),
        ("nowhere_at_all.main:app", "no module 'nowhere_at_all'"),
    ],
)
def test_what_is_no_app_is_answered_with_what_to_write(shop: str, path: str, said: str) -> None:
    with pytest.raises(NotLoaded, match=said):
        load_app(path.format(shop))


def test_an_import_error_inside_the_users_module_is_theirs(shop: str) -> None:
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        load_app(f"{shop}.broken:app")
