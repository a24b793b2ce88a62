"""A URL as it may be shown."""

from __future__ import annotations

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.store.url import shown


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("postgresql://ada:pw@db:5432/shop", "postgresql://ada:***@db:5432/shop"),
        ("postgresql://:pw@db/shop", "postgresql://:***@db/shop"),
        ("postgresql://ada:pw@[::1]:5432/shop", "postgresql://ada:***@[::1]:5432/shop"),
        ("postgresql://ada:pw@a:1,b:2/shop", "postgresql://ada:***@a:1,b:2/shop"),
        ("postgresql+x://ada:pw@db/shop", "postgresql+x://ada:***@db/shop"),
        ("postgresql:///shop?user=ada&password=pw&pool=5", "postgresql:///shop?user=ada&password=***&pool=5"),
        ("postgresql://db/shop?sslpassword=pw", "postgresql://db/shop?sslpassword=***"),
        ("host=db password=pw user=ada", "host=db password=*** user=ada"),
        ("host=db password='p w' user=ada", "host=db password=*** user=ada"),
        ("ada:pw@db", "ada:***@db"),
    ],
)
def test_passwords_are_hidden(url: str, seen: str) -> None:
    assert shown(url) == seen


@pytest.mark.parametrize("password", ["a@b", "a/b", "a?b", "a#b", "a:b", "a://b", "12", "12/3", "a b", "", "a&b", "[x"])
def test_so_are_those_that_should_have_been_escaped(password: str) -> None:
    assert shown(f"postgresql://ada:{password}@db/shop") == "postgresql://ada:***@db/shop"


@pytest.mark.parametrize(
    "url",
    [
        "memory://",
        "sqlite:///work.db",
        "sqlite:////srv/a:b@c.db?synchronous=NORMAL",
        "postgresql:///shop",
        "postgresql://ada@db:5432/shop",
        "postgresql://ada@db:5432/shop?application_name=a@b",
        "postgresql://db:5432/shop?application_name=a@b",
        "postgresql://db:5432?application_name=a@b",
        "postgresql://[::1]:5432/shop?application_name=a@b",
        "",
        "work.db",
    ],
)
def test_what_has_no_password_is_shown_whole(url: str) -> None:
    assert shown(url) == url


@given(st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="'&"), min_size=1))
def test_no_password_comes_through(password: str) -> None:
    secret = f"Zq{password}qZ"
    assert "Zq" not in shown(f"postgresql://ada:{secret}@db/shop").removeprefix("postgresql://ada:")
    assert "Zq" not in shown(f"postgresql:///shop?user=ada&password={quote(secret)}")
