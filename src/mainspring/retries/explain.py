"""Calls that do not fit: a bare TypeError becomes an error that says what to write."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from mainspring.errors import RetryDefinitionError

P = ParamSpec("P")
R = TypeVar("R")


def explained(too_many: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function of which a wrong call raises RetryDefinitionError: for an unknown keyword, or `too_many` arguments.

    Costs nothing but a call: it is looked at when the call has failed.
    """

    def decorate(fn: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(fn)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            try:
                return fn(*args, **kwargs)
            except TypeError:
                told = _told(fn, len(args), tuple(kwargs), too_many)
                if told is None:
                    raise
            raise RetryDefinitionError(told)

        return call

    return decorate


def _told(fn: Callable[..., object], positional: int, keywords: tuple[str, ...], too_many: str) -> str | None:
    """What is wrong with the call; None: the function itself has failed."""
    from mainspring.retries.keywords import unknown_keywords  # noqa: PLC0415  # for mistakes only

    code = fn.__code__
    if positional > code.co_argcount:
        return too_many
    known = code.co_varnames[code.co_posonlyargcount : code.co_argcount + code.co_kwonlyargcount]
    return unknown_keywords(fn.__name__, "option", keywords, known)
