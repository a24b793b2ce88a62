"""Arguments to JSON by parameter name and back by the annotations."""

from __future__ import annotations

import enum
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mainspring.engine.arguments import Parameters
from mainspring.errors import ArgumentsInvalid, EncodingError, PayloadTooLarge, TaskDefinitionError

if TYPE_CHECKING:
    from somewhere_else import Order  # type: ignore[import-not-found]  # only for annotations: that is the case here


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Item:
    sku: str
    count: int = 1


class Basket(msgspec.Struct):
    items: list[Item]


class Address(TypedDict):
    street: str
    door: NotRequired[int]


def nothing() -> None: ...
def send(to: str, subject: str = "Hi", *, copies: int = 1) -> None: ...
def rich(basket: Basket, at: datetime, key: uuid.UUID, colour: Colour, address: Address) -> Item:
    return basket.items[0]


def variadic(first: int, *rest: int, flag: bool = False, **more: float) -> None: ...
def untyped(a, b=2): ...  # type: ignore[no-untyped-def]  # the case
def later(order: Order) -> None: ...
def positional(a: int, b: int = 5, /, c: int = 6) -> tuple[int, int, int]:
    return a, b, c


def parameters(fn: Any, **options: Any) -> Parameters:
    return Parameters(fn, task=f"shop.{fn.__name__}", **options)


def through(fn: Any, *args: object, **kwargs: object) -> tuple[tuple[object, ...], dict[str, object]]:
    both = parameters(fn)
    return both.decode(both.encode(args, kwargs))


# --- D9: one object by parameter name


def test_D9_arguments_are_stored_by_parameter_name() -> None:
    assert parameters(send).encode(("a",), {"copies": 2}) == b'{"to":"a","copies":2}'
    assert parameters(send).encode((), {"subject": "S", "to": "a"}) == b'{"subject":"S","to":"a"}'
    assert parameters(nothing).encode((), {}) == b"{}"


def test_D9_the_order_of_parameters_may_change() -> None:
    def before(a: int, b: str) -> None: ...
    def after(b: str, a: int) -> None: ...

    assert parameters(after).decode(parameters(before).encode((1, "x"), {})) == (("x", 1), {})


def test_D9_a_new_parameter_with_a_default_takes_its_default() -> None:
    assert parameters(send).decode(b'{"to":"a"}') == (("a",), {})
    assert parameters(send).decode(b'{"to":"a","copies":3}') == (("a",), {"copies": 3})


def test_what_is_not_given_in_the_middle_is_passed_by_keyword() -> None:
    def middle(a: int, b: int = 2, c: int = 3) -> tuple[int, int, int]:
        return a, b, c

    args, kwargs = through(middle, 1, c=9)
    assert middle(*args, **kwargs) == (1, 2, 9)  # type: ignore[arg-type]  # decoded as they should be


def test_values_come_back_as_the_annotations_say() -> None:
    key, at = uuid.uuid4(), datetime(2026, 1, 1, tzinfo=UTC)
    args, _ = through(rich, Basket([Item("a", 2)]), at, key, Colour.RED, Address(street="S"))
    assert args == (Basket([Item("a", 2)]), at, key, Colour.RED, {"street": "S"})


def test_without_annotations_the_json_comes_back() -> None:
    assert through(untyped, {"a": [1]}) == (({"a": [1]},), {})


def test_a_pydantic_model_is_built_by_its_method() -> None:
    class Model:
        """Looks like one of pydantic's, which need not be installed."""

        def __init__(self, n: int) -> None:
            self.n = n

        @classmethod
        def model_validate(cls, value: dict[str, int]) -> Model:
            if value["n"] < 0:
                raise ValueError("n must not be negative")
            return cls(value["n"])

        def model_dump(self, mode: str) -> dict[str, int]:
            assert mode == "json"
            return {"n": self.n}

    def take(model: object) -> None: ...

    take.__annotations__["model"] = Model  # a local class, resolved by hand
    args, _ = through(take, Model(3))
    assert isinstance(args[0], Model)
    assert args[0].n == 3
    with pytest.raises(ArgumentsInvalid, match=r"'model'.*n must not be negative"):
        parameters(take).decode(b'{"model":{"n":-1}}')


