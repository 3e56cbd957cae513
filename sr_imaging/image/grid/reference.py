"""Where the axes lie in the world: their steps and edges, and the coordinate that places the array."""

from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import GridError

from .axes import AXES, AXIS_OF, mean_step

_PLACING = {"crs_wkt", "GeoTransform", "grid_mapping_name"}  # attrs of CF's grid mappings


def axis_step(da: xr.DataArray, dim: Any) -> float | None:
    """Return the signed step of a spatial dim in its unit, None where nothing states it.

    It is that of the coordinate or, for one pixel, that of the world reference.
    """
    if dim in da.coords and da.sizes.get(dim, 1) > 1:
        return mean_step(da.coords[dim].values.astype(np.float64))
    axis = AXIS_OF[str(dim)]
    reference = world_reference(da)
    if reference is None:
        return None
    attrs = da.coords[reference].attrs
    if "spacing" in attrs:
        return float(np.asarray(attrs["spacing"], dtype=float)[AXES.index(axis)])
    if "GeoTransform" in attrs and axis in "xy":
        numbers = parse_geo_transform(attrs["GeoTransform"])
        along = (numbers[1], numbers[4]) if axis == "x" else (numbers[5], numbers[2])
        return along[0] if along[1] == 0 else float(np.copysign(np.hypot(*along), along[0]))
    return None


def known_step(da: xr.DataArray, dim: Any) -> float:
    """Return the signed step of a spatial dim in its unit; a GridError where nothing states it."""
    step = axis_step(da, dim)
    if step is None:
        raise GridError(
            f"dim {dim!r} has one pixel and no stated spacing; write a GeoTransform or a volume_ref first"
        )
    return step


def edges(da: xr.DataArray, dim: Any) -> tuple[float, float]:
    """Return the first and last outer edge of an axis in its unit, half a step beyond its end centres."""
    step = known_step(da, dim)
    centres = da.coords[dim].values.astype(np.float64)
    return float(centres[0] - step / 2), float(centres[-1] + step / 2)


def world_reference(da: xr.DataArray) -> Any | None:
    """Return the name of the scalar coordinate that places the array in the world, or None."""
    named = da.encoding.get("grid_mapping", da.attrs.get("grid_mapping"))
    if named in da.coords:
        return named
    for name, coord in da.coords.items():
        if coord.ndim == 0 and (name in ("volume_ref", "spatial_ref") or _PLACING & set(coord.attrs)):
            return name
    return None


def stated_wkt(da: xr.DataArray) -> str:
    """Return the WKT of the CRS that an array states in one of CF's ways, empty where it states none."""
    reference = world_reference(da)
    attrs = da.coords[reference].attrs if reference is not None else {}
    wkt = attrs.get("crs_wkt", attrs.get("spatial_ref"))
    if not wkt and "grid_mapping_name" in attrs:
        from pyproj import CRS
        from pyproj.exceptions import CRSError

        try:
            return CRS.from_cf(dict(attrs)).to_wkt()
        except (CRSError, KeyError) as error:  # a missing parameter is a KeyError
            raise GridError(
                f"the CRS of {reference!r} is not understood: {error}; write it anew with rio.write_crs"
            ) from error
    return str(wkt or "")


def parse_geo_transform(text: Any) -> list[float]:
    """Read GDAL's six numbers from text: x0, dx/dcol, dx/drow, y0, dy/dcol, dy/drow."""
    numbers = [float(part) for part in str(text).split()]
    if len(numbers) != 6:
        raise GridError(
            f"GeoTransform {text!r} has {len(numbers)} numbers, not 6; write it anew with rio.write_transform"
        )
    return numbers
