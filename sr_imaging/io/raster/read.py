"""GeoTIFF, or another raster of GDAL, to DataArray: what it says of its pixels is kept for a writer.

What becomes of tags, masks, colour tables and control points: ``docs/rasters.md``.
"""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import ReadError
from sr_imaging.image.grid.rasters import rotated_centres
from sr_imaging.io.addresses import address_of
from sr_imaging.io.scan import Scan, Verdict

from .attributes import attrs_of, nodata_of
from .pixels import explain_cut, lazy_pixels, open_raster

__all__ = ["read_geotiff", "scan_geotiff", "scan_raster"]

_DRIVERS = {"geotiff": "GTiff"}  # of GDAL by kind of scan; any may open other kinds
_EAGER_CENTRES = 2**24  # pixels of a rotated raster, above which its 2-D centres are lazy

_log = logging.getLogger(__name__)


def scan_geotiff(path: Path) -> Scan:
    """Describe a GeoTIFF without reading its pixels: shape (band, y, x), spacing (y, x) in CRS units."""
    return _describe_raster(path, "geotiff")


def scan_raster(path: Path) -> Scan:
    """Describe another raster likewise: a file, URL, ``/vsi`` path or part of a file that rasterio opens."""
    return _describe_raster(path, "raster")


def _describe_raster(path: Path, kind: str) -> Scan:
    """Return a scan by its header."""
    files = () if address_of(path) else (path,)
    try:
        with open_raster(path, driver=_DRIVERS.get(kind)) as src:
            reason = _explain_refusal(src)
            notes = _collect_notes(src)
            t = src.transform
            spacing = (float(np.hypot(t.b, t.e)), float(np.hypot(t.a, t.d))) if _is_placed(src) else ()
            shape = (src.count, src.height, src.width)
            facts = {
                "dtype": src.dtypes[0] if src.count else "",
                "bands": src.count,
                "crs": str(src.crs or ""),
                "driver": src.driver,
            }
    except ReadError as error:
        return Scan(path, kind, Verdict(False, str(error)), files=files)
    verdict = Verdict(not reason, reason, notes)
    return Scan(path, kind, verdict, files=files, shape=shape, spacing=spacing, facts=facts)


def _is_placed(src: Any) -> bool:
    """Return whether the file states a transform; GDAL gives the identity where there is none."""
    return not src.transform.is_identity


def _explain_refusal(src: Any) -> str:
    """Return why the file cannot be read as an image, or an empty text."""
    if not src.count and src.subdatasets:
        names = ", ".join(src.subdatasets[:3]) + (", …" if len(src.subdatasets) > 3 else "")
        return f"{src.name} holds {len(src.subdatasets)} images; pass one of them as the path: {names}"
    if not src.count or not src.width or not src.height:
        return f"{src.name} holds no pixels; fetch it again"
    if src.dtypes[0].startswith("complex"):
        return f"{src.name} holds complex values ({src.dtypes[0]}); write their amplitude first"
    if abs(src.transform.determinant) == 0 or not np.isfinite(list(src.transform)).all():
        return f"{src.name} has the singular transform {src.transform.to_gdal()}; give it a right one first"
    return _explain_difference(src) or explain_cut(src)


def _explain_difference(src: Any) -> str:
    """Return how the bands differ in what one array, or its mask, cannot express; or an empty text."""
    if len(dtypes := dict.fromkeys(src.dtypes)) > 1:
        return (
            f"{src.name} has bands of the types {', '.join(dtypes)}; "
            "bring them to one with gdal_translate -ot, or select some with -b"
        )
    if len(nodata := dict.fromkeys(map(str, src.nodatavals))) > 1:
        return (
            f"{src.name} has bands with the nodata {', '.join(nodata)}; "
            "bring them to one with gdalwarp -dstnodata, or select some with gdal_translate -b"
        )
    masked = [str(band) for band, flags in enumerate(src.mask_flag_enums, 1) if not flags]
    if masked and src.count > 1:
        return (
            f"{src.name} has a mask of its own for each of the bands {', '.join(masked)}; "
            "write nodata there with gdalwarp -dstnodata, or select a band with gdal_translate -b"
        )
    return ""


