"""Errors on their way from a child process: classes, bases and attributes arrive; nothing is pickled."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Self

import msgspec
import pytest

from mainspring.engine.processes.carried import Carried, carried, rebuilt
from mainspring.errors import RetryLater
from mainspring.retries.policy import Retry, Wait


class Picky(Exception):
    def __init__(self, first: int, second: str) -> None:
        super().__init__(first, second)
        self.status = first


class Stubborn(OSError):
    def __new__(cls) -> Self:
        return super().__new__(cls)


def over_the_wire(error: BaseException) -> BaseException:
    return rebuilt(msgspec.msgpack.decode(msgspec.msgpack.encode(carried(error)), type=Carried))


def test_the_class_and_plain_attributes_arrive() -> None:
    error = over_the_wire(Picky(503, "busy"))
    assert isinstance(error, Picky)
    assert (error.status, error.args) == (503, (503, "busy"))


def test_an_os_error_is_matched_by_its_number() -> None:
    error = over_the_wire(OSError(28, "No space left on device", "/data"))
    assert isinstance(error, OSError)
    assert (error.errno, error.strerror, error.filename) == (28, "No space left on device", "/data")


def test_what_is_not_plain_stays_behind() -> None:
    error = ValueError(object(), {1: 2})
    error.socket = object()  # type: ignore[attr-defined]  # as libraries do
    error.big = 2**70  # type: ignore[attr-defined]  # does not fit into 64 bits
    again = over_the_wire(error)
    assert vars(again) == {}
    assert all(isinstance(each, str) for each in again.args)


def test_a_duration_arrives_as_seconds() -> None:
    error = over_the_wire(RetryLater(timedelta(minutes=1)))  # type: ignore[arg-type]  # what users may pass
    assert isinstance(error, RetryLater)
    assert error.after == 60.0


def test_a_class_that_is_not_here_is_stood_in_for_by_name_and_base() -> None:
    data = Carried(("shop.errors:Sold.Out", "shop.errors:Sold", "builtins:LookupError"), ("x",), {"left": 0})
    error = rebuilt(data)
    assert isinstance(error, LookupError)
    assert [f"{cls.__module__}.{cls.__qualname__}" for cls in type(error).__mro__[:2]] == [
        "shop.errors.Sold.Out",
        "shop.errors.Sold",
    ]
    assert (error.args, vars(error)) == (("x",), {"left": 0})
    assert isinstance(Retry(on=LookupError).decide(error, {}, 0.0, random=lambda: 0.5), Wait)


def test_a_local_class_is_stood_in_for() -> None:
    class Local(KeyError):
        pass

    error = over_the_wire(Local("k"))
    assert isinstance(error, KeyError)
    assert type(error).__name__ == "Local"


def test_a_class_with_a_new_of_its_own_falls_back_to_its_base() -> None:
    stubborn = Stubborn()
    stubborn.args = (5, "no")
    assert type(over_the_wire(stubborn)).__name__ == "Stubborn"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), ExceptionGroup("two", [ValueError("a")])])
def test_what_is_no_plain_exception_arrives_too(error: BaseException) -> None:
    again = over_the_wire(error)
    assert type(again).__name__ == type(error).__name__
    assert isinstance(again, Exception) == isinstance(error, Exception)


def test_a_real_error_of_a_library() -> None:
    with pytest.raises(json.JSONDecodeError) as caught:
        json.loads("{")
    error = over_the_wire(caught.value)
    assert isinstance(error, json.JSONDecodeError)
    assert (error.lineno, error.pos) == (1, 1)
