"""Building a network by its name from a user's arguments, with errors that name the wrong one."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from torch import nn

from sr_imaging.errors import ModelError

__all__ = ["build_named", "build_or_explain", "check_arguments", "check_name"]


def build_named(
    registry: Mapping[str, Callable[..., nn.Module]],
    kind: str,
    name: str,
    arguments: Mapping[str, Any],
    **given: Any,
) -> nn.Module:
    """Build an entry of a registry from a user's `arguments` and the facts that are `given`.

    Raises `ModelError` if the name or an argument is unknown or impossible; `kind` says of what.
    """
    check_name(kind, name, registry)
    label = f"{kind} {name!r}"
    known = [key for key in inspect.signature(registry[name]).parameters if key not in given]
    check_arguments(label, arguments, known)
    return build_or_explain(label, registry[name], arguments, **given)


def check_name(kind: str, name: str, registry: Mapping[str, Any]) -> None:
    """Raise `ModelError` unless a registry has an entry of this name; `kind` says of what."""
    if name not in registry:
        raise ModelError(f"unknown {kind} {name!r}; use one of {', '.join(registry)}")


def check_arguments(label: str, arguments: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise `ModelError` at the first argument that a network does not take, or that is below 0."""
    for key in arguments:
        if key not in known:
            near = get_close_matches(key, known, 1)
            remedy = f"did you mean {near[0]!r}? " if near else ""
            raise ModelError(f"{label} takes no argument {key!r}; {remedy}it takes {', '.join(known)}")
        value = arguments[key]
        if isinstance(value, int) and value < 0:  # a range of that many blocks would be empty, not refused
            raise ModelError(f"{label} has {key!r} {value}; give a whole number of at least 0")


def build_or_explain(
    label: str, make: Callable[..., nn.Module], arguments: Mapping[str, Any], **given: Any
) -> nn.Module:
    """Return ``make(**given, **arguments)``; what it cannot be built of becomes a `ModelError`."""
    try:
        return make(**given, **arguments)
    except (TypeError, ValueError, RuntimeError, OverflowError, ZeroDivisionError) as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"{label} cannot be built of {dict(arguments)} ({error}); change them") from error
