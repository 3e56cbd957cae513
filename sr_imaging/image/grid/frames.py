"""Two images in one frame: same CRS or patient frame, and area means of one on the grid of the other."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import GridError

from .axes import check_grid, spatial_dims
from .rasters import is_rotated
from .reference import axis_step, world_reference

__all__ = ["mean_on_grid"]
ROUNDING = 0.02  # of a fine pixel: what rounding in files moves an edge by
_PARALLEL = 1e-4  # of the cosine between two axes of volumes, less than a degree


@dataclass(frozen=True)
class Line:
    """Where the pixels of one axis lie: first outer edge, signed step, length."""

    edge: float
    step: float
    size: int

    def at(self, position: float) -> float:
        """Return the pixel edges from the first one to a position."""
        return (position - self.edge) / self.step

    def turned(self) -> "Line":
        """Return the same pixels in the opposite order."""
        return Line(self.edge + self.step * self.size, -self.step, self.size)


def mean_on_grid(fine: xr.DataArray, grid: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the area mean of a fine scan on the grid of another, and that other cropped to it.

    Parameters
    ----------
    fine : DataArray
        Scan whose pixels are at most as large as those of `grid`; their edges may lie anywhere.
    grid : DataArray
        Scan of the same CRS or parallel axes; arrays that both state no place cover the same area.

    Returns
    -------
    DataArray, DataArray
        Float32 values of `fine` with NaN where a pixel sees an invalid one, dims of `fine`, place of `grid`,
        lazy where `fine` is; and `grid` cropped to the pixels of which `fine` covers half or more.

    Raises
    ------
    GridError
        As :func:`aligned_pair`, or if `fine` is the coarser one.
    """
    values = fine.astype(np.float32)
    coords = {}
    for axis, (line, wanted) in lay_lines(fine, grid).items():
        if abs(line.step) > abs(wanted.step) * (1 + 1e-3):
            raise GridError(
                f"along {axis} the guide has pixels of {abs(line.step):g}, more than {abs(wanted.step):g}; "
                "give a finer guide"
            )
        edges = (wanted.edge + wanted.step * np.arange(wanted.size + 1) - line.edge) / line.step
        low, high = np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])
        least = (high - low) * (0.5 - ROUNDING)
        low, high = low.clip(0, line.size), high.clip(0, line.size)  # of a pixel at the border, what is seen
        inside = np.flatnonzero(high - low > least)
        if not inside.size:
            raise GridError(f"the guide does not cover the scan along {axis}; give one of the same place")
        kept = slice(int(inside[0]), int(inside[-1]) + 1)
        grid = grid.isel({name_dim(grid, axis): kept})
        dim = name_dim(fine, axis)
        values = _area_mean(values, dim, low[kept], high[kept])
        if name_dim(grid, axis) in grid.coords:
            coords[dim] = (dim, grid.coords[name_dim(grid, axis)].values)
    places = {name: grid.coords[name] for name in ("spatial_ref", "volume_ref") if name in grid.coords}
    return values.assign_coords({**coords, **places}), grid


def _area_mean(values: xr.DataArray, dim: Any, low: np.ndarray, high: np.ndarray) -> xr.DataArray:
    """Mean along a dim over the stretches from `low` to `high`, in pixel edges."""
    array: Any = np.moveaxis(values.data.astype(np.float64), values.get_axis_num(dim), -1)
    first = np.clip(np.floor(low + ROUNDING).astype(int), 0, array.shape[-1] - 1)
    out: Any = 0.0
    for tap in range(int(np.ceil((high - low).max())) + 1):
        place = first + tap
        share = np.clip(np.minimum(high, place + 1) - np.maximum(low, place), 0, None)
        share = np.where(share > ROUNDING, share, 0.0) / (high - low)
        taken = array[..., np.clip(place, 0, array.shape[-1] - 1)]
        out = out + np.where(share > 0, taken * share, 0.0)
    shape = tuple(d for d in values.dims if d != dim)
    mean = xr.DataArray(out.astype(np.float32), dims=(*shape, dim), attrs=values.attrs)
    return mean.transpose(*values.dims)


