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
    """What the caller asked for, by dim.

    `number` is a plain scale, for whatever axes the model refines; `factors` are by dim, and `exact` where a
    target spacing asks for them.
    """

    dims: dict[str, Any]
    number: float | None = None
    factors: dict[Any, float] | None = None
    exact: bool = False

    def __str__(self) -> str:
        if self.factors is None:
            return "its own scale" if self.number is None else f"{self.number:g}"
        return ", ".join(f"{dim} by {factor:g}" for dim, factor in self.factors.items())


def factors_of_scale(dims: dict[str, Any], scale: Scale) -> Request:
    """Read a scale: a number, one number for each of the last dims, or numbers by dim or axis."""
    if scale is None:
        return Request(dims)
    given = _numbers("scale", scale)
    if isinstance(given, float):
        request = Request(dims, number=given)
    elif isinstance(given, dict):
        request = Request(dims, factors={_dim(dims, key): s for key, s in given.items()})
    else:
        if len(given) > len(dims):
            raise ModelError(f"scale {given} has more numbers than the dims {list(dims.values())}")
        request = Request(dims, factors=dict(zip(list(dims.values())[-len(given) :], given, strict=True)))
    for s in [request.number] if request.factors is None else request.factors.values():
        if s is not None and not 1 <= s < float("inf"):
            raise ModelError(f"scale {scale!r} is below 1; super-resolution only refines")
    return request


def _numbers(what: str, value: Any) -> float | tuple[float, ...] | dict[Hashable, float]:
    """A number, a tuple of some or some by name, or an error that says what may be given."""
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
        raise ModelError(f"{what} {value!r} is no number; {remedy}")
    if not some:
        raise ModelError(f"{what} {value!r} names no dim; {remedy}")
    if isinstance(value, Mapping):
        return {key: float(number) for key, number in value.items()}
    return tuple(map(float, value)) if isinstance(value, list | tuple) else float(value)


def _dim(dims: Mapping[str, Any], key: Hashable) -> Any:
    """The dim that a caller names, by its own name or by its axis."""
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
        raise ModelError(f"{name} works on {tuple(axes)}, but {lacking[0]} is not among the dims {have}")
    return tuple(dims[axis] for axis in own)


def factors_of_spacing(
    have: Mapping[Any, float], dims: Mapping[str, Any], spacing: Spacing
) -> dict[Any, float]:
    """Factors that reach a target spacing; a plain number leaves finer axes as they are."""
    given = _numbers("spacing", spacing)
    if isinstance(given, tuple):
        raise ModelError(f"spacing {spacing!r} names no dims; give a number or numbers by dim")
    if isinstance(given, dict):
        want = {_dim(dims, key): value for key, value in given.items()}
    else:
        want = {dim: min(given, have.get(dim, 0.0)) for dim in dims.values()}
    factors = {}
    for dim, value in want.items():
        if dim not in have:
            raise GridError(f"dim {dim!r} states no spacing; assign its coordinate or ask for a scale")
        if not 0 < value <= have[dim] * (1 + SAME_FACTOR):
            raise GridError(f"target spacing {value:g} of {dim!r} is not finer than {have[dim]:g}")
        factor = have[dim] / value
        factors[dim] = float(round(factor)) if abs(factor - round(factor)) < SAME_FACTOR * factor else factor
    if all(factor == 1 for factor in factors.values()):
        raise GridError(f"the grid is as fine as the target spacing {spacing!r} already; ask for less")
    return factors
