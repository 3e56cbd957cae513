"""The ways to measure a model on an original: which axes are made coarse and refined."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import GridError
from sr_imaging.image.grid.axes import AXES, spatial_dims
from sr_imaging.image.grid.pixel_spacing import spacing, spacing_unit
from sr_imaging.networks import PLANE_AXES
from sr_imaging.networks.views import views

__all__ = ["Trial", "trials"]


@dataclass(frozen=True)
class Trial:
    """An original whose axes are named as the model needs them."""

    scan: str
    axes: str  # what is made coarse and refined, in words
    hr: xr.DataArray  # the original; float32, invalid pixels NaN
    factors: dict[Any, float]  # HR pixels per LR pixel by dim, where above 1
    steps: dict[Any, float]  # spacing by dim in `unit`; 1 along dims that state none
    unit: str  # ``mm``, ``m``, ``degree``, that of the coordinates, or ``px``
    planes: bool = False  # whether only the (z, x) planes count, refined one by one
    guide: xr.DataArray | None = None  # second input of a guided model, on the grid of `hr`


def trials(
    scan: str, da: xr.DataArray, *, axes: Sequence[str], scale: Sequence[float], guide: xr.DataArray | None
) -> Iterator[Trial]:
    """Yield every way to put an original under a model that refines `axes` by `scale`.

    One for a model of y and x, or z, y and x; for a through-plane model one for each fine axis of the volume,
    which plays z. Raises GridError if the original does not have the axes, or the guide is not on its grid.
    """
    dims = spatial_dims(da)
    steps, unit = _find_steps(da, dims)
    _check_guide(scan, da, guide, dims)
    if tuple(axes) != PLANE_AXES:
        if not set(axes) <= set(dims):
            raise GridError(
                f"{scan} has dims {da.dims}, the model works on {tuple(axes)}; choose other scans"
            )
        factors = {dims[axis]: s for axis, s in zip(axes, scale, strict=True) if s > 1}
        yield Trial(scan, ", ".join(axes), da, factors, steps, unit, guide=guide)
        return
    if len(dims) != 3:
        raise GridError(f"{scan} has dims {da.dims}, the model needs a volume; choose other scans")
    whole = Trial(scan, "", _strip_coordinates(da, [*dims.values()]), {"z": scale[0]}, steps, unit)
    whole_guide = None if guide is None else _strip_coordinates(guide, [*dims.values()])
    lengths = [steps[dim] for dim in dims.values()]
    names = [*dims]
    for words, order, planes in _list_orders(lengths, names):
        own = {name: lengths[axis] for name, axis in zip(AXES, order, strict=True)}
        under = None if whole_guide is None else _reorder_axes(whole_guide, order)
        yield Trial(scan, words, _reorder_axes(whole.hr, order), whole.factors, own, unit, planes, under)


def _list_orders(
    lengths: Sequence[float], names: Sequence[str]
) -> Iterator[tuple[str, tuple[int, int, int], bool]]:
    """Yield words, order of the axes, and whether only single planes count, of each way to turn a volume."""
    fine = sorted({axis for pair in views(lengths, PLANE_AXES) for axis in pair})
    for k in fine:
        first, second = (axis for axis in range(3) if axis != k)
        if {first, second} <= set(fine):
            yield names[k], (k, first, second), False
            continue
        for plane in {first, second} & set(fine):
            rest = first + second - plane
            yield f"{names[k]} in ({names[k]}, {names[plane]})", (k, rest, plane), True


def _check_guide(scan: str, da: xr.DataArray, guide: xr.DataArray | None, dims: Mapping[str, Any]) -> None:
    """Raise unless a guide has the shape of its original."""
    if guide is None:
        return
    have, want = ({dim: one.sizes.get(dim) for dim in dims.values()} for one in (guide, da))
    if have != want:
        raise GridError(f"the guide of {scan} has {have} pixels, the scan {want}; bring it to the same grid")


def _strip_coordinates(da: xr.DataArray, dims: list[Any]) -> xr.DataArray:
    """Return the volume alone, dims z, y, x, without its place in the world; of several times the first."""
    lead = {dim: 0 for dim in da.dims if dim not in dims}
    return xr.DataArray(da.isel(lead).transpose(*dims).values, dims=AXES)


def _reorder_axes(volume: xr.DataArray, order: Sequence[int]) -> xr.DataArray:
    """Return the volume with its axes in another order, named z, y, x."""
    return xr.DataArray(np.ascontiguousarray(volume.values.transpose(order)), dims=AXES)


def _find_steps(da: xr.DataArray, dims: Mapping[str, Any]) -> tuple[dict[Any, float], str]:
    """Return the spacing of the spatial dims and its unit."""
    found = spacing(da)
    steps = {dim: found.get(dim, 1.0) for dim in dims.values()}
    if len(found) < len(dims):
        return steps, "px"
    dim = dims["x"] if "x" in dims else next(iter(dims.values()))
    return steps, spacing_unit(da, dim) or "px"
