"""Answers with an error status are a rule of their own, beside the errors of the network."""

from __future__ import annotations

from email.message import Message
from urllib.error import HTTPError

import pytest

from mainspring.retries import TRANSIENT, TRANSPORT, Baseline, Retry, Rule, Stop, Wait


def answer(status: int) -> HTTPError:
    return HTTPError("https://shop.example/orders", status, "as the server says", Message(), None)


def overloaded(error: BaseException) -> bool:
    return isinstance(error, HTTPError) and error.code in {500, 503}


def decided(policy: Retry, error: BaseException, baseline: Baseline | None = None) -> Wait | Stop:
    return policy.decide(error, {}, 0.0, random=lambda: 0.5, baseline=baseline)


def test_CLS_031_a_list_of_statuses_takes_nothing_from_the_errors_of_the_network() -> None:
    """CLS-031: each is a rule with a count of its own."""
    policy = Retry(Rule(overloaded, attempts=3), Rule(TRANSIENT, attempts=3))
    refused, busy = decided(policy, ConnectionRefusedError()), decided(policy, answer(500))
    assert isinstance(refused, Wait)
    assert isinstance(busy, Wait)
    assert refused.counters == {"TRANSIENT": 1}
    assert busy.rule_key != "TRANSIENT"


@pytest.mark.parametrize("status", [400, 404, 410, 501])
def test_CLS_033_an_answer_that_is_not_listed_is_never_retried(status: int) -> None:
    """CLS-033: not as an error of the network either, nor by a baseline for those."""
    baseline = Baseline({TRANSPORT: Retry(on=Exception, attempts=None)})
    for policy in (Retry(Rule(overloaded), Rule(TRANSIENT)), Retry(on=TRANSIENT)):
        said = decided(policy, answer(status), baseline)
        assert isinstance(said, Stop)
        assert not said.gave_up
