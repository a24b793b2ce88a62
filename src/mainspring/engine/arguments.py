"""The arguments of a task: to JSON by parameter name, and back by the annotations.

One JSON object holds the arguments of a call (API.md D9): parameters may change their order, not their names. Variadic
parameters are kept too: those of `*args` as a list under its name, those of `**kwargs` beside the others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from inspect import Parameter
from typing import Any, Final

import msgspec
from msgspec import UNSET, Raw

from mainspring.codec import DEFAULT_LIMIT, encode
from mainspring.engine.annotations import annotation_of, signature_of
from mainspring.engine.options import OPTION_NAMES
from mainspring.errors import ArgumentsInvalid, EncodingError, TaskDefinitionError

Arguments = tuple[tuple[object, ...], dict[str, object]]

_PLACE: Final = re.compile(r"^(.*) - at `\$\.?([^.\[`]*)(.*)`$", re.DOTALL)
_NO_ARGUMENTS: Final = b"{}"
_POSITIONAL: Final = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class Parameters:
    """What one task takes. Made once per task; annotations are resolved at the first use (API.md D4).

    `takes_context`: the function's first parameter is the Context, which is no argument of a job.

    >>> def send(to: str, copies: int = 1) -> None: ...
    >>> parameters = Parameters(send, task="mail.send")
    >>> parameters.encode(("a@example.com",), {"copies": 2})
    b'{"to":"a@example.com","copies":2}'
    >>> parameters.decode(b'{"copies":2,"to":"a@example.com"}')
    (('a@example.com', 2), {})
    """

    def __init__(self, fn: Callable[..., object], *, task: str, takes_context: bool = False) -> None:
        self._fn = fn
        self._task = task
        signature = signature_of(fn)
        given = list(signature.parameters.values())[1 if takes_context else 0 :]
        self._signature = signature.replace(parameters=given)
        self._returns = signature.return_annotation
        self._parameters: Final = {each.name: each for each in given}
        self._positional: Final = tuple(each.name for each in given if each.kind in _POSITIONAL)
        self._by_keyword: Final = {each.name for each in given if each.kind is Parameter.KEYWORD_ONLY} | {
            each.name for each in given if each.kind is Parameter.POSITIONAL_OR_KEYWORD
        }
        self._list: Final = next((each.name for each in given if each.kind is Parameter.VAR_POSITIONAL), None)
        self._rest: Final = next((each.name for each in given if each.kind is Parameter.VAR_KEYWORD), None)
        self._anything: Final = self._rest is not None and len(given) == 1
        self._plain: Final = self._list is None and self._rest is None
        self._required: Final = frozenset(
            each.name
            for each in given
            if each.default is Parameter.empty and each.kind not in {Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD}
        )
        self._decoder: msgspec.json.Decoder[Any] | None = None
        self._rest_type: Any = Any
        self._result: msgspec.json.Decoder[Any] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters of the function, the Context left out."""
        return tuple(self._parameters)

    @property
    def required(self) -> frozenset[str]:
        """The parameters that must be given."""
        return self._required

    @property
    def takes_one(self) -> bool:
        """Whether the function can be called with one positional argument, as a step of a chain is."""
        first = self._positional[0] if self._positional else self._list
        return first is not None and not self._required - {first}

    # --- to JSON

    def encode(self, args: Sequence[object], kwargs: Mapping[str, object], limit: int = DEFAULT_LIMIT) -> bytes:
        """The arguments of one call as stored. `limit` is in bytes.

        Raises ArgumentsInvalid when the call does not fit the function, EncodingError for a value that is no JSON,
        PayloadTooLarge above the limit, TaskDefinitionError for an annotation that cannot be resolved.
        """
        if self._decoder is None:
            self.resolve()
        if not self._parameters and not args and not kwargs:
            return _NO_ARGUMENTS
        if not self._plain or len(args) > len(self._positional):
            return self._encode_any(args, kwargs, limit)
        bound = dict(zip(self._positional, args, strict=False))
        if kwargs:
            if not kwargs.keys() <= self._by_keyword or not bound.keys().isdisjoint(kwargs):
                return self._encode_any(args, kwargs, limit)
            bound.update(kwargs)
        if not self._required <= bound.keys():
            return self._encode_any(args, kwargs, limit)
        return self._encoded(bound, limit)

    def _encode_any(self, args: Sequence[object], kwargs: Mapping[str, object], limit: int) -> bytes:
        """The same by `inspect`, which knows variadic parameters and says what is wrong with a call."""
        if self._anything and not args:
            return self._encoded(kwargs, limit)
        if args and not self._positional and self._list is None:
            raise ArgumentsInvalid(f"task {self._task!r}: give the arguments by keyword; it takes none by position")
        try:
            bound = self._signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise ArgumentsInvalid(f"task {self._task!r}: {error}{self._suggestion(kwargs)}") from None
        rest: Mapping[str, object] = bound.pop(self._rest, {}) if self._rest is not None else {}
        for name in rest:
            if name in self._parameters and name != self._rest:
                raise ArgumentsInvalid(
                    f"task {self._task!r}: {name!r} is a parameter; **{self._rest} cannot have it, too"
                )
        return self._encoded({**bound, **rest}, limit)

    def _encoded(self, bound: Mapping[str, object], limit: int) -> bytes:
        try:
            return encode(bound, what="arguments", limit=limit)
        except EncodingError as error:
            raise self._blamed(bound, error, limit) from error

    def _blamed(self, bound: Mapping[str, object], error: EncodingError, limit: int) -> EncodingError:
        """The error, naming the argument that cannot be stored on its own."""
        for name, value in bound.items():
            try:
                encode(value, what=f"argument {name!r} of task {self._task!r}", limit=limit)
            except EncodingError as culprit:
                return culprit
        return type(error)(f"task {self._task!r}: {error}")

    def _suggestion(self, kwargs: Mapping[str, object]) -> str:
        for name in kwargs:
            close = get_close_matches(name, self._by_keyword, n=1) if name not in self._parameters else []
            if close:
                return f"; there is no {name!r}, did you mean {close[0]!r}?"
            if name in OPTION_NAMES and name not in self._parameters:
                return f"; {name!r} is an option: task.options({name}=…).enqueue(…)"
        return ""

    # --- from JSON

    def decode(self, payload: bytes, leading: bytes | None = None) -> Arguments:
        """The arguments to call the function with, as the annotations want them.

        `leading`: JSON of the first argument, which is not in the payload (the result of the step before).
        Raises ArgumentsInvalid that names the parameter and the place in it; TaskDefinitionError as `resolve`.
        """
        if leading is not None:
            payload = self._with_first(payload, leading)
        if payload == _NO_ARGUMENTS and not self._required:
            return (), {}
        if self._decoder is None:
            self.resolve()
        assert self._decoder is not None
        try:
            if self._rest is None:
                return self._spread(msgspec.structs.astuple(self._decoder.decode(payload)), {})
            return self._decode_with_rest(payload)
        except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ArgumentsInvalid(self._explained(str(error))) from error

    def _with_first(self, payload: bytes, leading: bytes) -> bytes:
        if self._positional:
            first = self._positional[0]
        elif self._list is not None:
            first, leading = self._list, b"[" + leading + b"]"
        else:
            raise ArgumentsInvalid(f"task {self._task!r} takes no argument, so it cannot be given the result before it")
        rest = b"}" if payload == _NO_ARGUMENTS else b"," + payload[1:]
        return b'{"' + first.encode() + b'":' + leading + rest

    def _spread(self, values: tuple[object, ...], rest: dict[str, object]) -> Arguments:
        """Values in the order of the parameters as a call: by position as far as there is no gap."""
        if self._plain and len(self._positional) == len(values):
            if UNSET not in values:
                return values, rest
            first = values.index(UNSET)
            if all(value is UNSET for value in values[first:]):
                return values[:first], rest
        args: list[object] = []
        gap = False
        kwargs: dict[str, object] = {}
        for parameter, value in zip(self._stored(), values, strict=True):
            if value is UNSET:
                gap = True
            elif parameter.kind is Parameter.VAR_POSITIONAL:
                args.extend(value)  # type: ignore[arg-type]  # decoded as a list
            elif parameter.kind is Parameter.KEYWORD_ONLY or (gap and parameter.kind is not Parameter.POSITIONAL_ONLY):
                kwargs[parameter.name] = value
            elif gap:
                raise ArgumentsInvalid(
                    f"task {self._task!r}: parameter {parameter.name!r} is given by position, but one before it is not"
                )
            else:
                args.append(value)
        return tuple(args), {**kwargs, **rest}

    def _decode_with_rest(self, payload: bytes) -> Arguments:
        assert self._decoder is not None
        fields = msgspec.json.decode(payload, type=dict[str, Raw])
        known = {name: value for name, value in fields.items() if name in self._parameters and name != self._rest}
        rest: dict[str, object] = {}
        for name, raw in fields.items():
            if name not in known:
                try:
                    rest[name] = msgspec.json.decode(raw, type=self._rest_type, dec_hook=_built)
                except msgspec.ValidationError as error:
                    raise ArgumentsInvalid(f"task {self._task!r}, parameter {name!r}: {error}") from error
        return self._spread(msgspec.structs.astuple(self._decoder.decode(msgspec.json.encode(known))), rest)

    def _explained(self, text: str) -> str:
        """What msgspec says, with the parameter and the place in it."""
        at = _PLACE.match(text)
        if at is None:
            text = text.replace("Object contains unknown field", "no parameter").replace(
                "Object missing required field", "no value for the parameter"
            )
            return f"task {self._task!r} cannot take its stored arguments: {text}; it takes {self._signature_text()}"
        what, name, place = at.groups()
        return f"task {self._task!r}, parameter {name!r}: {what}{f' at {name}{place}' if place else ''}"

    def _signature_text(self) -> str:
        return f"({', '.join(self._parameters)})"

    # --- results

    def decode_result(self, data: bytes | None) -> object:
        """A stored result as the return annotation wants it; None when none was stored.

        Raises EncodingError when it does not fit, TaskDefinitionError for an annotation that cannot be resolved.
        """
        if data is None:
            return None
        if self._result is None:
            kind = annotation_of(self._fn, "return", self._returns, self._task)
            self._result = self._made(kind, "its result")
        try:
            return self._result.decode(data)
        except (msgspec.ValidationError, msgspec.DecodeError) as error:
            raise EncodingError(f"the result of task {self._task!r} does not fit its annotation: {error}") from error

    # --- annotations

    def resolve(self) -> None:
        """Resolve the annotations, once. Raises TaskDefinitionError that names the task and the parameter (D4)."""
        if self._decoder is not None:
            return
        fields: list[tuple[str, Any, Any]] = []
        for number, each in enumerate(self._stored()):
            kind: Any = annotation_of(self._fn, each.name, each.annotation, self._task)
            if each.kind is Parameter.VAR_POSITIONAL:
                kind = list[kind]
            self._made(kind, f"parameter {each.name!r}")
            optional = each.name not in self._required
            fields.append((f"p{number}", kind, UNSET if optional else msgspec.NODEFAULT))
        if self._rest is not None:
            rest = self._parameters[self._rest]
            self._rest_type = annotation_of(self._fn, rest.name, rest.annotation, self._task)
        names = {f"p{number}": each.name for number, each in enumerate(self._stored())}
        # Required ones cannot be told from others by their order here: a keyword-only one may follow a default.
        kind = msgspec.defstruct("Arguments", fields, rename=names, forbid_unknown_fields=True, kw_only=True)
        self._decoder = msgspec.json.Decoder(kind, dec_hook=_built)

    def _stored(self) -> list[Parameter]:
        """The parameters that have a name of their own in the stored object."""
        return [each for each in self._parameters.values() if each.kind is not Parameter.VAR_KEYWORD]

    def _made(self, kind: Any, what: str) -> msgspec.json.Decoder[Any]:
        try:
            return msgspec.json.Decoder(kind, dec_hook=_built)
        except (TypeError, ValueError, RecursionError) as error:
            raise TaskDefinitionError(
                f"task {self._task!r}: {what} is annotated with what JSON cannot be decoded to: {error}"
            ) from error


def _built(kind: Any, value: object) -> object:
    """A value of a class that msgspec does not know: a Pydantic model, found by its method, never imported."""
    validate = getattr(kind, "model_validate", None)
    if callable(validate):
        return validate(value)
    if isinstance(kind, type) and isinstance(value, kind):
        return value
    name = getattr(kind, "__qualname__", repr(kind))
    raise TypeError(f"a {name} cannot be made from JSON; use a dataclass, a Struct, or a JSON type")
