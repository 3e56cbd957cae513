"""The promise of a refined grid, checked on every result: it lies exactly over its source."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import GridError

from .axes import EVEN_TOLERANCE, fine_size, spatial_dims
from .rasters import geo_transform, stated_transform
from .reference import axis_step, world_reference

__all__ = ["check_overlay"]

_EXACT = 1e-6  # of a coarse pixel


def check_overlay(coarse: xr.DataArray, fine: xr.DataArray, scale: Mapping[Any, float]) -> None:
    """Raise a GridError unless a refined array lies exactly over its source.

    The outer edges are those of the source, a pixel is one of the source divided by `scale` (1 for a dim that
    it does not name), and each centre of the source is the centre of its block, to a millionth of a pixel and
    the rounding of the coordinate. Where `scale` is not whole, the last edge may be half a fine pixel off.
    """
    for dim in spatial_dims(coarse).values():
        wanted = fine_size(coarse.sizes[dim], scale.get(dim, 1))
        if fine.sizes[dim] != wanted:
            _refuse_result(dim, f"has {fine.sizes[dim]} pixels, not {wanted}")
        if dim in coarse.coords and dim in fine.coords:
            _check_axis(coarse, fine, dim, float(scale.get(dim, 1)))
    _check_corners(coarse, fine, scale)


def _check_axis(coarse: xr.DataArray, fine: xr.DataArray, dim: Any, scale: float) -> None:
    """Raise unless the centres of one axis lie over those of the source."""
    step = axis_step(coarse, dim)
    if step is None:
        return
    old, new = (da.coords[dim].values.astype(np.float64) for da in (coarse, fine))
    slack = _EXACT + 4 * float(np.spacing(np.abs(new).max())) / abs(step)
    own = axis_step(fine, dim) or step / scale
    off = {
        "pixels": abs(own * scale - step) * old.size,
        "first edge": abs((new[0] - own / 2) - (old[0] - step / 2)),
    }
    if scale == round(scale):
        off["last edge"] = abs((new[-1] + own / 2) - (old[-1] + step / 2))
        blocks = float(np.abs(new.reshape(old.size, round(scale)).mean(1) - old).max())
        off["centres"] = max(0.0, blocks - EVEN_TOLERANCE * abs(step) - _find_rounding(coarse.coords[dim]))
    for what, by in off.items():
        if not by <= slack * abs(step):
            _refuse_result(dim, f"has its {what} {by / abs(step):.3g} pixels off")


def _find_rounding(coord: xr.DataArray) -> float:
    """Return what the float type of a coordinate rounds away, in its unit."""
    return 2 * float(np.spacing(np.abs(coord.values).max())) if coord.dtype.kind == "f" else 0.0


def _check_corners(coarse: xr.DataArray, fine: xr.DataArray, scale: Mapping[Any, float]) -> None:
    """Raise unless a raster's corners lie over its source, by its coordinates and by its GeoTransform."""
    numbers = geo_transform(coarse) or stated_transform(coarse)
    if numbers is None or world_reference(coarse) in (None, "volume_ref"):
        return
    dims = spatial_dims(coarse)
    x, y = (float(scale.get(dims[axis], 1)) for axis in ("x", "y"))
    x0, a, b, y0, d, e = numbers
    wanted = [x0, a / x, b / y, y0, d / x, e / y]
    corners = np.array([[1, c, r] for c in (0, fine.sizes[dims["x"]]) for r in (0, fine.sizes[dims["y"]])])
    pixel = float(np.hypot(a, d))
    slack = EVEN_TOLERANCE * pixel + 4 * float(np.spacing(max(abs(x0), abs(y0))))
    for name, found in (("coordinates", geo_transform(fine)), ("GeoTransform", stated_transform(fine))):
        if found is None:
            continue
        off = np.abs(corners @ (np.reshape(found, (2, 3)) - np.reshape(wanted, (2, 3))).T).max()
        if not off <= slack:
            _refuse_result("y, x", f"has a corner {off / pixel:.3g} pixels off by its {name}")


def _refuse_result(dim: Any, what: str) -> None:
    """Raise for a result that does not lie over its source."""
    raise GridError(f"the result along {dim} {what}; report this with the coordinates of the input")
