"""`python -m mainspring` is the `mainspring` script."""

from __future__ import annotations

from mainspring.cli import main

if __name__ == "__main__":
    main()
