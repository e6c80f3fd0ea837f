"""Whether a value is of the type that an option is declared with, for the types that options are made of."""

import math
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

__all__ = ["is_of", "told"]

_TOLD = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text",
    NoneType: "None",
    tuple[int, ...]: "whole numbers such as (256, 128)",
    tuple[float, ...]: "numbers such as (0.25, 0.5)",
}


def is_of(value: object, wanted: Any) -> bool:
    """Whether a value fits a type; True where the type is none of those that are told apart here.

    True and False are no numbers, infinity and NaN neither; a list counts as a tuple.

    >>> is_of(2, int | None), is_of(2.5, int | None), is_of("no", bool), is_of([256, 128], tuple[int, ...])
    (True, False, False, True)
    >>> is_of(("a", 1), tuple[str, int]), is_of(print, Any)
    (True, True)
    """
    if get_origin(wanted) in (Union, UnionType):
        return any(is_of(value, part) for part in get_args(wanted))
    if get_origin(wanted) is tuple and get_args(wanted)[1:] == (...,):
        return isinstance(value, tuple | list) and all(is_of(part, get_args(wanted)[0]) for part in value)
    if wanted is Any or get_origin(wanted) is not None:
        return True
    if wanted is int:
        return isinstance(value, Integral) and not isinstance(value, bool)
    if wanted is float:
        return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
    return not isinstance(wanted, type) or isinstance(value, wanted)


def told(wanted: Any) -> str:
    """The type in words."""
    parts = get_args(wanted) if get_origin(wanted) in (Union, UnionType) else (wanted,)
    return " or ".join(_TOLD.get(part, getattr(part, "__name__", str(part))) for part in parts)
