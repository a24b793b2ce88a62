"""The test-suite on every Python version that is on the machine, and with the oldest dependencies we claim.

`nox` runs what it finds; `nox -s tests-3.13 -- -k retry` runs a part. Everyday work needs only `make test`.
"""

from __future__ import annotations

import os

import nox

os.environ["UV_PYTHON_DOWNLOADS"] = "never"  # a missing interpreter is skipped, not fetched
nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv"
nox.options.error_on_missing_interpreters = False

SUITE = ("-m", "pytest", "-q", "-n", os.environ.get("WORKERS", "2"), "--dist", "worksteal", "-p", "no:cacheprovider")


@nox.session(python=["3.11", "3.12", "3.13", "3.14"])
def tests(session: nox.Session) -> None:
    """The suite with the pinned packages."""
    install_pinned(session)
    session.run("python", *SUITE, *session.posargs)


@nox.session(python="3.11")
def lowest(session: nox.Session) -> None:
    """The suite with the lowest versions that pyproject.toml allows."""
    install_pinned(session)
    session.run_install(
        "uv", "pip", "install", "-q", "--upgrade", "--resolution", "lowest-direct", "-e", ".[cli,postgres]"
    )
    session.run("python", *SUITE, *session.posargs)


def install_pinned(session: nox.Session) -> None:
    """The same packages as `make setup`, in the session's environment."""
    session.run_install("uv", "pip", "install", "-q", "--require-hashes", "-r", "requirements/dev.txt")
    session.run_install("uv", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "-e", ".")
