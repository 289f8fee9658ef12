"""Options that files give by hand: each is of its type, and of those with few possible values one of them."""

from dataclasses import fields
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Any, Literal, Union, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_KINDS: dict[Any, tuple[type, str]] = {
    int: (Integral, "a whole number"),
    float: (Real, "a number"),
    bool: (bool, "true or false"),
    str: (str, "a text"),
    NoneType: (NoneType, "nothing"),
}


def must_be_typed(options: "DataclassInstance") -> None:
    """Raises ValueError for a field of another type than its own; those of none of these types say so themselves."""
    hints = get_type_hints(type(options))
    for name in (each.name for each in fields(options)):
        value = getattr(options, name)
        if not _fits(value, hints[name]):
            raise ValueError(f"{name} is {_told(hints[name])}, not {value}")


def must_hold(options: "DataclassInstance", name: str, holds: bool, told: str) -> None:
    """Raises ValueError that says what the field is ``told`` to be, unless it ``holds`` that it is."""
    if not holds:
        raise ValueError(f"{name} is {told}, not {getattr(options, name)}")


def must_look_at_something(options: "DataclassInstance", *, window_days: float, max_points: int | None) -> None:
    """Raises ValueError where these options of a model leave nothing of any light curve."""
    must_hold(options, "window_days", window_days > 0, "a number above 0")
    must_hold(options, "max_points", max_points is None or max_points >= 1, "1 or more")


def _fits(value: Any, hint: Any) -> bool:
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, each) for each in get_args(hint))
    if get_origin(hint) is Literal:
        return value in get_args(hint)
    if hint not in _KINDS:
        return True
    return isinstance(value, _KINDS[hint][0]) and (hint is bool or not isinstance(value, bool))


def _told(hint: Any) -> str:
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_told(each) for each in get_args(hint) if each is not NoneType)
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    return _KINDS[hint][1] if hint in _KINDS else str(hint)
