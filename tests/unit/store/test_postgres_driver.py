"""A PostgreSQL URL without its driver says what to install."""

from __future__ import annotations

import sys

import pytest

from mainspring.errors import StoreUrlError
from mainspring.store.open import open_store


def test_without_the_driver_the_url_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "asyncpg", None)
    with pytest.raises(StoreUrlError) as caught:
        open_store("postgresql://ada:geheim@db/shop")
    assert 'pip install "mainspring[postgres]"' in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_both_names_of_the_scheme(scheme: str) -> None:
    assert open_store(f"{scheme}://db/shop").features.name == "postgres"
