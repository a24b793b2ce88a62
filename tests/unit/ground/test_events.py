"""The hub: whoever wants to know is told, and hurts nobody."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

import pytest

from mainspring.events import Hub


@dataclass
class Happened:
    what: str = ""


@dataclass
class Failed(Happened):
    error: str = ""


def test_subscribers_are_told_in_the_order_of_subscription() -> None:
    hub, told = Hub(), list[str]()
    hub.subscribe(Failed, lambda _: told.append("first"))
    hub.subscribe(object, lambda _: told.append("second"))
    hub.subscribe(Failed, lambda _: told.append("third"))
    hub.emit(Failed())
    assert told == ["first", "second", "third"]


def test_a_base_class_hears_of_its_subclasses_not_the_other_way_round() -> None:
    hub, wide, narrow = Hub(), list[Happened](), list[Failed]()
    hub.subscribe(Happened, wide.append)
    hub.subscribe(Failed, narrow.append)
    hub.emit(Happened("a"))
    hub.emit(Failed("b"))
    assert wide == [Happened("a"), Failed("b")]
    assert narrow == [Failed("b")]


def test_a_failing_subscriber_is_logged_and_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    hub, told = Hub(), list[Happened]()

    def fails(event: Happened) -> None:
        raise RuntimeError("no")

    hub.subscribe(Happened, fails)
    hub.subscribe(Happened, told.append)
    with caplog.at_level(logging.ERROR, "mainspring.events"):
        hub.emit(Happened("a"))
    assert told == [Happened("a")]
    [record] = caplog.records
    assert "a subscriber of Happened failed" in record.getMessage()
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "no"


def test_the_end_of_a_subscription_ends_only_that_one() -> None:
    hub, told = Hub(), list[Happened]()
    stop = hub.subscribe(Happened, told.append)
    hub.subscribe(Happened, told.append)
    hub.emit(Happened("both"))
    stop()
    stop()
    hub.emit(Happened("one"))
    assert told == [Happened("both"), Happened("both"), Happened("one")]


def test_wanted_follows_the_subscriptions() -> None:
    hub = Hub()
    assert not hub.wanted(Failed)
    stop = hub.subscribe(Happened, lambda _: None)
    assert hub.wanted(Failed)
    stop()
    assert not hub.wanted(Failed)


def test_a_subscriber_may_subscribe_and_leave_while_it_is_told() -> None:
    hub, told = Hub(), list[str]()

    def once(_: Happened) -> None:
        told.append("once")
        stop()
        hub.subscribe(Happened, lambda _: told.append("new"))

    stop = hub.subscribe(Happened, once)
    hub.emit(Happened())
    hub.emit(Happened())
    assert told == ["once", "new"]


def test_a_subscription_is_not_lost_while_others_emit() -> None:
    """Routes are remembered; one that was found while the subscribers changed must not stay."""
    hub, stop = Hub(), threading.Event()

    def emit() -> None:
        while not stop.is_set():
            hub.emit(Happened())

    emitter = threading.Thread(target=emit)
    emitter.start()
    try:
        for _ in range(300):
            told: list[Happened] = []
            end = hub.subscribe(Happened, told.append)
            assert hub.wanted(Happened)
            end()
            assert not hub.wanted(Happened)
    finally:
        stop.set()
        emitter.join()
