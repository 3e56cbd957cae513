"""Bounds of settings: named beside the field of a dataclass, checked whenever one is built."""

from collections.abc import Mapping, Sequence
from dataclasses import field, fields
from math import isfinite
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
    rising: bool = False,
    remedy: str = "",
) -> Any:
    """Return a field for a number or a tuple of them; `low` and `high` are allowed, `above` and `below` not.

    In a `rising` tuple no number is smaller than the one before. The remedy proposes the default.
    """
    ends = {"at least": low, "above": above, "at most": high, "below": below}
    bounds = {word: end for word, end in ends.items() if end is not None}
    remedy = remedy or f"give for example {default}"
    facts = {"bounds": bounds, "unit": unit, "rising": rising, "remedy": remedy}
    return field(default=default, metadata=facts)


def one_of(default: Any, choices: Sequence[str]) -> Any:
    """Return a field for one of some names, or a tuple of them."""
    return field(default=default, metadata={"choices": tuple(choices)})


def check_settings(settings: Any, table: str = "", *, infinite: str = "") -> None:
    """Raise a `ConfigError` where a field of a dataclass breaks its bounds, or a number of it is not finite.

    `table` stands before the name of the field in messages; `infinite` names a field that need not be finite.
    """
    for one in fields(settings):
        value, key = getattr(settings, one.name), f"{table}.{one.name}".lstrip(".")
        finite = one.name == infinite or _is_finite(value)
        require(finite, f"{key} {value!r} is not finite; give a number")
        if "choices" in one.metadata:
            _check_choice(key, value, one.metadata["choices"])
        if "bounds" in one.metadata and value is not None:
            _check_bounds(key, value, **one.metadata)


def _check_choice(key: str, value: str | tuple[str, ...], choices: Sequence[str]) -> None:
    """Raise unless a name, or each of several, is among the choices."""
    for name in value if isinstance(value, tuple) else (value,):
        require(name in choices, f"unknown {key} {name!r}; use one of {', '.join(choices)}")


def _check_bounds(
    key: str, value: Any, *, bounds: Mapping[str, float], unit: str, rising: bool, remedy: str
) -> None:
    """Raise unless a number, or each of at least one, lies within the bounds, in order if it must rise."""
    numbers = value if isinstance(value, tuple) else (value,)
    held = numbers and all(_HOLDS[word](n, end) for n in numbers for word, end in bounds.items())
    words = " and ".join(f"{word} {end}" for word, end in bounds.items())
    if rising and len(numbers) > 1:
        held, words = held and list(numbers) == sorted(numbers), f"{words}, the lower one first"
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
