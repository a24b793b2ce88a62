"""A policy as plain data, for what a job keeps with it, and back.

Error classes become qualified names, matched over the bases of an error, so that whoever reads the policy needs
none of them installed. Predicates and backoffs of the user's own become importable names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Final, cast

from mainspring.errors import InvalidPolicy
from mainspring.retries.backoff import (
    Backoff,
    Constant,
    Exponential,
    Jittered,
    JitterKind,
    Linear,
    constant,
    exponential,
    linear,
)
from mainspring.retries.errorsets import TRANSIENT, ErrorSet, derived_name, qualified_name
from mainspring.retries.hints import WaitHint
from mainspring.retries.policy import Retry
from mainspring.retries.rules import On, Predicate, Rule

Data = dict[str, object]

# Sets that are stored by name: a job that waits takes the set of the version that runs it.
_NAMED: Final = {"TRANSIENT": TRANSIENT}

_KINDS: Final[dict[str, JitterKind]] = {"full": "full", "proportional": "proportional", "additive": "additive"}


def policy_to_data(policy: Retry) -> Data:
    """The policy as dicts, lists, texts, numbers and None: fit for JSON.

    Raises InvalidPolicy for a predicate, backoff or wait_hint that cannot be imported by name (a lambda, a local
    function): such a policy belongs on the task, not on one job. And for a policy with a budget or a breaker, which
    count in one process and cannot be stored.

    >>> policy_to_data(Retry(on=OSError, attempts=2, backoff=constant(1)))["rules"]
    [{'key': 'builtins.OSError', 'on': {'errors': ['builtins.OSError']}, 'attempts': 2, 'backoff': {'constant': 1.0}}]
    """
    for name, live in (("budget", policy.budget), ("breaker", policy.breaker)):
        if live is not None:
            raise InvalidPolicy(
                f"a policy with a {name} cannot be stored with a job: it counts in one process only. Put @retry with "
                f"it on a function that the task calls, and give the job a policy without {name}"
            )
    data: Data = {
        "rules": [_rule_to_data(rule) for rule in policy.rules],
        "give_up_after": policy.give_up_after,
        "raise_group": policy.raise_group,
    }
    if policy.wait_hint is not None:
        data["wait_hint"] = _importable(policy.wait_hint, "wait_hint")
    return data


def policy_from_data(data: Mapping[str, object]) -> Retry:
    """The policy again: it decides as the one that was stored.

    Imports the modules of the user's own predicates and backoffs. Raises InvalidPolicy when one is not there, and
    for data that is no policy.

    >>> policy_from_data(policy_to_data(Retry(on=OSError, give_up_after=60))).give_up_after
    60.0
    """
    try:
        rules = [_rule_from_data(rule) for rule in cast("list[Data]", data["rules"])]
        limit = cast("float | None", data["give_up_after"])
        hint = data.get("wait_hint")
        wait_hint = None if hint is None else cast("WaitHint", _imported(cast("str", hint)))
        return Retry(*rules, give_up_after=limit, raise_group=bool(data["raise_group"]), wait_hint=wait_hint)
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidPolicy(f"this is no stored policy ({type(error).__name__}: {error}): {data!r}") from error


def _rule_to_data(rule: Rule) -> Data:
    data: Data = {
        "key": rule.key,
        "on": _on_to_data(rule.on),
        "attempts": rule.attempts,
        "backoff": _backoff_to_data(rule.backoff),
    }
    if rule.causes:  # absent in most, and in what older versions stored
        data["causes"] = True
    return data


def _rule_from_data(data: Data) -> Rule:
    on = _on_from_data(cast("Data", data["on"]))
    backoff = _backoff_from_data(cast("Data", data["backoff"]))
    attempts, key = cast("int | None", data["attempts"]), cast("str", data["key"])
    return Rule(on, attempts, key=key, causes=bool(data.get("causes", False))).stored(backoff)


# --- what a rule is for -------------------------------------------------------------------------------


def _on_to_data(on: On) -> Data:
    if isinstance(on, ErrorSet):
        return _set_to_data(on)
    if isinstance(on, type):
        return {"errors": [qualified_name(on)]}
    if isinstance(on, tuple):
        return {"errors": sorted({qualified_name(cls) for cls in cast("tuple[type, ...]", on)})}
    return {"predicate": _importable(on, "predicate")}


def _on_from_data(data: Data) -> On:
    if "predicate" in data:
        return cast("Predicate", _imported(cast("str", data["predicate"])))
    return _set_from_data(data)


def _set_to_data(errors: ErrorSet) -> Data:
    for name, known in _NAMED.items():
        if errors == known:
            return {"set": name}
    data: Data = {"errors": sorted(errors.names)}
    if errors.parts:
        data["or"] = [_set_to_data(part) for part in errors.parts]
    if errors.without is not None:
        data["without"] = _set_to_data(errors.without)
    if errors.name != derived_name(errors.names, errors.parts, errors.without):
        data["name"] = errors.name
    return data


def _set_from_data(data: Data) -> ErrorSet:
    if "set" in data:
        name = cast("str", data["set"])
        if name not in _NAMED:
            raise InvalidPolicy(f"this version of Mainspring has no set of errors named {name!r}")
        return _NAMED[name]
    without = data.get("without")
    return ErrorSet.composed(
        frozenset(cast("list[str]", data["errors"])),
        tuple(_set_from_data(part) for part in cast("list[Data]", data.get("or", []))),
        None if without is None else _set_from_data(cast("Data", without)),
        cast("str | None", data.get("name")),
    )


# --- backoffs -----------------------------------------------------------------------------------------


def _backoff_to_data(backoff: Backoff) -> Data:
    match backoff:
        case Constant():
            return {"constant": backoff.seconds}
        case Linear():
            return {"linear": backoff.initial, "cap": backoff.cap}
        case Exponential():
            return {"exponential": backoff.initial, "cap": backoff.cap, "factor": backoff.factor}
        case Jittered():
            inner = _backoff_to_data(backoff.backoff)
            return {"jitter": backoff.kind, "amount": backoff.amount, "cap": backoff.cap, "backoff": inner}
        case _:
            return {"function": _importable(backoff, "backoff")}


def _backoff_from_data(data: Data) -> Backoff:
    cap = cast("float | None", data.get("cap"))
    match data:
        case {"constant": float() | int() as wait}:
            return constant(wait)
        case {"linear": float() | int() as initial}:
            return linear(initial, cap)
        case {"exponential": float() | int() as initial, "factor": float() | int() as factor}:
            return exponential(initial, cap, factor)
        case {"jitter": str() as kind, "amount": float() | int() as amount} if kind in _KINDS:
            inner = _backoff_from_data(cast("Data", data["backoff"]))
            return Jittered(inner, _KINDS[kind], amount, cap)
        case {"function": str() as name}:
            return cast("Backoff", _imported(name))
        case _:
            raise InvalidPolicy(f"this is no stored backoff: {data!r}")


# --- importable names ---------------------------------------------------------------------------------


def _importable(function: Callable[..., object], role: str) -> str:
    """`module:qualname`, when that leads to this very function, in this process and in others."""
    module: str = getattr(function, "__module__", "")
    name: str = getattr(function, "__qualname__", "")
    if module and module != "__main__" and name and "<" not in name:
        try:
            if _imported(f"{module}:{name}") is function:
                return f"{module}:{name}"
        except InvalidPolicy:
            pass  # not found under its name: the same refusal as below says what to do
    raise InvalidPolicy(
        f"the {role} {function!r} cannot be stored with a job: it cannot be imported by name. "
        "Put the policy on the task, or make it a function of a module"
    )


def _imported(path: str) -> Callable[..., object]:
    module, _, name = path.partition(":")
    try:
        found: object = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidPolicy(f"a stored policy needs {path!r}, which cannot be imported here: {error}") from error
    if not callable(found):
        raise InvalidPolicy(f"a stored policy needs the function {path!r}, which is now {found!r}")
    return found
