"""What is said to an option that schedules do not have: where it belongs, or our word for it."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from mainspring.app.options import TaskDefaults, TaskOptions

_WHEN: Final = "the trigger says when its jobs run"
_OF_THE_TRIGGER: Final = "it belongs to Cron(…, tz=…) and Daily(…, tz=…); intervals count real time"
_INTERVAL: Final = "write Every(…) with seconds or a timedelta as its trigger"
_BIND: Final = "give arguments with task.bind(…)"

# Also the words of APScheduler and Celery.
_WORDS: Final = {
    **dict.fromkeys(("delay", "run_at", "countdown", "eta"), _WHEN),
    **dict.fromkeys(("tz", "timezone", "zone"), _OF_THE_TRIGGER),
    **dict.fromkeys(("seconds", "minutes", "hours", "days", "weeks"), _INTERVAL),
    **dict.fromkeys(("args", "kwargs"), _BIND),
    "tx": "it is for task.enqueue(…) alone",
    "coalesce": "here it is misfire='once', the default, or misfire='all'",
    "max_instances": "here it is overlap='skip', the default, 'queue' or 'allow'",
    "misfire_grace_time": "here it is misfire_grace=…",
    "replace_existing": "put replaces what is there, and add does not",
    "start_date": "here it is start_at=…",
    "end_date": "here it is end_at=…",
    "enabled": "here it is app.schedules.pause(id)",
}


def unknown_option(name: str, known: Sequence[str]) -> str:
    """A line about an option that there is not.

    >>> unknown_option("queue", ["jitter"])
    'queue is an option of the task: put @app.task(queue=…) below, or schedule task.options(queue=…)'
    >>> unknown_option("jiter", ["jitter"])
    "a schedule has no option 'jiter'; did you mean 'jitter'?"
    """
    if name not in _WORDS:
        places = [
            place
            for there, place in (
                (TaskDefaults, f"put @app.task({name}=…) below"),
                (TaskOptions, f"schedule task.options({name}=…)"),
            )
            if name in there.__annotations__
        ]
        if places:
            return f"{name} is an option of the task: {', or '.join(places)}"
    close = get_close_matches(name, known, n=1)
    told = _WORDS.get(name) or (f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}")
    return f"a schedule has no option {name!r}; {told}"
