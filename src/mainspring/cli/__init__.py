"""The command line: `mainspring run shop.main:app`, and more nouns with later parts."""

from __future__ import annotations

import sys


def main() -> None:
    """The entry of the `mainspring` script and of `python -m mainspring`. Exits with code 2 without the extra."""
    try:
        from mainspring.cli.main import cli  # noqa: PLC0415  # its extra may not be installed
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"typer", "rich", "click"}:
            raise
        print(
            f"mainspring: the command line needs {error.name}; install it with: pip install 'mainspring[cli]'",
            file=sys.stderr,
        )
        raise SystemExit(2) from None
    cli(prog_name="mainspring")
