"""Ground control points, rational polynomials and geolocation arrays: kept, and rescaled with the grid.

A raster placed by them carries the scalar coord ``image_ref``. Its attrs hold the points (``gcps``,
``gcps_wkt``), polynomials (``rpcs``) and GDAL's tags on arrays of places (``geolocation``) of the file that
was read, and that file's ``transform``. Where the file had no transform, the axes ``x`` and ``y`` count the
file's pixels, so that a cropped or refined array still says where in the file it lies.
"""

import json
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import WriteError
from sr_imaging.image.grid.rasters import geo_transform

__all__ = ["is_placed_by_pixels", "scale_references"]

_IDENTITY = (0.0, 1.0, 0.0, 0.0, 0.0, 1.0)  # GDAL's transform of a file that states none
_Axis = tuple[float, float]  # first edge and step in pixels of the source


def is_placed_by_pixels(da: xr.DataArray) -> bool:
    """Return whether the coords of the raster count pixels of a file without transform."""
    return "image_ref" in da.coords and _read_source_transform(da) == _IDENTITY


def _read_source_transform(da: xr.DataArray) -> tuple[float, ...]:
    """Return GDAL's six numbers of the file that was read."""
    return tuple(float(part) for part in str(da.coords["image_ref"].attrs["transform"]).split())


def scale_references(da: xr.DataArray) -> dict[str, Any]:
    """Return GCPs (``gcps``: points and their CRS), ``rpcs`` and ``geolocation`` tags for the grid of `da`.

    Only what the coord ``image_ref`` holds. A WriteError says why the grid is not a scaled part of the one
    that they belong to.
    """
    if "image_ref" not in da.coords:
        return {}
    attrs = da.coords["image_ref"].attrs
    scaled: dict[str, Any] = {}
    cols, rows = _find_grid_in_source(da)
    if "gcps" in attrs:
        scaled["gcps"] = _scale_gcps(attrs, cols, rows)
    if "rpcs" in attrs:
        scaled["rpcs"] = _scale_rpcs(attrs, cols, rows)
    if "geolocation" in attrs:
        tags = json.loads(attrs["geolocation"])
        centred = 0.5 if tags.get("GEOREFERENCING_CONVENTION") == "PIXEL_CENTER" else 0.0
        for side, (first, step) in (("PIXEL", cols), ("LINE", rows)):
            offset = (float(tags.get(f"{side}_OFFSET", 0)) + centred - first) / step - centred
            tags[f"{side}_OFFSET"], tags[f"{side}_STEP"] = (
                f"{number:.15g}" for number in (offset, float(tags.get(f"{side}_STEP", 1)) / step)
            )
        scaled["geolocation"] = tags
    return scaled


def _find_grid_in_source(da: xr.DataArray) -> tuple[_Axis, _Axis]:
    """Return first edge and step of the columns and rows of `da`, in pixels of the source."""
    numbers = geo_transform(da)
    if numbers is None:
        raise WriteError(
            "the raster has image_ref but no x and y coords; keep the coords, or drop_vars('image_ref')"
        )
    within = np.linalg.solve(_build_matrix(_read_source_transform(da)), _build_matrix(numbers))
    if abs(within[0, 1]) > 1e-6 or abs(within[1, 0]) > 1e-6:
        raise WriteError(
            "the grid is rotated against that of its control points or polynomials; leave them out with "
            "drop_vars('image_ref')"
        )
    return (float(within[0, 2]), float(within[0, 0])), (float(within[1, 2]), float(within[1, 1]))


def _build_matrix(numbers: Any) -> np.ndarray:
    """Return GDAL's six numbers as the (3, 3) matrix (col, row, 1) -> (x, y, 1)."""
    x0, a, b, y0, d, e = numbers
    return np.array([[a, b, x0], [d, e, y0], [0, 0, 1]])


def _scale_gcps(attrs: Any, cols: _Axis, rows: _Axis) -> tuple[list[Any], Any]:
    """Return control points whose rows and columns count from the corner of the new grid, and their CRS."""
    from rasterio.control import GroundControlPoint
    from rasterio.crs import CRS

    (col0, col_step), (row0, row_step) = cols, rows
    points = [
        GroundControlPoint(
            **{**point, "row": (point["row"] - row0) / row_step, "col": (point["col"] - col0) / col_step}
        )
        for point in json.loads(attrs["gcps"])
    ]
    return points, CRS.from_wkt(attrs["gcps_wkt"]) if attrs.get("gcps_wkt") else None


def _scale_rpcs(attrs: Any, cols: _Axis, rows: _Axis) -> Any:
    """Return the rational polynomials (RPCs) in pixels of the new grid; they count from pixel centres."""
    from rasterio.rpc import RPC

    (col0, col_step), (row0, row_step) = cols, rows
    values = json.loads(attrs["rpcs"])
    values["samp_off"] = (values["samp_off"] + 0.5 - col0) / col_step - 0.5
    values["line_off"] = (values["line_off"] + 0.5 - row0) / row_step - 0.5
    values["samp_scale"] /= col_step
    values["line_scale"] /= row_step
    return RPC(**values)
