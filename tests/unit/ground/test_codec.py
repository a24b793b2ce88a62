"""The codec: what it lets through, every store can keep (RULES C10)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.codec import DEFAULT_LIMIT, ERROR_LIMIT, KEY_LIMIT, check_key, clean_text, decode, encode
from mainspring.errors import EncodingError, PayloadTooLarge

CLEAN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | CLEAN,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(CLEAN, inner, max_size=4),
    max_leaves=12,
)


class Model:
    """Looks like a Pydantic model, and is none."""

    def __init__(self, **fields: object) -> None:
        self.fields = fields

    def model_dump(self, *, mode: str) -> dict[str, object]:
        assert mode == "json"
        return self.fields


@dataclass
class Order:
    total: float
    items: tuple[float, ...] = ()


class Point(msgspec.Struct):
    x: float


# --- values -----------------------------------------------------------------------------------------


@given(JSON)
def test_json_values_come_back_equal(value: object) -> None:
    assert decode(encode(value)) == value


@given(JSON)
def test_C10_encoded_bytes_hold_nothing_that_a_store_refuses(value: object) -> None:
    text = encode(value).decode("utf-8")  # strict: no surrogate
    assert "\x00" not in text


def test_dates_ids_bytes_and_sets_are_taken() -> None:
    at, by = datetime(2026, 1, 1, tzinfo=UTC), UUID(int=7)
    data = encode({"at": at, "by": by, "raw": b"\x00\xff", "some": {1}})
    assert decode(data, dict[str, object]) == {
        "at": "2026-01-01T00:00:00Z",
        "by": "00000000-0000-0000-0000-000000000007",
        "raw": "AP8=",
        "some": [1],
    }
    assert decode(encode(b"\x00\xff"), bytes) == b"\x00\xff"


def test_models_are_taken_at_any_depth() -> None:
    """Payloads are one object by parameter name, so a model is never at the top."""
    assert encode(Model(a=1)) == b'{"a":1}'
    assert encode({"order": Model(items=[Model(n=1)])}) == b'{"order":{"items":[{"n":1}]}}'


def test_what_is_not_json_is_refused_by_name() -> None:
    with pytest.raises(EncodingError, match=r"argument 'x' cannot be stored as JSON: a object is none"):
        encode(object(), what="argument 'x'")
    with pytest.raises(EncodingError, match="cannot be stored"):
        encode({"task": Model})  # the class, not an instance


def test_a_value_that_holds_itself_is_refused() -> None:
    loop: list[object] = []
    loop.append(loop)
    with pytest.raises(EncodingError, match="cannot be stored"):
        encode(loop)


# --- numbers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2**63 - 1, 2**64 - 1, -(2**63), 10**18])
def test_STO_033_integers_of_64_bits_stay_integers(number: int) -> None:
    back: object = decode(encode({"n": number}))
    assert back == {"n": number}


@pytest.mark.parametrize("number", [2**64, -(2**63) - 1, 10**30])
@pytest.mark.parametrize("wrap", [lambda n: n, lambda n: {"a": [n]}, lambda n: Order(n), lambda n: Model(n=n)])
def test_longer_integers_are_refused(number: int, wrap: object) -> None:
    assert callable(wrap)
    with pytest.raises(EncodingError, match="more than 64 bits"):
        encode(wrap(number))


def test_long_digits_in_text_are_text() -> None:
    assert decode(encode({"card": "1" * 40})) == {"card": "1" * 40}


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda n: n,
        lambda n: [1, [n]],
        lambda n: {"a": (n,)},
        lambda n: {"a": {n}},
        lambda n: Order(1.0, (n,)),
        lambda n: Point(n),
        lambda n: {"a": [Model(b=[n])]},
    ],
)
def test_nan_and_infinities_are_refused(number: float, wrap: object) -> None:
    assert callable(wrap)
    with pytest.raises(EncodingError, match="NaN or an infinity"):
        encode(wrap(number))


def test_none_and_the_word_null_are_fine() -> None:
    assert decode(encode({"a": None, "b": "null", "c": Order(1.0)})) == {
        "a": None,
        "b": "null",
        "c": {"total": 1.0, "items": []},
    }


# --- text -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\\\x00", "\\\\\x00", "\\u0000\x00"])
@pytest.mark.parametrize("wrap", [lambda t: t, lambda t: {"a": [t]}, lambda t: {t: 1}])
def test_C10_nul_is_refused(text: str, wrap: object) -> None:
    assert callable(wrap)
    with pytest.raises(EncodingError, match="NUL"):
        encode(wrap(text))


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "u0000", "\\\\\\u0000"])
def test_C10_text_that_only_looks_like_an_escaped_nul_is_taken(text: str) -> None:
    assert decode(encode({"a": text})) == {"a": text}


@given(st.text(st.sampled_from("\\u0\x00x"), max_size=12))
def test_C10_nul_is_found_exactly(text: str) -> None:
    if "\x00" in text:
        with pytest.raises(EncodingError, match="NUL"):
            encode(text)
    else:
        assert decode(encode(text)) == text


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_C10_lone_surrogates_are_refused(text: str) -> None:
    with pytest.raises(EncodingError, match="cannot be stored"):
        encode([text])
    with pytest.raises(EncodingError, match="cannot be stored"):
        encode({text: 1})


# --- size -------------------------------------------------------------------------------------------


def test_the_limit_counts_bytes() -> None:
    assert len(encode("é" * 9, limit=20)) == 20
    with pytest.raises(PayloadTooLarge, match=r"result has 22 bytes, more than the limit of 20"):
        encode("é" * 10, what="result", limit=20)


def test_the_default_limit_is_512_kib() -> None:
    encode("x" * (DEFAULT_LIMIT - 2))
    with pytest.raises(PayloadTooLarge, match="524,289 bytes"):
        encode("x" * (DEFAULT_LIMIT - 1))


# --- decoding ---------------------------------------------------------------------------------------


def test_the_place_of_a_misfit_is_named() -> None:
    with pytest.raises(EncodingError, match=r"arguments does not fit.*\$\.total"):
        decode(b'{"total": "x"}', Order, what="arguments")


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b'"\xff"', b'"\\ud800"', b"nul"])
def test_bytes_that_are_no_json_are_refused(data: bytes) -> None:
    with pytest.raises(EncodingError):
        decode(data)


# --- error texts and keys ----------------------------------------------------------------------------


@given(st.text(max_size=200), st.integers(3, 250))
def test_C10_cleaned_text_is_storable_and_bounded(text: str, limit: int) -> None:
    cleaned = clean_text(text, limit)
    cleaned.encode("utf-8")
    assert "\x00" not in cleaned
    assert len(cleaned) <= limit + 40  # the note in the middle
    assert cleaned == clean_text(cleaned, max(limit, len(cleaned)))


def test_clean_text_leaves_good_text_alone() -> None:
    text = "Fehler: größer als 10, 漢字 😀\n\tat line 3"
    assert clean_text(text) == text


def test_clean_text_keeps_both_ends() -> None:
    cleaned = clean_text("start" + "x" * ERROR_LIMIT + "end")
    assert cleaned.startswith("start")
    assert cleaned.endswith("end")
    assert "8 characters cut" in cleaned


@pytest.mark.parametrize("key", ["a", "A ", "a" * KEY_LIMIT, "é" * (KEY_LIMIT // 2), "welcome:42"])
def test_keys_are_returned_unchanged(key: str) -> None:
    assert check_key(key, "unique") == key


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("", "non-empty"),
        (7, "non-empty string"),
        (None, "non-empty string"),
        ("a\x00", "NUL"),
        ("\ud800", "surrogate"),
        ("a" * (KEY_LIMIT + 1), "more than 255 bytes"),
        ("é" * 128, "more than 255 bytes"),
    ],
)
def test_keys_that_a_store_could_refuse_are_refused(key: object, why: str) -> None:
    with pytest.raises(EncodingError, match=f"unique.*{why}"):
        check_key(key, "unique")
