"""Two images in one frame: whether they are, where their axes lie, and means of one on the other's grid."""

from dataclasses import dataclass
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from sr_imaging.errors import GridError

from .axes import AXES, check_grid, spatial_dims
from .rasters import is_rotated
from .reference import known_step, stated_wkt

if TYPE_CHECKING:
    from pyproj import CRS

__all__ = ["ROUNDING", "Line", "align_lines", "check_same_frame", "is_same_crs", "mean_on_grid"]

ROUNDING = 0.02  # of a fine pixel: what rounding in files moves an edge by
_PARALLEL = 1e-4  # of the cosine between two axes of volumes, less than a degree


@dataclass(frozen=True)
class Line:
    """Where the pixels of one axis lie: first outer edge, signed step, length."""

    edge: float
    step: float
    size: int

    @classmethod
    def of(cls, da: xr.DataArray, dim: Any) -> "Line":
        """Return the line of a dim in its own coordinates."""
        step = known_step(da, dim)
        return cls(float(da.coords[dim].values[0]) - step / 2, step, da.sizes[dim])

    def at(self, position: float) -> float:
        """Return the pixel edges from the first one to a position."""
        return (position - self.edge) / self.step

    def turned(self) -> "Line":
        """Return the same pixels in the opposite order."""
        return Line(self.edge + self.step * self.size, -self.step, self.size)


def mean_on_grid(fine: xr.DataArray, grid: xr.DataArray) -> tuple[xr.DataArray, xr.DataArray]:
    """Return the area mean of a fine scan on the grid of another, and that other cropped to what it covers.

    The pixels of `fine` are at most as large as those of `grid`, and their edges may lie anywhere; arrays
    that both state no place cover the same area. The mean is float32 with the dims of `fine`, lazy where it
    is, NaN where a pixel sees an invalid one. `grid` keeps the pixels that `fine` covers to half or more.
    """
    values = fine.astype(np.float32)
    coords = {}
    for axis, (line, wanted) in align_lines(fine, grid).items():
        if abs(line.step) > abs(wanted.step) * (1 + 1e-3):
            raise GridError(
                f"along {axis} the guide has pixels of {abs(line.step):g}, more than {abs(wanted.step):g}; "
                "give a finer guide"
            )
        ends = (wanted.edge + wanted.step * np.arange(wanted.size + 1) - line.edge) / line.step
        low, high = np.minimum(ends[:-1], ends[1:]), np.maximum(ends[:-1], ends[1:])
        least = (high - low) * (0.5 - ROUNDING)
        low, high = low.clip(0, line.size), high.clip(0, line.size)  # a border pixel counts by what is seen
        inside = np.flatnonzero(high - low > least)
        if not inside.size:
            raise GridError(f"the guide does not cover the scan along {axis}; give one of the same place")
        kept = slice(int(inside[0]), int(inside[-1]) + 1)
        dim, theirs = (spatial_dims(da)[axis] for da in (fine, grid))
        grid = grid.isel({theirs: kept})
        values = _average_area(values, dim, low[kept], high[kept])
        if theirs in grid.coords:
            coords[dim] = (dim, grid.coords[theirs].values)
    places = {name: grid.coords[name] for name in ("spatial_ref", "volume_ref") if name in grid.coords}
    return values.assign_coords({**coords, **places}), grid


def _average_area(values: xr.DataArray, dim: Any, low: np.ndarray, high: np.ndarray) -> xr.DataArray:
    """Return the mean along a dim over the stretches from `low` to `high`, in pixel edges."""
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


def align_lines(fine: xr.DataArray, coarse: xr.DataArray) -> dict[str, tuple[Line, Line]]:
    """Return the lines of both scans by axis, in the frame of the fine one."""
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
    moves = _find_moves(fine, coarse, [*both[0]])
    lines = {}
    for axis, (towards, move) in moves.items():
        line = Line.of(coarse, both[1][axis])
        moved = Line(towards * line.edge + move, towards * line.step, line.size)
        lines[axis] = (Line.of(fine, both[0][axis]), moved)
    return lines


