"""The axes of an array: which dims are spatial, whether their grid is even, and how one axis is refined."""

from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import GridError, InputTypeError

AXES = ("z", "y", "x")
_DIM_NAMES = {
    "z": ("z", "Z", "slice", "depth"),
    "y": ("y", "Y", "lat", "latitude", "northing"),
    "x": ("x", "X", "lon", "longitude", "easting"),
}
AXIS_OF = {name: axis for axis, names in _DIM_NAMES.items() for name in names}
EVEN_TOLERANCE = 1e-3  # of a step: the largest deviation of a centre from the even grid
_MOST_ROUNDING = 0.25  # of a step: what a narrow float type may round away before the grid is lost


def spatial_dims(da: xr.DataArray) -> dict[str, Any]:
    """Return the spatial dims of an array by axis, in the order z, y, x.

    A GridError is raised where two dims are one axis.
    """
    found: dict[str, Any] = {}
    for dim in da.dims:
        axis = AXIS_OF.get(str(dim))
        if axis is None:
            continue
        if axis in found:
            raise GridError(f"dims {found[axis]!r} and {dim!r} are both the {axis} axis; rename one of them")
        found[axis] = dim
    return {axis: found[axis] for axis in AXES if axis in found}


def check_grid(da: xr.DataArray) -> None:
    """Raise unless every spatial coordinate is numeric, finite and evenly spaced; a dim may have none.

    Uneven is what deviates by more than 1e-3 of a step and what the coordinate's float type rounds away.
    """
    unknown = [dim for dim in da.dims if np.isnan(da.sizes[dim])]
    if unknown:
        raise GridError(
            f"dask does not know the length of dim {unknown[0]!r}; da.data.compute_chunk_sizes() first"
        )
    for dim in spatial_dims(da).values():
        if da.sizes[dim] == 0:
            raise GridError(f"the array has no pixels along {dim!r}; give one that has some")
        if dim in da.coords:
            _check_coord(str(dim), da.coords[dim])


def _check_coord(dim: str, coord: xr.DataArray) -> None:
    """Raise unless one 1-D coordinate is numeric, finite and even."""
    if coord.dtype.kind not in "iuf":
        raise InputTypeError(
            f"spatial coord {dim!r} has dtype {coord.dtype}, not numbers; assign pixel centres as float64"
        )
    values = coord.values.astype(np.float64)
    if not np.isfinite(values).all():
        raise GridError(f"coord {dim!r} has non-finite values; assign evenly spaced pixel centres")
    if values.size < 2:
        return
    step = mean_step(values)
    if step == 0:
        raise GridError(f"coord {dim!r} has zero spacing; assign evenly spaced pixel centres")
    deviation = np.abs(values - (values[0] + step * np.arange(values.size))) / abs(step)
    tolerance = even_tolerance(coord.dtype, values, abs(step))
    if deviation.max() > tolerance:
        worst = int(deviation.argmax())
        raise GridError(
            f"coord {dim!r} is uneven: pixel {worst} is {deviation.max():.3g} steps of {abs(step):g} "
            f"off the even grid (tolerance {tolerance:g}); resample onto an even grid first"
        )


def even_tolerance(dtype: np.dtype[Any], values: np.ndarray, step: float) -> float:
    """Return how many steps a centre may lie off a line through two others, as its type rounds all three.

    That is the step of the float type at the largest centre: half for the centre itself, half for the line.
    """
    rounding = float(np.spacing(np.abs(values).max().astype(dtype))) if dtype.kind == "f" else 0.0
    return EVEN_TOLERANCE + min(rounding / step, _MOST_ROUNDING)


def mean_step(values: np.ndarray) -> float:
    """Return the signed distance between neighbouring centres of an even axis of two pixels or more."""
    return float((values[-1] - values[0]) / (values.size - 1))


def fine_centres(centres: np.ndarray, scale: float, step: float | None = None) -> np.ndarray:
    """Return the pixel centres of an axis refined `scale` times, (round(n * scale),) float64 in its unit.

    The first outer edge does not move. With a whole `scale` the last edge stays too and each coarse centre is
    the mean of its fine centres; with any other the spacing is exact, the length is rounded, and the last
    edge moves by at most half a fine pixel. Below 1 coarsens. An axis of one pixel needs its signed `step`.

    >>> fine_centres(np.array([5.0, 15.0]), 2)
    array([ 2.5,  7.5, 12.5, 17.5])
    """
    centres = np.asarray(centres, dtype=np.float64)
    if step is None:
        if centres.size < 2:
            raise GridError("an axis of one pixel has no spacing of its own; give its step")
        step = mean_step(centres)
    index = np.arange(fine_size(centres.size, scale), dtype=np.float64)
    return np.asarray(centres[0] + step * ((index + 0.5) / scale - 0.5))


def fine_bounds(bounds: np.ndarray, scale: float, step: float) -> np.ndarray:
    """Return the bounds (round(n * scale), 2) of a refined axis: coarse cells (n, 2) are cut evenly.

    The sides of a cell keep their order; the signed `step` of the axis says which of them comes first.

    >>> fine_bounds(np.array([[0.0, 10.0], [10.0, 20.0]]), 2, step=10.0)[:2]
    array([[ 0.,  5.],
           [ 5., 10.]])
    """
    bounds = np.asarray(bounds, dtype=np.float64)
    backwards = (bounds[0, 1] - bounds[0, 0]) * step < 0
    begin, end = (bounds[:, ::-1] if backwards else bounds).T
    start = np.arange(fine_size(len(bounds), scale)) / scale
    cell = np.clip(np.floor(start + 1e-9).astype(int), 0, len(bounds) - 1)
    stop_cell = np.clip(np.ceil(start + 1 / scale - 1e-9).astype(int) - 1, 0, len(bounds) - 1)
    first = begin[cell] + (end - begin)[cell] * (start - cell)
    last = begin[stop_cell] + (end - begin)[stop_cell] * (start + 1 / scale - stop_cell)
    return np.stack([last, first] if backwards else [first, last], axis=1)


def fine_size(size: int, scale: float) -> int:
    """Return the length of an axis of `size` pixels refined `scale` times, at least one pixel."""
    return max(1, round(size * scale))
