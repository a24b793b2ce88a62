"""What is said to a keyword that does not exist: the one that was meant, where it belongs, or our word for it.

Loaded with the first mistake, and by nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from typing import Final

_OF_A_RULE: Final = ("on", "attempts", "backoff", "causes")
_OF_A_POLICY: Final = ("give_up_after", "raise_group", "wait_hint", "budget", "breaker")
_OF_A_CALL: Final = ("baseline", "hooks")

# By what was called and the keyword: where that belongs.
_PLACES: Final[dict[str, dict[str, str]]] = {
    **{
        what: {
            "policy": f"give the policy without a name: {what}(policy)",
            **{
                name: f"it belongs to the policy: write {what}(Retry(on=…, {name}=…))"
                for name in ("causes", *_OF_A_POLICY)
            },
            "key": f"it belongs to a rule: write {what}(Retry(Rule(…, key=…)))",
        }
        for what in ("retry", "retrying")
    },
    "background": {
        "policy": "give the policy after the function, without a name: background(fn, policy)",
        "retry": "give the policy after the function, without a name: background(fn, policy)",
        **{
            name: f"it belongs to the policy: write background(fn, Retry(on=…, {name}=…))"
            for name in (*_OF_A_RULE, *_OF_A_POLICY)
        },
        **dict.fromkeys(
            ("args", "kwargs", "arguments"),
            "give the arguments with the function: background(functools.partial(fn, …))",
        ),
        "timeout": "it belongs to the wait: handle.result(timeout=…); the policy has give_up_after=…",
    },
    "Retry": {
        "key": "it belongs to a rule: write Retry(Rule(…, key=…))",
        **{name: f"it belongs to the call: write retry(policy, {name}=…)" for name in _OF_A_CALL},
    },
    "Rule": {
        **{name: f"it belongs to the whole policy: write Retry(Rule(…), {name}=…)" for name in _OF_A_POLICY},
        **{name: f"it belongs to the call: write retry(policy, {name}=…)" for name in _OF_A_CALL},
    },
}

_COUNT: Final = "here it is attempts=…, all runs, the first included"
_TIME: Final = "here it is give_up_after=…, seconds for all attempts and waits"
_WAITS: Final = "here it is backoff=…, such as constant(2) or jittered(exponential(1, cap=30))"
_ERRORS: Final = "here it is on=…: classes, an ErrorSet, or a function of the error"
_LISTENER: Final = "here it is hooks=Hooks(before_wait=…, recovered=…, gave_up=…)"

# The words of tenacity, stamina, backoff and their like.
_WORDS: Final[dict[str, str]] = {
    "stop": "here it is attempts=… or give_up_after=…",
    **dict.fromkeys(("max_tries", "max_attempts", "max_retries", "retries", "tries"), _COUNT),
    **dict.fromkeys(("timeout", "max_time", "max_delay"), _TIME),
    **dict.fromkeys(("wait", "delay", "interval", "factor"), _WAITS),
    **dict.fromkeys(("wait_initial", "wait_max", "wait_jitter", "wait_exp_base", "wait_gen", "jitter"), _WAITS),
    **dict.fromkeys(("retry", "exception", "exceptions", "giveup"), _ERRORS),
    **dict.fromkeys(("before_sleep", "after", "on_backoff", "on_giveup", "on_success", "on_retry"), _LISTENER),
    "before": "here it is the first line of the function itself",
    "reraise": "leave it out: the last error itself is raised; Retry(on=…, raise_group=True) raises all of them",
    "retry_error_callback": "leave it out, and catch the error where the function is called",
    "sleep": "leave it out; tests do not wait after set_testing(True)",
}


def unknown_keywords(what: str, kind: str, given: Iterable[str], known: Sequence[str]) -> str | None:
    """A line for each keyword that `what` does not know; None when it knows them all.

    >>> unknown_keywords("retry", "option", ["attemps"], ["on", "attempts"])
    "retry has no option 'attemps'; did you mean 'attempts'?"
    """
    lines = [f"{what} has no {kind} {name!r}; {_told(what, name, known)}" for name in given if name not in known]
    return "\n".join(lines) or None


def _told(what: str, name: str, known: Sequence[str]) -> str:
    told = _PLACES.get(what, {}).get(name) or (None if what == "Hooks" else _WORDS.get(name))
    if told is not None:
        return told
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"there are: {', '.join(known)}"
