"""A dataclass from a table, strictly: no key is ignored, no type is guessed."""

import difflib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints

from sr_imaging.errors import ConfigError

__all__ = ["build"]


def build(cls: Any, table: Mapping[str, Any], *, source: str, prefix: str = "") -> Any:
    """Return a dataclass from a table; its fields are plain types, tuples, dicts, dataclasses or unions.

    `source` says in messages where the table comes from, and `prefix` is its own key with a dot at its end.
    Raises `ConfigError` if a key is unknown (its nearest neighbour is named), missing, or of the wrong type.
    """
    known = {f.name: f for f in fields(cls)}
    hints = get_type_hints(cls)
    values = {}
    for key, value in table.items():
        if key not in known:
            near = difflib.get_close_matches(key, known, 1)
            remedy = f"did you mean {prefix + near[0]!r}?" if near else f"known are {', '.join(known)}"
            raise ConfigError(f"unknown key {prefix + key!r} in {source}; {remedy}")
        values[key] = _convert_value(value, hints[key], prefix + key, source)
    for name, one in known.items():
        if name not in values and one.default is MISSING and one.default_factory is MISSING:
            raise ConfigError(f"{source} lacks the key {prefix + name!r}; add it")
    return cls(**values)


def _convert_value(value: Any, hint: Any, key: str, source: str) -> Any:
    """Return a TOML value as the annotated type; whole numbers may stand for floats, nothing else moves."""
    if is_dataclass(hint) and isinstance(value, Mapping):
        return build(hint, value, source=source, prefix=key + ".")
    if get_origin(hint) is UnionType:
        for option in get_args(hint):
            if _is_of_type(value, option):
                return _convert_value(value, option, key, source)
    elif _is_of_type(value, hint):
        if get_origin(hint) is tuple:
            return tuple(_convert_value(item, get_args(hint)[0], key, source) for item in value)
        return float(value) if hint is float else dict(value) if get_origin(hint) is dict else value
    wanted = str(hint) if get_origin(hint) else hint.__name__
    raise ConfigError(f"{key} in {source} is {value!r}, not {wanted}; correct its type")


def _is_of_type(value: Any, hint: Any) -> bool:
    """Tell whether a TOML value can stand for an annotated type."""
    origin = get_origin(hint)
    if origin is tuple:
        item = get_args(hint)
        sized = item[-1] is Ellipsis or (isinstance(value, list | tuple) and len(value) == len(item))
        return isinstance(value, list | tuple) and sized and all(_is_of_type(one, item[0]) for one in value)
    if origin is dict:
        return isinstance(value, Mapping)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(hint, type) and isinstance(value, hint)
