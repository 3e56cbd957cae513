"""The exceptions of the package: what was wrong, what was got, what to do.

Every error that a user can cause is a :class:`SrImagingError`; a subclass exists only where a caller
catches it.
"""

from collections.abc import Mapping
from dataclasses import fields
from math import isfinite
from typing import Any

__all__ = [
    "CancelledError",
    "ConfigError",
    "GridError",
    "InputTypeError",
    "ModelError",
    "ReadError",
    "ResourceError",
    "SrImagingError",
    "WriteError",
    "require",
    "require_finite",
]


class SrImagingError(Exception):
    """Base of all errors that this package raises on purpose."""


class GridError(SrImagingError, ValueError):
    """The coordinates do not form an even grid, or the asked grid does not exist."""


class InputTypeError(SrImagingError, TypeError):
    """The kind of the input (dtype, coordinate type, container) cannot be super-resolved."""


class ModelError(SrImagingError, ValueError):
    """A model file cannot be loaded, or a model does not fit the image."""


class ConfigError(SrImagingError, ValueError):
    """A training or command-line setting is unknown or impossible."""


class ReadError(SrImagingError, OSError):
    """A file or folder cannot be read as a scan."""


class WriteError(SrImagingError, OSError):
    """A result cannot be written; nothing was left under the final name."""


class ResourceError(SrImagingError, RuntimeError):
    """Not enough disk or memory for the plan."""


class CancelledError(SrImagingError):
    """The caller asked for the work to stop; nothing half-done is left."""


def require(ok: bool, message: str) -> None:
    """Raise a ConfigError unless a setting is possible."""
    if not ok:
        raise ConfigError(message)


def require_finite(settings: Any, table: str, *, but: str = "") -> None:
    """Raise a ConfigError where a number of a dataclass is not finite; `but` names a field that may be so."""
    for one in fields(settings):
        value = getattr(settings, one.name)
        require(
            one.name == but or _is_finite(value),
            f"{table}.{one.name} {value!r} is not finite; give a number",
        )


def _is_finite(value: Any) -> bool:
    """Tell whether all numbers of a value are finite."""
    if isinstance(value, Mapping | list | tuple):
        return all(map(_is_finite, value.values() if isinstance(value, Mapping) else value))
    return not isinstance(value, float) or isfinite(value)
