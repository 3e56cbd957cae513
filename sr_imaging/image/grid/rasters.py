"""Where the pixels of a raster lie: GDAL's six numbers, and the 2-D centres of rotated rasters."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import GridError

from .axes import even_tolerance, spatial_dims
from .reference import axis_step, parse_geo_transform, world_reference

_LAZY_CENTRES = 4096  # pixels: side of a chunk of 2-D centres, where they are lazy
_LOOKED_AT = 256  # rows and columns of 2-D centres


def is_rotated(da: xr.DataArray) -> bool:
    """Tell whether the array is a rotated or sheared raster, placed by 2-D ``xc`` and ``yc``."""
    return "xc" in da.coords and "yc" in da.coords and da.coords["xc"].ndim == 2


def stated_transform(da: xr.DataArray) -> list[float] | None:
    """Return GDAL's six numbers as the reference states them; stale where the array was cropped."""
    reference = world_reference(da)
    if reference is None or "GeoTransform" not in da.coords[reference].attrs:
        return None
    return parse_geo_transform(da.coords[reference].attrs["GeoTransform"])


def geo_transform(da: xr.DataArray) -> list[float] | None:
    """Return GDAL's six numbers of a raster from its coordinates, 2-D ``xc``, ``yc`` if rotated; else None.

    They count from pixel corners: ``[x0, dx/dcol, dx/drow, y0, dy/dcol, dy/drow]``.
    """
    dims = spatial_dims(da)
    if "y" not in dims or "x" not in dims:
        return None
    if is_rotated(da):
        return _fit_transform(da, dims["y"], dims["x"])
    if dims["y"] not in da.coords or dims["x"] not in da.coords:
        return None
    dx, dy = axis_step(da, dims["x"]), axis_step(da, dims["y"])
    if dx is None or dy is None:
        return None
    x0 = float(da.coords[dims["x"]].values[0]) - dx / 2
    y0 = float(da.coords[dims["y"]].values[0]) - dy / 2
    return [x0, dx, 0.0, y0, 0.0, dy]


def _fit_transform(da: xr.DataArray, y: Any, x: Any) -> list[float]:
    """Fit the six numbers to the 2-D centres; a side of one pixel takes its vector from GeoTransform."""
    rows, cols = da.sizes[y], da.sizes[x]
    centres = [_sample_centres(da.coords[name].transpose(y, x)) for name in ("xc", "yc")]
    stated = stated_transform(da)
    numbers: list[float] = []
    for k, grid in enumerate(centres):
        if stated is None and min(rows, cols) < 2:
            raise GridError(
                "a rotated raster of one row or column needs a GeoTransform; write_transform first"
            )
        along_col = (grid[0, -1] - grid[0, 0]) / (cols - 1) if cols > 1 else stated[3 * k + 1]  # type: ignore[index]
        along_row = (grid[-1, 0] - grid[0, 0]) / (rows - 1) if rows > 1 else stated[3 * k + 2]  # type: ignore[index]
        numbers += [float(grid[0, 0] - along_col / 2 - along_row / 2), float(along_col), float(along_row)]
    _check_straight(da, numbers, centres, [_choose_places(da.coords["xc"], dim) for dim in (y, x)])
    return numbers


def _check_straight(
    da: xr.DataArray, numbers: list[float], centres: list[np.ndarray], places: list[np.ndarray]
) -> None:
    """Raise where 2-D centres are those of a swath or a curvilinear grid, which no six numbers place."""
    if not np.isfinite(centres).all():
        raise GridError("the centres xc, yc have non-finite values; assign those of an even grid")
    x0, a, b, y0, d, e = numbers
    pixel = min(np.hypot(a, d), np.hypot(b, e))
    row, col = (place + 0.5 for place in np.meshgrid(*places, indexing="ij"))
    off = np.hypot(centres[0] - (x0 + a * col + b * row), centres[1] - (y0 + d * col + e * row))
    dtype = min(da.coords["xc"].dtype, da.coords["yc"].dtype)
    if pixel == 0 or off.max() > even_tolerance(dtype, np.stack(centres), pixel) * pixel:
        raise GridError(
            f"the centres xc, yc lie up to {off.max():.3g} off an even grid of pixels of {pixel:.3g}; "
            "resample onto an even grid first"
        )


def rotated_centres(
    numbers: Sequence[float], sizes: Mapping[Any, int], *, lazy: bool = False
) -> dict[str, xr.Variable]:
    """Return the 2-D centres ``xc`` and ``yc`` of a rotated raster, (y, x) float64 in CRS units.

    `numbers` are GDAL's six, `sizes` the lengths of the y dim and the x dim in that order. `lazy` makes dask
    arrays, for rasters too large to hold two float64 centres for every pixel.
    """
    x0, a, b, y0, d, e = numbers
    rows, cols = (xr.Variable((dim,), np.arange(size) + 0.5) for dim, size in sizes.items())
    with warnings.catch_warnings():
        if lazy:
            rows, cols = rows.chunk(_LAZY_CENTRES), cols.chunk(_LAZY_CENTRES)
            warnings.filterwarnings("ignore", "Increasing number of chunks")  # an outer sum does
        return {"xc": x0 + (b * rows + a * cols), "yc": y0 + (e * rows + d * cols)}


def _sample_centres(centres: xr.DataArray) -> np.ndarray:
    """Return 2-D centres at the border and between, without computing the rest of lazy ones."""
    return centres.isel({dim: _choose_places(centres, dim) for dim in centres.dims}).values.astype(np.float64)


def _choose_places(centres: xr.DataArray, dim: Any) -> np.ndarray:
    """Return the rows or columns of 2-D centres to look at: a grid that is bent is so at many of them."""
    count = min(centres.sizes[dim], _LOOKED_AT if centres.chunks is None else 3)
    return np.linspace(0, centres.sizes[dim] - 1, count).astype(int)
