"""Grids refined without moving their edges: the one function behind reading, writing, viewing and training.

The contract (dims, 1-D coords, ``spatial_ref``, ``volume_ref``) is described in ``docs/architecture.md``.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import GridError
from sr_imaging.image.stored_numbers import is_flag, nodata_of

from .axes import AXES, AXIS_OF, check_grid, fine_bounds, fine_centres, fine_size, spatial_dims
from .rasters import geo_transform, is_rotated, rotated_centres, stated_transform
from .reference import axis_step, world_reference

__all__ = ["STALE_ENCODING", "refine"]

STALE_ENCODING = ("chunks", "preferred_chunks", "chunksizes", "shards", "original_shape", "source")
_ROUNDING_ENCODING = ("dtype", "scale_factor", "add_offset", "_FillValue", "missing_value")


def refine(da: xr.DataArray, data: Any, scale: Mapping[Any, float]) -> xr.DataArray:
    """Return `data` as a DataArray on the grid of `da` refined by `scale`, with the outer edges kept.

    The length of a scaled dim is ``round(n * scale)``; below 1 coarsens. Name, attrs and other coords stay.
    Spatial coords, ``GeoTransform``, ``xc``, ``yc`` and the spacing of ``volume_ref`` are those of the fine
    grid; other coords on a refined dim are interpolated linearly if numeric, else repeated. Chunk encodings
    are dropped.
    """
    check_grid(da)
    scale = {dim: float(s) for dim, s in scale.items() if s != 1}
    shape = tuple(fine_size(n, scale.get(dim, 1)) for dim, n in da.sizes.items())
    if tuple(data.shape) != shape:
        raise GridError(
            f"data of shape {tuple(data.shape)} is not the refined shape {shape} of dims {da.dims}"
        )
    coords = {name: _refine_coord(da, name, scale) for name in da.coords}
    fine = xr.DataArray(data, dims=da.dims, name=da.name, attrs=dict(da.attrs))
    fine = fine.assign_coords({name: coord for name, coord in coords.items() if coord is not None})
    fine.encoding = {key: value for key, value in da.encoding.items() if key not in STALE_ENCODING}
    return _place_in_world(da, fine, scale)


def _refine_coord(da: xr.DataArray, name: Any, scale: Mapping[Any, float]) -> xr.Variable | None:
    """Return one coordinate on the fine grid; None where a one-pixel axis has no spacing to refine by."""
    variable: xr.Variable = da.coords[name].variable
    touched = [dim for dim in variable.dims if dim in scale]
    if not touched:
        return variable
    if name in touched and str(name) in AXIS_OF:
        step = axis_step(da, name)
        if step is None:
            warnings.warn(
                f"dim {name!r} has one pixel and no stated spacing, so the result has no coord along it; "
                "write a GeoTransform or a volume_ref first",
                stacklevel=4,
            )
            return None
        values: Any = fine_centres(variable.values, scale[name], step)
    elif (owner := _find_bounded_coord(da, name)) is not None:
        paired = owner in scale and variable.dims[0] == owner and variable.shape[1:] == (2,)
        step = axis_step(da, owner) if paired else None
        if step is None:
            warnings.warn(f"the cell bounds {name!r} have no place on the fine grid; left out", stacklevel=4)
            return None
        values = fine_bounds(variable.values, scale[owner], step)
    else:
        values, linear = variable.data, _is_linear(da.coords[name])
        for dim in touched:
            values = _refine_auxiliary(values, variable.dims.index(dim), scale[dim], linear=linear)
        if linear and variable.dtype.kind in "iu":
            info = np.iinfo(variable.dtype)
            values = np.clip(np.rint(values), info.min, info.max).astype(variable.dtype)
    # finer centres need not fit the whole numbers or the float32 that held the coarse ones on disk
    drop = (*STALE_ENCODING, *(_ROUNDING_ENCODING if values.dtype.kind == "f" else ()))
    encoding = {key: value for key, value in variable.encoding.items() if key not in drop}
    return xr.Variable(variable.dims, values, dict(variable.attrs), encoding)


def _find_bounded_coord(da: xr.DataArray, name: Any) -> Any | None:
    """Return the coord whose cells a variable bounds, after the CF conventions; None for other variables."""
    for owner, coord in da.coords.items():
        if name in (coord.attrs.get("bounds"), coord.encoding.get("bounds")):
            return owner
    return None


def _is_linear(coord: xr.DataArray) -> bool:
    """Tell whether a coordinate has numbers with others between them: no classes, no integer for nodata."""
    if coord.dtype.kind not in "iuf" or is_flag(coord):
        return False
    return coord.dtype.kind == "f" or not nodata_of(coord.attrs, coord.dtype)


def _refine_auxiliary(values: Any, axis: int, scale: float, *, linear: bool) -> Any:
    """Refine an auxiliary coordinate along one axis: linearly, or repeated."""
    size = values.shape[axis]
    position = (np.arange(fine_size(size, scale)) + 0.5) / scale - 0.5
    if not linear or size == 1:
        return _take_along(values, np.clip(np.round(position), 0, size - 1).astype(int), axis)
    low = np.clip(np.floor(position), 0, size - 2).astype(int)
    weight = (position - low).reshape([-1 if k == axis else 1 for k in range(values.ndim)])
    return _take_along(values, low, axis) * (1 - weight) + _take_along(values, low + 1, axis) * weight


def _take_along(values: Any, index: np.ndarray, axis: int) -> Any:
    """Pick along one axis; dask arrays have no method ``take``."""
    return values[(slice(None),) * axis + (index,)]


def _place_in_world(da: xr.DataArray, fine: xr.DataArray, scale: Mapping[Any, float]) -> xr.DataArray:
    """Rewrite what places the array besides its 1-D coordinates."""
    factors = [scale.get(spatial_dims(da).get(axis), 1.0) for axis in AXES]
    fine = fine.assign_attrs(_rewrite_raster_attrs(da.attrs, factors))
    reference = world_reference(da)
    if reference is None or not scale:
        return fine
    old = da.coords[reference].variable
    attrs, updates = dict(old.attrs), {}
    if "spacing" in attrs:
        attrs["spacing"] = tuple(
            float(d) / s for d, s in zip(np.asarray(attrs["spacing"]), factors, strict=True)
        )
    if "slice_thickness" in attrs:
        attrs["slice_thickness"] = float(attrs["slice_thickness"]) / factors[0]
    numbers = None if reference == "volume_ref" else _find_fine_transform(da, fine, factors)
    if numbers is not None:
        attrs["GeoTransform"] = " ".join(map(repr, numbers))
        updates = _rebuild_centres(fine, numbers) if is_rotated(da) else {}
    updates[reference] = xr.Variable(old.dims, old.values, attrs, dict(old.encoding))
    return fine.assign_coords(updates)


def _find_fine_transform(da: xr.DataArray, fine: xr.DataArray, factors: list[float]) -> list[float] | None:
    """Return GDAL's six numbers of the fine raster: from its coords, else the coarse ones scaled."""
    numbers = None if is_rotated(da) else geo_transform(fine)
    if numbers is not None:
        return numbers
    return _scale_transform(geo_transform(da) or stated_transform(da), factors)


