"""Two scans of one place, laid over each other by their coordinates, and by their contents as a check."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import GridError
from sr_imaging.image.grid.axes import check_grid, spatial_dims
from sr_imaging.image.grid.reference import axis_step, is_rotated, world_reference

from .arrays import degrade
from .content_shift import content_shift
from .psf import Psf

__all__ = ["AlignedPair", "aligned_pair", "mean_on_grid"]

_ROUNDING = 0.02  # of a fine pixel: what rounding in files moves an edge by
_PARALLEL = 1e-4  # of the cosine between two axes of volumes, less than a degree
_LARGEST = {2: 512, 3: 96}  # coarse pixels: side of the middle whose contents are compared, by axes


@dataclass(frozen=True)
class AlignedPair:
    """Two scans cropped to the pixels that both have.

    Parameters
    ----------
    fine, coarse : DataArray
        Cropped; each coarse pixel has a whole block of fine ones.
    scale : tuple of int
        Fine pixels per coarse pixel along the spatial axes, in the order z, y, x.
    offset : tuple of float
        What remains between the grids, by their coordinates: how far the coarse one lies behind the blocks
        of the fine one, in coarse pixels, along the axis; at most half a fine pixel.
    """

    fine: xr.DataArray
    coarse: xr.DataArray
    scale: tuple[int, ...]
    offset: tuple[float, ...]

    def shift(self, *, psf: Psf | Mapping[Any, Psf] | None = None) -> tuple[float, ...]:
        """Return how far the content of the coarse scan lies behind that of the fine one.

        The middle of the fine scan is degraded onto the coarse grid and both are correlated, bands averaged.

        Parameters
        ----------
        psf : Psf or mapping, optional
            How the coarse scan sees the fine one, as in :func:`sr_imaging.degrade`.

        Returns
        -------
        tuple of float
            In coarse pixels along the spatial axes, in the order z, y, x.
        """
        fine, coarse = self.fine, self.coarse
        dims = [*zip(*(spatial_dims(da).values() for da in (fine, coarse)), strict=True)]
        for (fine_dim, dim), s in zip(dims, self.scale, strict=True):
            side = _LARGEST[min(3, max(2, len(dims)))]
            first = max(0, (coarse.sizes[dim] - side) // 2)
            coarse = coarse.isel({dim: slice(first, first + side)})
            fine = fine.isel({fine_dim: slice(first * s, (first + side) * s)})
        factors = {dim: s for (dim, _), s in zip(dims, self.scale, strict=True)}
        seen = degrade(fine, factors, psf=psf, dtype=np.float64)
        return content_shift(_mean_band(seen), _mean_band(coarse))


@dataclass(frozen=True)
class _Line:
    """Where the pixels of one axis lie: first outer edge, signed step, length."""

    edge: float
    step: float
    size: int

    def at(self, position: float) -> float:
        """Return the pixel edges from the first one to a position."""
        return (position - self.edge) / self.step

    def turned(self) -> "_Line":
        """Return the same pixels in the opposite order."""
        return _Line(self.edge + self.step * self.size, -self.step, self.size)


def aligned_pair(fine: xr.DataArray, coarse: xr.DataArray) -> AlignedPair:
    """Lay a coarse scan over a fine one of the same place and crop both to what they share.

    Arrays that both state no place are taken to cover the same area.

    Parameters
    ----------
    fine, coarse : DataArray
        Rasters of one CRS, or volumes of parallel axes. Not changed, not computed where lazy.

    Returns
    -------
    AlignedPair
        With ``fine``, ``coarse``, ``scale``, ``offset`` and the method ``shift()``. An axis of the coarse
        scan that runs the other way is turned.

    Raises
    ------
    GridError
        If the axes, CRS or directions differ, the coarse pixels are no whole number of fine ones, or the
        scans do not overlap; with the numbers.

    Examples
    --------
    >>> fine = xr.DataArray(np.zeros((6, 8)), dims=("y", "x"))
    >>> aligned_pair(fine, xr.DataArray(np.zeros((3, 4)), dims=("y", "x"))).scale
    (2, 2)
    """
    scale, offset = [], []
    for axis, (own, other) in _lines(fine, coarse).items():
        if against := own.step * other.step < 0:
            coarse = coarse.isel({_dim(coarse, axis): slice(None, None, -1)})
        s, first, last, start, rest = _overlap(axis, own, other.turned() if against else other)
        coarse = coarse.isel({_dim(coarse, axis): slice(first, last)})
        fine = fine.isel({_dim(fine, axis): slice(start, start + (last - first) * s)})
        scale.append(s)
        offset.append(rest / s)
    return AlignedPair(fine, coarse, tuple(scale), tuple(offset))


def _overlap(axis: str, own: _Line, other: _Line) -> tuple[int, int, int, int, float]:
    """Factor, first and last coarse pixel with a whole block, its first fine pixel, and the rest of that."""
    ratio = other.step / own.step
    s = round(ratio)
    if s < 1 or abs(ratio - s) * min(other.size, own.size / ratio) > max(1, s) / 2:
        raise GridError(
            f"along {axis} a coarse pixel of {abs(other.step):g} is {ratio:.4g} fine pixels of "
            f"{abs(own.step):g}, not a whole number; resample one of the scans"
        )
    begin = own.at(other.edge)  # in fine pixels
    rest = begin - round(begin)
    first = max(0, -(round(begin) // s))
    last = min(other.size, (own.size - round(begin)) // s)
    if last <= first:
        lows = [min(line.edge, line.edge + line.step * line.size) for line in (own, other)]
        highs = [max(line.edge, line.edge + line.step * line.size) for line in (own, other)]
        raise GridError(
            f"the scans do not overlap along {axis}: {lows[0]:.6g} to {highs[0]:.6g} and {lows[1]:.6g} to "
            f"{highs[1]:.6g}; give two scans of one place"
        )
    return s, first, last, round(begin) + first * s, 0.0 if abs(rest) < _ROUNDING else rest


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
    for axis, (line, wanted) in _lines(fine, grid).items():
        if abs(line.step) > abs(wanted.step) * (1 + 1e-3):
            raise GridError(
                f"along {axis} the guide has pixels of {abs(line.step):g}, more than {abs(wanted.step):g}; "
                "give a finer guide"
            )
        edges = (wanted.edge + wanted.step * np.arange(wanted.size + 1) - line.edge) / line.step
        low, high = np.minimum(edges[:-1], edges[1:]), np.maximum(edges[:-1], edges[1:])
        least = (high - low) * (0.5 - _ROUNDING)
        low, high = low.clip(0, line.size), high.clip(0, line.size)  # of a pixel at the border, what is seen
        inside = np.flatnonzero(high - low > least)
        if not inside.size:
            raise GridError(f"the guide does not cover the scan along {axis}; give one of the same place")
        kept = slice(int(inside[0]), int(inside[-1]) + 1)
        grid = grid.isel({_dim(grid, axis): kept})
        dim = _dim(fine, axis)
        values = _area_mean(values, dim, low[kept], high[kept])
        if _dim(grid, axis) in grid.coords:
            coords[dim] = (dim, grid.coords[_dim(grid, axis)].values)
    places = {name: grid.coords[name] for name in ("spatial_ref", "volume_ref") if name in grid.coords}
    return values.assign_coords({**coords, **places}), grid


def _area_mean(values: xr.DataArray, dim: Any, low: np.ndarray, high: np.ndarray) -> xr.DataArray:
    """Mean along a dim over the stretches from `low` to `high`, in pixel edges."""
    array: Any = np.moveaxis(values.data.astype(np.float64), values.get_axis_num(dim), -1)
    first = np.clip(np.floor(low + _ROUNDING).astype(int), 0, array.shape[-1] - 1)
    out: Any = 0.0
    for tap in range(int(np.ceil((high - low).max())) + 1):
        place = first + tap
        share = np.clip(np.minimum(high, place + 1) - np.maximum(low, place), 0, None)
        share = np.where(share > _ROUNDING, share, 0.0) / (high - low)
        taken = array[..., np.clip(place, 0, array.shape[-1] - 1)]
        out = out + np.where(share > 0, taken * share, 0.0)
    shape = tuple(d for d in values.dims if d != dim)
    mean = xr.DataArray(out.astype(np.float32), dims=(*shape, dim), attrs=values.attrs)
    return mean.transpose(*values.dims)


def _lines(fine: xr.DataArray, coarse: xr.DataArray) -> dict[str, tuple[_Line, _Line]]:
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
        return {axis: (_Line(0, 1, n), _Line(0, n / m, m)) for axis, (n, m) in sizes.items()}
    moves = _moves(fine, coarse, [*both[0]])
    lines = {}
    for axis, (towards, move) in moves.items():
        line = _line(coarse, both[1][axis])
        moved = _Line(towards * line.edge + move, towards * line.step, line.size)
        lines[axis] = (_line(fine, both[0][axis]), moved)
    return lines


def _line(da: xr.DataArray, dim: Any) -> _Line:
    """Line of a dim in its own coordinates."""
    step = axis_step(da, dim)
    if step is None:
        raise GridError(f"dim {dim!r} has one pixel and no stated spacing; its edges are unknown")
    return _Line(float(da.coords[dim].values[0]) - step / 2, step, da.sizes[dim])


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


def _dim(da: xr.DataArray, axis: str) -> Any:
    """Name of an axis in an array."""
    return spatial_dims(da)[axis]


def _mean_band(da: xr.DataArray) -> np.ndarray:
    """Mean over all but the spatial dims, in the order z, y, x, NaN where any band is invalid."""
    dims = [*spatial_dims(da).values()]
    lead = [dim for dim in da.dims if dim not in dims]
    values = da.transpose(*lead, *dims).values.astype(np.float64)
    nodata = da.attrs.get("_FillValue")
    if nodata is not None:
        values = np.where(values == float(nodata), np.nan, values)
    return np.asarray(values.reshape(-1, *values.shape[len(lead) :]).mean(0))
