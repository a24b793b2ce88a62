"""A URL becomes a place, or an error that says what to write."""

from __future__ import annotations

import pytest

from mainspring.errors import StoreUrlError
from mainspring.store.postgres.place import Place


def test_without_options_everything_has_its_default() -> None:
    place = Place.parse("postgresql://db.example.com/shop")
    assert place == Place(dsn="postgresql://db.example.com/shop", shown="postgresql://db.example.com/shop")
    assert (place.schema, place.notify, place.prepared, place.pool, place.timeout) == (
        "mainspring",
        True,
        True,
        10,
        10.0,
    )


def test_our_options_are_ours_and_the_others_are_the_drivers() -> None:
    place = Place.parse(
        "postgres://ada:p%40ss@a:5433,b/shop?sslmode=require&schema=w%22x&pool=3&notify=off&prepared=no&timeout=0.5"
        "&application_name=shop%20web"
    )
    assert place.dsn == (
        "postgres://ada:p%40ss@a:5433,b/shop?sslmode=require&application_name=shop%20web"
        "&target_session_attrs=read-write"
    )
    assert (place.schema, place.quoted, place.pool, place.timeout) == ('w"x', '"w""x"', 3, 0.5)
    assert not place.notify
    assert not place.prepared
    assert place.named


def test_a_standby_is_passed_over_only_where_there_are_several_hosts() -> None:
    assert "target_session_attrs" not in Place.parse("postgresql://one/shop").dsn
    assert "target_session_attrs=any" in Place.parse("postgresql://a,b/shop?target_session_attrs=any").dsn
    assert "target_session_attrs=read-write" in Place.parse("postgresql:///shop?host=a,b").dsn


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("shema=work", "did you mean schema?"),
        ("sslmod=require", "did you mean sslmode?"),
        ("work_mem=1", "options=-c"),
        ("channel_binding=require", "has no option channel_binding"),
        ("pool=0", "1 to 1000"),
        ("pool=many", "1 to 1000"),
        ("timeout=0", "above 0"),
        ("timeout=inf", "above 0"),
        ("timeout=soon", "above 0"),
        ("notify=perhaps", "on or off"),
        ("schema=pg_jobs", "does not begin with pg_"),
        ("schema=" + "x" * 64, "1 to 63 bytes"),
        ("schema=", "no value"),
        ("schema", "no URL"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused(options: str, says: str) -> None:
    with pytest.raises(StoreUrlError) as caught:
        Place.parse(f"postgresql://ada:geheim@db/shop?{options}")
    assert says in str(caught.value)
    assert "geheim" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["postgresql://ada:ge/heim@db/shop", "postgresql://ada:ge#heim@db/shop", "postgresql://ada:pw@db:heim/shop"],
)
def test_a_password_with_characters_that_were_not_escaped_is_not_told(url: str) -> None:
    with pytest.raises(StoreUrlError) as caught:
        Place.parse(url)
    assert "heim" not in str(caught.value).replace("db:heim", "")


def test_the_password_is_in_no_text_of_a_place() -> None:
    place = Place.parse("postgresql://ada:geheim@db/shop?sslpassword=geheim")
    assert "geheim" in place.dsn
    assert "geheim" not in f"{place!r} {place} {place.shown}"


def test_statements_are_for_the_schema_of_the_place() -> None:
    place = Place.parse("postgresql://db/shop?schema=Work")
    assert place.sql("opening")["create_schema"] == 'CREATE SCHEMA "Work"'
    assert place.sql("opening") is place.sql("opening")