def _scale_transform(numbers: Sequence[float] | None, factors: list[float]) -> list[float] | None:
    """Return GDAL's six numbers with the pixel's sides divided by `factors` (z, y, x)."""
    if numbers is None:
        return None
    x0, a, b, y0, d, e = numbers
    return [x0, a / factors[2], b / factors[1], y0, d / factors[2], e / factors[1]]


def _rewrite_raster_attrs(attrs: Mapping[Any, Any], factors: list[float]) -> dict[str, Any]:
    """Return the attrs ``transform`` (a, b, x0, d, e, y0) and ``res`` (x, y) of older readers, refined."""
    rewritten: dict[str, Any] = {}
    transform, res = (_read_floats(attrs.get(key)) for key in ("transform", "res"))
    x, y = factors[2], factors[1]
    if len(transform) in (6, 9):
        a, b, x0, d, e, y0 = transform[:6]
        rewritten["transform"] = (a / x, b / y, x0, d / x, e / y, y0)
    if len(res) == 2:
        rewritten["res"] = (res[0] / x, res[1] / y)
    return rewritten


def _read_floats(value: Any) -> list[float]:
    """Return the numbers of an attribute, none if it is anything else."""
    if isinstance(value, str) or not isinstance(value, Iterable):
        return []
    numbers = list(value)
    return [float(v) for v in numbers] if all(isinstance(v, Real) for v in numbers) else []


def _rebuild_centres(fine: xr.DataArray, numbers: list[float]) -> dict[str, xr.Variable]:
    """Return the 2-D pixel centres of a rotated raster from its six numbers."""
    dims = spatial_dims(fine)
    sizes = {dims[axis]: fine.sizes[dims[axis]] for axis in "yx"}
    centres = rotated_centres(numbers, sizes, lazy=fine.coords["xc"].chunks is not None)
    for name, grid in centres.items():
        grid.attrs.update(fine.coords[name].attrs)
    return centres
