"""Bounds of settings: named beside the field of a dataclass, checked whenever one is built."""

from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from math import isfinite
from numbers import Real
from operator import ge, gt, le, lt
from typing import Any

from .errors import ConfigError

__all__ = ["bounded", "check_settings", "one_of", "require"]

_HOLDS = {"at least": ge, "above": gt, "at most": le, "below": lt}


def bounded(
    default: Any,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    below: float | None = None,
    unit: str = "",
    several: bool = False,
    rising: bool = False,
    remedy: str = "",
) -> Any:
    """Return a field for a number; `low` and `high` are allowed, `above` and `below` not.

    A field of `several` also takes a tuple of numbers, a `rising` one a pair whose second is not smaller, and
    one whose default is None also that. The remedy proposes the default.
    """
    ends = {"at least": low, "above": above, "at most": high, "below": below}
    bounds = {word: end for word, end in ends.items() if end is not None}
    remedy = remedy or f"give for example {default}"
    facts = {"bounds": bounds, "unit": unit, "several": several, "rising": rising, "remedy": remedy}
    return field(default=default, metadata=facts)


def one_of(default: Any, choices: Sequence[str], *, several: bool = False) -> Any:
    """Return a field for one of some names, or where it is of `several` also for a tuple of them."""
    return field(default=default, metadata={"choices": tuple(choices), "several": several})


def check_settings(settings: Any, table: str = "", *, infinite: str = "") -> None:
    """Raise a `ConfigError` where a field of a dataclass breaks its bounds, or a number of it is not finite.

    `table` stands before the name of the field in messages; `infinite` names a field that need not be finite.
    """
    for one in fields(settings):
        value, key = getattr(settings, one.name), f"{table}.{one.name}".lstrip(".")
        finite = one.name == infinite or _is_finite(value)
        require(finite, f"{key} {value!r} is not finite; give a number")
        if "choices" in one.metadata:
            _check_choice(key, value, **one.metadata)
        if "bounds" in one.metadata and not (value is None and one.default is None):
            _check_bounds(key, value, **one.metadata)


def _check_choice(key: str, value: Any, *, choices: Sequence[str], several: bool) -> None:
    """Raise unless a name, or each of several, is among the choices."""
    for name in value if several and isinstance(value, tuple | list) else (value,):
        require(name in choices, f"unknown {key} {name!r}; use one of {', '.join(choices)}")


def _check_bounds(
    key: str,
    value: Any,
    *,
    bounds: Mapping[str, float],
    unit: str,
    several: bool,
    rising: bool,
    remedy: str,
) -> None:
    """Raise unless a number, or each of at least one, lies within the bounds, in order if it must rise."""
    is_tuple = (several or rising) and isinstance(value, tuple | list)
    numbers = value if is_tuple else (value,)
    held = numbers and all(isinstance(n, Real) for n in numbers)
    held = held and all(_HOLDS[word](n, end) for n in numbers for word, end in bounds.items())
    words = " and ".join(f"{word} {end}" for word, end in bounds.items())
    if rising and is_tuple:
        held = held and len(numbers) == 2 and list(numbers) == sorted(numbers)
        words = f"{words}, the lower one first"
    got = f"{value!r} {unit}".strip()
    require(bool(held), f"{key} must be {words}, got {got}; {remedy}")


def require(ok: bool, message: str) -> None:
    """Raise a `ConfigError` unless a setting is possible."""
    if not ok:
        raise ConfigError(message)


def _is_finite(value: Any) -> bool:
    """Tell whether all numbers of a value are finite."""
    if isinstance(value, Mapping | list | tuple):
        return all(map(_is_finite, value.values() if isinstance(value, Mapping) else value))
    return not isinstance(value, float) or isfinite(value)