def _find_moves(fine: xr.DataArray, coarse: xr.DataArray, axes: list[str]) -> dict[str, tuple[float, float]]:
    """Return how a coordinate of the coarse scan moves into the frame of the fine one: sign and distance."""
    check_same_frame(fine, coarse)
    if "volume_ref" not in fine.coords:
        return dict.fromkeys(axes, (1.0, 0.0))
    own, other = (da.coords["volume_ref"].attrs for da in (fine, coarse))
    turn = [np.asarray(attrs["direction"], dtype=np.float64).reshape(3, 3) for attrs in (own, other)]
    cosines = turn[0].T @ turn[1]
    along = np.diag(cosines)
    if np.abs(np.abs(along) - 1).max() > _PARALLEL:
        angle = np.degrees(np.arccos(np.clip(np.abs(along).min(), 0, 1)))
        raise GridError(f"the axes of the scans are up to {angle:.3g} degrees apart; resample one of them")
    apart = turn[0].T @ (np.asarray(other["origin"], dtype=float) - np.asarray(own["origin"], dtype=float))
    places = {axis: AXES.index(axis) for axis in axes}
    return {axis: (float(np.sign(along[k])), float(apart[k])) for axis, k in places.items()}


def check_same_frame(
    one: xr.DataArray, other: xr.DataArray, names: str = "the scans", *, may_lack_crs: bool = False
) -> None:
    """Raise a GridError unless two images lie in one frame: one patient's, or that of one CRS.

    Volumes that do not both state a frame of reference UID count as one frame. Two rasters must both state a
    CRS or both none, unless one of them `may_lack_crs`.
    """
    volumes = ["volume_ref" in da.coords for da in (one, other)]
    if volumes[0] != volumes[1]:
        raise GridError(
            f"only one of {names} has a volume_ref, so that they have no common place; give two of a kind"
        )
    if volumes[0]:
        uids = [da.coords["volume_ref"].attrs.get("frame_of_reference_uid") for da in (one, other)]
        if all(uids) and str(uids[0]) != str(uids[1]):
            raise GridError(
                f"{names} have different frames of reference, {uids[0]} and {uids[1]}; register them first"
            )
        return
    texts = [_find_wkt(da) for da in (one, other)]
    if not is_same_crs(*texts) and not (may_lack_crs and not all(texts)):
        own, its = (_read_crs(text).name if text else "none" for text in texts)
        raise GridError(f"{names} have different CRS, {own} and {its}; reproject one of them")


def is_same_crs(one: str, other: str) -> bool:
    """Tell whether two CRS in WKT (empty for none) are one, however it is spelled and its axes are ordered.

    Arrays name their x and y themselves, so that EPSG:4326 and OGC:CRS84 give a pixel the same place.
    """
    if one == other or not (one and other):
        return one == other
    own, its = _read_crs(one), _read_crs(other)
    if own.equals(its, ignore_axis_order=True):
        return True
    own, its = (crs.from_json_dict(_sort_axes(crs.to_json_dict())) for crs in (own, its))
    return own.equals(its, ignore_axis_order=True)


def _find_wkt(da: xr.DataArray) -> str:
    """Return the WKT of an array's CRS, empty where it has none or none that can be understood."""
    try:
        return stated_wkt(da)
    except GridError:
        return ""


def _read_crs(wkt: str) -> "CRS":
    """Return the CRS of a WKT."""
    from pyproj import CRS
    from pyproj.exceptions import CRSError

    try:
        return CRS.from_wkt(wkt)
    except CRSError as error:
        raise GridError(f"the CRS is not understood: {error}; write it anew with rio.write_crs") from error


def _sort_axes(node: Any) -> Any:
    """Return PROJ's JSON of a CRS with its axes in the order of their directions, projected ones too."""
    if isinstance(node, list):
        return [_sort_axes(one) for one in node]
    if not isinstance(node, dict):
        return node
    rest = {key: _sort_axes(value) for key, value in node.items()}
    return rest | {"axis": sorted(rest["axis"], key=itemgetter("direction"))} if "axis" in rest else rest