def _collect_notes(src: Any) -> tuple[str, ...]:
    """Return what a reader should know and cannot see."""
    notes = []
    if pages := len(src.subdatasets):
        notes.append(f"the first of {pages} images in the file is read")
    if src.count and src.nodatavals[0] is not None and nodata_of(src) is None:
        notes.append(f"nodata {src.nodatavals[0]:g} is not a {src.dtypes[0]} value and marks nothing")
    return tuple(notes)


def read_geotiff(scan: Scan) -> xr.DataArray:
    """Read a GeoTIFF, or another raster, lazily as (band, y, x) in native dtype.

    Nodata is in ``attrs["_FillValue"]``. Coords: ``band`` 1..n; float64 pixel centres ``y``, ``x`` in CRS
    units, or 2-D ``xc``, ``yc`` where rotated, or none where the file states no place; ``spatial_ref``;
    ``mask`` (y, x), True where valid, for a per-dataset mask; ``image_ref`` with GCPs, RPCs and geolocation
    arrays, whose pixel positions are those on the axes ``x`` and ``y``. Damaged pixels raise a ReadError
    when they are computed.
    """
    with open_raster(scan.path, driver=_DRIVERS.get(scan.kind)) as src:
        if reason := _explain_refusal(src):
            raise ReadError(reason)
        for note in _collect_notes(src):
            _log.warning("%s: %s", scan.path, note)
        pixels = lazy_pixels(src, scan.path, mask=False)
        coords: dict[str, Any] = {"band": np.arange(1, src.count + 1), **_read_centres(src)}
        if _is_masked(src):
            mask = lazy_pixels(src, scan.path, mask=True)
            coords["mask"] = (("y", "x"), mask, {"long_name": "valid pixels"})
        da = xr.DataArray(pixels, dims=("band", "y", "x"), coords=coords, attrs=attrs_of(src))
        da = _add_place(da, src)
    da.name = None  # xarray took the name of the dask array
    da.encoding["source"] = address_of(scan.path) or str(scan.path)
    return da


def _is_masked(src: Any) -> bool:
    """Return whether there is a mask beside the bands: one for all of them, or that of the only one."""
    flags = {flag.name for flag in src.mask_flag_enums[0]}
    return not flags or ("per_dataset" in flags and "alpha" not in flags)


def _add_place(da: xr.DataArray, src: Any) -> xr.DataArray:
    """Add spatial_ref, and image_ref where control points, polynomials or geolocation arrays place it."""
    import rioxarray  # noqa: F401 - registers the accessor

    if src.crs:
        da = da.rio.write_crs(src.crs).rio.write_coordinate_system()
    if _is_placed(src):
        da = da.rio.write_transform(src.transform)
    points, crs = src.gcps
    reference: dict[str, Any] = {}
    if points:
        keys = ("row", "col", "x", "y", "z", "id", "info")
        reference["gcps"] = json.dumps([{key: getattr(p, key) for key in keys} for p in points])
        reference["gcps_wkt"] = crs.to_wkt() if crs else ""
    if src.rpcs:
        reference["rpcs"] = json.dumps(src.rpcs.to_dict())
    if tags := src.tags(ns="GEOLOCATION"):
        reference["geolocation"] = json.dumps(tags)
    if reference:
        reference["transform"] = " ".join(map(repr, src.transform.to_gdal()))
        da = da.assign_coords(image_ref=((), 0, reference))
    return da


def _read_centres(src: Any) -> dict[str, Any]:
    """Return pixel centres; counted in pixels from the corner where GCPs, RPCs or arrays alone place it."""
    rows, cols = np.arange(src.height) + 0.5, np.arange(src.width) + 0.5
    if not _is_placed(src):
        if not src.gcps[0] and not src.rpcs and not src.tags(ns="GEOLOCATION"):
            return {}
        return {"y": ("y", rows, {"units": "pixel"}), "x": ("x", cols, {"units": "pixel"})}
    t = src.transform
    if t.b == 0 and t.d == 0:
        return {"y": ("y", t.f + t.e * rows), "x": ("x", t.c + t.a * cols)}
    lazy = src.width * src.height > _EAGER_CENTRES
    return dict(rotated_centres(t.to_gdal(), {"y": src.height, "x": src.width}, lazy=lazy))
