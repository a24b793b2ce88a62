"""A URL as it may be shown: in messages and logs, without its password."""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "***"

_SCHEME: Final = re.compile(r"[\w+.-]+://")
_SECRET: Final = re.compile(r"\b(\w*(?:password|passwd|pwd|secret|token)\w*\s*=\s*)('[^']*'|[^&\s'#]+)", re.IGNORECASE)


def shown(url: str) -> str:
    """The URL with every password replaced by `***`; what is no URL is treated as if it were one.

    A password that holds characters which should have been escaped is hidden, too: in doubt too much is.

    >>> shown("postgresql://ada:pw@db.example.com:5432/shop?pool=5")
    'postgresql://ada:***@db.example.com:5432/shop?pool=5'
    >>> shown("postgresql:///shop?user=ada&password=pw")
    'postgresql:///shop?user=ada&password=***'
    >>> shown("sqlite:////srv/a@b.db")
    'sqlite:////srv/a@b.db'
    """
    scheme = _SCHEME.match(url)
    ends = scheme.end() if scheme else 0
    return _SECRET.sub(rf"\1{HIDDEN}", url[:ends] + _without_password(url[ends:]))


def _without_password(rest: str) -> str:
    """What comes after `scheme://`: `user:password@host…`, without the password."""
    user, colon, after = rest.partition(":")
    if not colon or "@" not in after or "/" in user or "@" in user:
        return rest
    before_query = after.partition("?")[0]
    if "@" in before_query:
        # Of several, the last one that is no part of an option ends the password.
        return f"{user}:{HIDDEN}@{after[before_query.rindex('@') + 1 :]}"
    if user.startswith("[") or re.match(r"\d*(?:[/,]|$)", before_query):  # IPv6, or a port: the @ is an option's
        return rest
    return f"{user}:{HIDDEN}@{after[after.rindex('@') + 1 :]}"
