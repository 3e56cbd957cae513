"""Ground control points, rational polynomials and geolocation arrays: kept, and rescaled with the grid.

A raster placed by them carries the scalar coord ``image_ref``. Its attrs hold the points (``gcps``,
``gcps_wkt``), polynomials (``rpcs``) and GDAL's tags on arrays of places (``geolocation``) of the file that
was read, and that file's ``transform``. Where the file had no transform, the axes ``x`` and ``y`` count the
file's pixels, so that a cropped or refined array still tells where in the file it lies.
"""

import json
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import WriteError
from sr_imaging.image.grid.rasters import geo_transform

__all__ = ["placed_by_pixels", "scaled_references"]

_IDENTITY = (0.0, 1.0, 0.0, 0.0, 0.0, 1.0)  # GDAL's transform of a file that states none


def placed_by_pixels(da: xr.DataArray) -> bool:
    """Tell whether the coords of the raster count pixels of a file without transform."""
    return "image_ref" in da.coords and _source(da) == _IDENTITY


def _source(da: xr.DataArray) -> tuple[float, ...]:
    """GDAL's six numbers of the file that was read."""
    return tuple(float(part) for part in str(da.coords["image_ref"].attrs["transform"]).split())


def scaled_references(da: xr.DataArray) -> dict[str, Any]:
    """Return GCPs, RPCs and GDAL's geolocation tags for the grid of `da`.

    Parameters
    ----------
    da : DataArray
        Raster, perhaps with the coord ``image_ref``.

    Returns
    -------
    dict
        Perhaps ``gcps``: list of GroundControlPoint and their CRS; ``rpcs``: RPC, of rasterio;
        ``geolocation``: dict of tags.

    Raises
    ------
    WriteError
        If the grid is no scaled part of the one that the references belong to.
    """
    if "image_ref" not in da.coords:
        return {}
    attrs = da.coords["image_ref"].attrs
    scaled: dict[str, Any] = {}
    (col0, col_step), (row0, row_step) = _grid_in_source(da)
    if "gcps" in attrs:
        scaled["gcps"] = _gcps(attrs, col0, col_step, row0, row_step)
    if "rpcs" in attrs:
        scaled["rpcs"] = _rpcs(attrs, col0, col_step, row0, row_step)
    if "geolocation" in attrs:
        tags = json.loads(attrs["geolocation"])
        centred = 0.5 if tags.get("GEOREFERENCING_CONVENTION") == "PIXEL_CENTER" else 0.0
        for side, first, step in (("PIXEL", col0, col_step), ("LINE", row0, row_step)):
            offset = (float(tags.get(f"{side}_OFFSET", 0)) + centred - first) / step - centred
            tags[f"{side}_OFFSET"], tags[f"{side}_STEP"] = (
                f"{number:.15g}" for number in (offset, float(tags.get(f"{side}_STEP", 1)) / step)
            )
        scaled["geolocation"] = tags
    return scaled


def _grid_in_source(da: xr.DataArray) -> tuple[tuple[float, float], tuple[float, float]]:
    """First edge and step of the columns and rows of `da`, in pixels of the source."""
    numbers = geo_transform(da)
    if numbers is None:
        raise WriteError(
            "the raster has image_ref but no x and y coords; keep the coords, or drop_vars('image_ref')"
        )
    source = np.vstack([_matrix(_source(da)), [0, 0, 1]])
    own = np.vstack([_matrix(numbers), [0, 0, 1]])
    within = np.linalg.solve(source, own)
    if abs(within[0, 1]) > 1e-6 or abs(within[1, 0]) > 1e-6:
        raise WriteError(
            "the grid is turned against the one of its control points or polynomials; drop_vars('image_ref')"
        )
    return (float(within[0, 2]), float(within[0, 0])), (float(within[1, 2]), float(within[1, 1]))


def _matrix(numbers: Any) -> np.ndarray:
    """GDAL's six numbers as rows of (col, row, 1) -> (x, y)."""
    x0, a, b, y0, d, e = numbers
    return np.array([[a, b, x0], [d, e, y0]])


def _gcps(attrs: Any, col0: float, col_step: float, row0: float, row_step: float) -> tuple[list[Any], Any]:
    """Control points whose rows and columns count from the corner of the new grid, in its pixels."""
    from rasterio.control import GroundControlPoint
    from rasterio.crs import CRS

    points = [
        GroundControlPoint(
            **{**point, "row": (point["row"] - row0) / row_step, "col": (point["col"] - col0) / col_step}
        )
        for point in json.loads(attrs["gcps"])
    ]
    return points, CRS.from_wkt(attrs["gcps_wkt"]) if attrs.get("gcps_wkt") else None


def _rpcs(attrs: Any, col0: float, col_step: float, row0: float, row_step: float) -> Any:
    """Polynomials whose offsets and scales are in pixels of the new grid; they count from pixel centres."""
    from rasterio.rpc import RPC

    values = json.loads(attrs["rpcs"])
    values["samp_off"] = (values["samp_off"] + 0.5 - col0) / col_step - 0.5
    values["line_off"] = (values["line_off"] + 0.5 - row0) / row_step - 0.5
    values["samp_scale"] /= col_step
    values["line_scale"] /= row_step
    return RPC(**values)
