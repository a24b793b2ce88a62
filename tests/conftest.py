"""What all tests share."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import settings

from tests.servers.fixtures import (
    mark,
    own_postgres,
    pgbouncer,
    pgbouncer_url,
    postgres_proxy,
    postgres_server,
    postgres_url,
)

__all__ = ["own_postgres", "pgbouncer", "pgbouncer_url", "postgres_proxy", "postgres_server", "postgres_url"]

# A shell that starts the tests in the background has them ignore Ctrl-C, and every program that they start with them.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# No time limit for one example: the machine may be busy. In CI the same examples each time: red stays red.
settings.register_profile(
    "house", parent=settings.get_profile("ci" if os.environ.get("CI") else "default"), deadline=None
)
settings.load_profile("house")


@pytest.hookimpl(tryfirst=True)  # before `-m` picks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    mark(items)
