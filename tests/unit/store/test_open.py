"""From a URL to a store."""

from __future__ import annotations

import subprocess
import sys

import pytest

from mainspring.errors import StoreUrlError
from mainspring.store.open import open_store


def test_memory() -> None:
    assert open_store("memory://").features.name == "memory"


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///work.db", "work.db"),
        ("sqlite:///data/my%20work.db", "data/my work.db"),
        ("sqlite:////srv/data.db", "/srv/data.db"),
        ("sqlite:///work.db?synchronous=normal", "work.db"),
    ],
)
def test_sqlite(url: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sqlite = pytest.importorskip("mainspring.store.sqlite")
    made: list[tuple[object, object]] = []
    monkeypatch.setattr(sqlite, "SqliteStore", lambda file, synchronous, **_: made.append((file, synchronous)))
    open_store(url)
    assert made == [(path, "NORMAL" if "normal" in url else "FULL")]


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("", "names no store"),
        ("work.db", "names no store"),
        ("redis://localhost", "write one of: sqlite"),
        ("mysql://localhost/work", "not supported by this version"),
        ("memory://name", "has no name"),
        ("sqlite://work.db", "three slashes"),
        ("sqlite:work.db", "three slashes"),
        ("sqlite:///", "names no file"),
        ("sqlite:///:memory:", "memory://"),
        ("sqlite:///a.db?sync=off", "synchronous=FULL"),
        ("sqlite:///a.db?synchronous=OFF", "synchronous=FULL"),
    ],
)
def test_a_url_that_names_no_store_says_what_to_write(url: str, says: str) -> None:
    with pytest.raises(StoreUrlError, match=says):
        open_store(url)


def test_only_the_backend_that_is_named_is_loaded() -> None:
    code = (
        "import sys; from mainspring.store.open import open_store; open_store('memory://'); "
        "print([name for name in sys.modules if 'sqlite' in name])"
    )
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert asked.stdout.strip() == "[]"