# --- variadic parameters


def test_variadic_parameters_are_kept() -> None:
    both = parameters(variadic)
    assert both.encode((1, 2, 3), {"flag": True, "x": 0.5}) == b'{"first":1,"rest":[2,3],"flag":true,"x":0.5}'
    assert both.decode(both.encode((1, 2, 3), {"flag": True, "x": 0.5})) == ((1, 2, 3), {"flag": True, "x": 0.5})
    assert both.decode(b'{"first":1}') == ((1,), {})


def test_variadic_values_are_typed_too() -> None:
    with pytest.raises(ArgumentsInvalid, match=r"parameter 'rest'.*rest\[1\]"):
        parameters(variadic).decode(b'{"first":1,"rest":[1,"x"]}')
    with pytest.raises(ArgumentsInvalid, match="parameter 'x'"):
        parameters(variadic).decode(b'{"first":1,"x":"y"}')


def test_a_keyword_that_is_the_name_of_a_parameter_is_refused() -> None:
    def clash(a: int, /, **more: int) -> None: ...

    with pytest.raises(ArgumentsInvalid, match="'a' is a parameter"):
        parameters(clash).encode((1,), {"a": 2})


def test_positional_only_parameters() -> None:
    args, kwargs = through(positional, 1, c=3)
    assert positional(*args, **kwargs) == (1, 5, 3)  # type: ignore[arg-type]  # decoded as they should be
    assert through(positional, 1, 2) == ((1, 2), {})


# --- wrong calls, wrong payloads


@pytest.mark.parametrize(
    ("args", "kwargs", "says"),
    [
        ((), {}, "missing a required argument: 'to'"),
        (("a", "b", "c"), {}, "too many positional arguments"),
        (("a",), {"to": "b"}, "multiple values for argument 'to'"),
        (("a",), {"subjct": "x"}, "did you mean 'subject'"),
    ],
)
def test_a_call_that_does_not_fit_names_the_task(
    args: tuple[object, ...], kwargs: dict[str, object], says: str
) -> None:
    with pytest.raises(ArgumentsInvalid, match=f"shop.send.*{says}"):
        parameters(send).encode(args, kwargs)


def test_WFL_022_a_value_that_is_no_json_is_refused_by_name() -> None:
    with pytest.raises(EncodingError, match=r"argument 'to' of task 'shop.send'"):
        parameters(send).encode((object(),), {})


def test_arguments_above_the_limit_are_refused() -> None:
    with pytest.raises(PayloadTooLarge, match="'to'"):
        parameters(send).encode(("x" * 600_000,), {})


@pytest.mark.parametrize(
    ("payload", "says"),
    [
        (b'{"to":1}', "parameter 'to': Expected `str`, got `int`"),
        (b"{}", "no value for the parameter `to`"),
        (b'{"to":"a","cc":"b"}', r"no parameter `cc`; it takes \(to, subject, copies\)"),
        (b'{"to":"a"', "shop.send"),
        (b"[]", "shop.send"),
    ],
)
def test_WFL_021_a_payload_that_does_not_fit_names_the_parameter(payload: bytes, says: str) -> None:
    with pytest.raises(ArgumentsInvalid, match=says):
        parameters(send).decode(payload)


def test_WFL_021_the_place_inside_the_value_is_named() -> None:
    def buy(basket: Basket) -> None: ...

    with pytest.raises(
        ArgumentsInvalid, match=r"parameter 'basket': Expected `int`, got `str` at basket.items\[1\].count"
    ):
        parameters(buy).decode(b'{"basket":{"items":[{"sku":"a"},{"sku":"b","count":"c"}]}}')


