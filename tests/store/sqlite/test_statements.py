"""The SQL files themselves."""

from __future__ import annotations

import re

import pytest

from mainspring.store.sql import statements


@pytest.mark.parametrize("group", ["belongings", "jobs", "reads", "schedules", "workers"])
def test_parameters_have_no_numbers(group: str) -> None:
    """Python 3.12 takes `?1` for a name, and from 3.14 on refuses a sequence of values for it."""
    for name, statement in statements("mainspring.store.sqlite", group).items():
        assert not re.search(r"\?\d", statement), name
