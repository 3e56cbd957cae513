"""What is asked for: factors by axis, from ``scale`` or ``spacing``."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np

from sr_imaging.errors import GridError, ModelError
from sr_imaging.image.grid.axes import AXES

__all__ = ["Scale", "Spacing"]
Scale = float | Sequence[float] | Mapping[Any, float] | None
Spacing = float | Mapping[Any, float] | None
SAME_FACTOR = 1e-6  # relative: factors closer than this are equal
_PLANE = "plane"  # either of the two axes that a through-plane model leaves as they are


@dataclass(frozen=True)
class Request:
    """What the caller asked for."""

    dims: dict[str, Any]  # of the array by axis
    number: float | None = None  # a plain scale, for whatever axes the model refines
    factors: dict[Any, float] | None = None  # by dim
    exact: bool = False  # a target spacing asks for the factors

    def __str__(self) -> str:
        if self.factors is None:
            return "its own scale" if self.number is None else f"{self.number:g}"
        return ", ".join(f"{dim} by {factor:g}" for dim, factor in self.factors.items())


def factors_of_scale(dims: dict[str, Any], scale: Scale) -> Request:
    """Return a scale as a request: a number, one for each of the last dims, or numbers by dim or axis."""
    if scale is None:
        return Request(dims)
    given = _parse_numbers("scale", scale)
    if isinstance(given, float):
        request = Request(dims, number=given)
    elif isinstance(given, dict):
        request = Request(dims, factors={_find_dim(dims, key): s for key, s in given.items()})
    else:
        if len(given) > len(dims):
            raise ModelError(
                f"scale {given} has more numbers than the dims {list(dims.values())}; give one per dim"
            )
        request = Request(dims, factors=dict(zip(list(dims.values())[-len(given) :], given, strict=True)))
    for s in [request.number] if request.factors is None else request.factors.values():
        if s is not None and not 1 <= s < float("inf"):
            raise ModelError(f"scale {scale!r} must be finite and at least 1; super-resolution only refines")
    return request


def _parse_numbers(what: str, value: Any) -> float | tuple[float, ...] | dict[Hashable, float]:
    """Return a number, a tuple of numbers or numbers by name; a ModelError says what may be given."""
    value = value.tolist() if isinstance(value, np.ndarray) else value
    remedy = "give a number, one number per dim, or numbers by dim"
    some = (
        value.values()
        if isinstance(value, Mapping)
        else value
        if isinstance(value, list | tuple)
        else [value]
    )
    if not all(isinstance(number, Real) and not isinstance(number, bool) for number in some):
        raise ModelError(f"{what} {value!r} must be a number; {remedy}")
    if not some:
        raise ModelError(f"{what} {value!r} names no dim; {remedy}")
    if isinstance(value, Mapping):
        return {key: float(number) for key, number in value.items()}
    return tuple(map(float, value)) if isinstance(value, list | tuple) else float(value)


def _find_dim(dims: Mapping[str, Any], key: Hashable) -> Any:
    """Return the dim that a caller names, by its own name or by its axis."""
    if key in dims.values():
        return key
    if key in dims:
        return dims[str(key)]
    raise GridError(f"no spatial dim {key!r}; this array has {', '.join(map(str, dims.values()))}")


def dims_of_axes(name: str, axes: Sequence[str], dims: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the dims that a model works on, in the order of its axes; a through-plane one takes z, y, x."""
    own = AXES if _PLANE in axes else tuple(axes)
    if lacking := [axis for axis in own if axis not in dims]:
        have = ", ".join(map(str, dims.values()))
        raise ModelError(
            f"{name} works on {tuple(axes)}, but {lacking[0]} is not among the dims {have}; "
            "choose another model"
        )
    return tuple(dims[axis] for axis in own)


def factors_of_spacing(
    have: Mapping[Any, float], dims: Mapping[str, Any], spacing: Spacing
) -> dict[Any, float]:
    """Return the factors by dim that reach a target spacing; a plain number leaves finer axes as they are."""
    given = _parse_numbers("spacing", spacing)
    if isinstance(given, tuple):
        raise ModelError(f"spacing {spacing!r} names no dims; give a number or numbers by dim")
    if isinstance(given, dict):
        want = {_find_dim(dims, key): value for key, value in given.items()}
    else:
        want = {dim: min(given, have.get(dim, 0.0)) for dim in dims.values()}
    factors = {}
    for dim, value in want.items():
        if dim not in have:
            raise GridError(f"dim {dim!r} states no spacing; assign its coordinate or ask for a scale")
        if not 0 < value <= have[dim] * (1 + SAME_FACTOR):
            raise GridError(
                f"target spacing {value:g} of {dim!r} is not finer than {have[dim]:g}; ask for less"
            )
        factor = have[dim] / value
        factors[dim] = float(round(factor)) if abs(factor - round(factor)) < SAME_FACTOR * factor else factor
    if all(factor == 1 for factor in factors.values()):
        raise GridError(f"the grid is as fine as the target spacing {spacing!r} already; ask for less")
    return factors