def lay_lines(fine: xr.DataArray, coarse: xr.DataArray) -> dict[str, tuple[Line, Line]]:
    """Lines of both scans by axis, in one frame."""
    both = [spatial_dims(da) for da in (fine, coarse)]
    if [*both[0]] != [*both[1]] or not both[0]:
        raise GridError(f"the scans have the axes {[*both[0]]} and {[*both[1]]}; give two of the same axes")
    for da in (fine, coarse):
        check_grid(da)
        if is_rotated(da):
            raise GridError("a rotated raster has no axes to align; resample it onto the other's grid first")
    placed = [
        all(dim in da.coords for dim in dims.values()) for da, dims in zip((fine, coarse), both, strict=True)
    ]
    if placed[0] != placed[1]:
        raise GridError("one scan states its place and the other does not; give both or none coordinates")
    if not placed[0]:
        sizes = {axis: (fine.sizes[both[0][axis]], coarse.sizes[both[1][axis]]) for axis in both[0]}
        return {axis: (Line(0, 1, n), Line(0, n / m, m)) for axis, (n, m) in sizes.items()}
    moves = _moves(fine, coarse, [*both[0]])
    lines = {}
    for axis, (towards, move) in moves.items():
        line = _line(coarse, both[1][axis])
        moved = Line(towards * line.edge + move, towards * line.step, line.size)
        lines[axis] = (_line(fine, both[0][axis]), moved)
    return lines


def _line(da: xr.DataArray, dim: Any) -> Line:
    """Line of a dim in its own coordinates."""
    step = axis_step(da, dim)
    if step is None:
        raise GridError(f"dim {dim!r} has one pixel and no stated spacing; its edges are unknown")
    return Line(float(da.coords[dim].values[0]) - step / 2, step, da.sizes[dim])


def _moves(fine: xr.DataArray, coarse: xr.DataArray, axes: list[str]) -> dict[str, tuple[float, float]]:
    """What takes a coordinate of the coarse scan into the frame of the fine one: direction and distance."""
    volumes = ["volume_ref" in da.coords for da in (fine, coarse)]
    if volumes[0] != volumes[1]:
        raise GridError("one scan is a volume in a patient, the other is not; give two of a kind")
    if not volumes[0]:
        _check_crs(fine, coarse)
        return dict.fromkeys(axes, (1.0, 0.0))
    own, other = (da.coords["volume_ref"].attrs for da in (fine, coarse))
    frames = [attrs.get("frame_of_reference_uid") for attrs in (own, other)]
    if all(frames) and frames[0] != frames[1]:
        raise GridError(
            f"the scans have different frames of reference, {frames[0]} and {frames[1]}; register them first"
        )
    turn = [np.asarray(attrs["direction"], dtype=np.float64).reshape(3, 3) for attrs in (own, other)]
    cosines = turn[0].T @ turn[1]
    along = np.diag(cosines)
    if np.abs(np.abs(along) - 1).max() > _PARALLEL:
        angle = np.degrees(np.arccos(np.clip(np.abs(along).min(), 0, 1)))
        raise GridError(f"the axes of the scans are up to {angle:.3g} degrees apart; resample one of them")
    apart = turn[0].T @ (np.asarray(other["origin"], dtype=float) - np.asarray(own["origin"], dtype=float))
    order = {"z": 0, "y": 1, "x": 2}
    return {axis: (float(np.sign(along[order[axis]])), float(apart[order[axis]])) for axis in axes}


def _check_crs(fine: xr.DataArray, coarse: xr.DataArray) -> None:
    """Raise unless two rasters state the same CRS, or none."""
    texts = []
    for da in (fine, coarse):
        reference = world_reference(da)
        attrs = da.coords[reference].attrs if reference is not None else {}
        texts.append(str(attrs.get("crs_wkt", attrs.get("spatial_ref", ""))))
    if texts[0] == texts[1]:
        return
    from pyproj import CRS

    own, other = (CRS.from_wkt(text) if text else None for text in texts)
    if own is None or other is None or not own.equals(other, ignore_axis_order=True):
        names = ["none" if crs is None else crs.name for crs in (own, other)]
        raise GridError(f"the scans have different CRS, {names[0]} and {names[1]}; reproject one of them")


def name_dim(da: xr.DataArray, axis: str) -> Any:
    """Name of an axis in an array."""
    return spatial_dims(da)[axis]
