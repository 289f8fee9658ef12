"""Options that have few possible values, and are one of them."""

from dataclasses import fields
from typing import TYPE_CHECKING, Literal, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def must_be_choices(options: "DataclassInstance") -> None:
    """Raises ValueError for a field of type Literal that has another value: files of options are written by hand."""
    hints = get_type_hints(type(options))
    for name in (each.name for each in fields(options)):
        choices, value = get_args(hints[name]), getattr(options, name)
        if get_origin(hints[name]) is Literal and value not in choices:
            raise ValueError(f"{name} is one of {', '.join(choices)}, not {value}")
