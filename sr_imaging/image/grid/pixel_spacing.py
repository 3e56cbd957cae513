"""The distance between pixel centres along each axis, and its unit."""

from typing import Any

import numpy as np
import xarray as xr

from .axes import check_grid, spatial_dims
from .rasters import geo_transform, is_rotated
from .reference import axis_step, world_reference

METRES_PER_DEGREE = 111_320.0  # of latitude
THICK = 1.5  # slice distance over the in-plane spacing, from which slices count as thick
_UNITS = {"metre": "m", "meter": "m", "metres": "m", "meters": "m", "millimetre": "mm", "millimeter": "mm"}


def has_thick_slices(z: float, y: float, x: float) -> bool:
    """Return whether the slices of a volume of these spacings are thick."""
    return z >= THICK * max(y, x)


def spacing(da: xr.DataArray) -> dict[Any, float]:
    """Return ``{dim: spacing}`` in the order z, y, x, positive, in the coordinate's unit (mm, m, degree).

    A dim whose spacing nothing states is left out. A rotated raster gives the length of its pixel's sides.
    """
    check_grid(da)
    steps: dict[Any, float] = {}
    rotated = geo_transform(da) if is_rotated(da) else None
    for axis, dim in spatial_dims(da).items():
        if rotated is not None and axis in "xy":
            steps[dim] = float(
                np.hypot(rotated[1], rotated[4]) if axis == "x" else np.hypot(rotated[2], rotated[5])
            )
        elif (step := axis_step(da, dim)) is not None:
            steps[dim] = abs(step)
    return steps


def spacing_unit(da: xr.DataArray, dim: Any) -> str:
    """Return the unit of the spacing along a spatial dim: ``mm`` for volumes, empty where it is unknown.

    For rasters it is ``degree``, ``m`` or what the coordinate states; if that states none, the CRS counts.
    """
    if "volume_ref" in da.coords:
        return "mm"
    stated = str(da.coords[dim].attrs.get("units", "")) if dim in da.coords else ""
    named = world_reference(da)
    wkt = str(da.coords[named].attrs.get("crs_wkt", "")) if named is not None else ""
    if stated.startswith("degree") or (not stated and wkt.startswith(("GEOG", "GCS"))):
        return "degree"
    return _UNITS.get(stated, stated) if stated else "m" if wkt else ""
