"""Durations that read well in a test."""

from __future__ import annotations

from datetime import timedelta


def minutes(number: float) -> timedelta:
    """So many minutes.

    >>> minutes(1.5).total_seconds()
    90.0
    """
    return timedelta(minutes=number)


def hours(number: float) -> timedelta:
    """So many hours.

    >>> hours(2) == minutes(120)
    True
    """
    return timedelta(hours=number)


def days(number: float) -> timedelta:
    """So many days of 24 hours.

    >>> days(1) == hours(24)
    True
    """
    return timedelta(days=number)