# --- D4: annotations are resolved at the first use


def test_D4_annotations_are_resolved_at_the_first_use() -> None:
    with pytest.raises(TaskDefinitionError, match=r"'shop.later'.*parameter 'order'.*'Order'.*TYPE_CHECKING"):
        parameters(later).encode((1,), {})
    with pytest.raises(TaskDefinitionError, match="'order'"):
        parameters(later).resolve()


def test_D4_the_return_annotation_is_not_needed_to_enqueue() -> None:
    def make() -> Order:
        return 1

    assert parameters(make).encode((), {}) == b"{}"
    with pytest.raises(TaskDefinitionError, match="return annotation"):
        parameters(make).decode_result(b"1")


def test_an_annotation_that_json_cannot_meet_is_said_at_the_first_use() -> None:
    def unions(value: Item | Basket) -> None: ...

    with pytest.raises(TaskDefinitionError, match="parameter 'value'"):
        parameters(unions).resolve()


def test_a_class_that_cannot_be_made_from_json_is_said_when_it_comes() -> None:
    class Strange: ...

    def take(value: object) -> None: ...

    take.__annotations__["value"] = Strange
    with pytest.raises(ArgumentsInvalid, match=r"'value'.*Strange cannot be made from JSON"):
        parameters(take).decode(b'{"value":{}}')


# --- the Context, the step before, the result


def test_D3_the_context_is_no_argument() -> None:
    def run(ctx: object, n: int) -> None: ...

    without = parameters(run, takes_context=True)
    assert without.names == ("n",)
    assert without.decode(without.encode((1,), {})) == ((1,), {})


def test_D29_the_result_before_is_the_first_argument() -> None:
    def ship(item: Item, fast: bool = False) -> None: ...

    assert parameters(ship).decode(b"{}", b'{"sku":"a"}') == ((Item("a"),), {})
    assert parameters(ship).decode(b'{"fast":true}', b'{"sku":"a"}') == ((Item("a"), True), {})
    assert parameters(variadic).decode(b"{}", b"1") == ((1,), {})
    with pytest.raises(ArgumentsInvalid, match="parameter 'item'"):
        parameters(ship).decode(b"{}", b"3")
    with pytest.raises(ArgumentsInvalid, match="takes no argument"):
        parameters(nothing).decode(b"{}", b"3")


def test_which_functions_can_be_a_step() -> None:
    def two(a: int, b: int) -> None: ...
    def keyword(a: int, *, b: int) -> None: ...
    def many(*a: int) -> None: ...

    assert [parameters(fn).takes_one for fn in (nothing, send, two, keyword, many, variadic)] == [
        False, True, False, False, True, True,
    ]  # fmt: skip


def test_results_come_back_as_the_return_annotation_says() -> None:
    assert parameters(rich).decode_result(b'{"sku":"a","count":2}') == Item("a", 2)
    assert parameters(untyped).decode_result(b'{"a":1}') == {"a": 1}
    assert parameters(rich).decode_result(None) is None
    with pytest.raises(EncodingError, match=r"result of task 'shop.rich'"):
        parameters(rich).decode_result(b"1")


json = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.text(st.characters(exclude_characters="\0", codec="utf-8")),
    lambda inner: (
        st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_characters="\0", codec="utf-8")), inner)
    ),
    max_leaves=10,
)


@given(a=json, rest=st.lists(json), flag=json, more=st.dictionaries(st.sampled_from(["x", "y", "z"]), json))
def test_any_call_comes_back_the_same(a: object, rest: list[object], flag: object, more: dict[str, object]) -> None:
    def take(a, *rest, flag=None, **more): ...  # type: ignore[no-untyped-def]  # anything goes

    args, kwargs = through(take, a, *rest, flag=flag, **more)
    assert (list(args), kwargs) == ([a, *rest], {"flag": flag, **more})
