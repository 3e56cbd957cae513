"""GeoTIFF, or another raster of GDAL, to DataArray: what it says of its pixels is kept for a writer.

What becomes of tags, masks, colour tables and control points: ``docs/architecture.md``.
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
from .pixels import cut_short, lazy_pixels, open_raster

__all__ = ["read_geotiff", "scan_geotiff", "scan_raster"]

_EAGER_CENTRES = 2**24  # pixels of a rotated raster, above which its 2-D centres are lazy

_log = logging.getLogger(__name__)


def scan_geotiff(path: Path) -> Scan:
    """Describe a GeoTIFF without reading its pixels.

    Parameters
    ----------
    path : Path
        A file with a TIFF signature.

    Returns
    -------
    Scan
        With shape ``(band, y, x)`` and spacing ``(y, x)``; not ok where the file cannot be read.
    """
    return _described(path, "geotiff")


def scan_raster(path: Path) -> Scan:
    """Describe a raster that is no GeoTIFF file without reading its pixels.

    Parameters
    ----------
    path : Path
        A file, a URL, a ``/vsi`` path, or the name of a part of a file: whatever rasterio opens.

    Returns
    -------
    Scan
        As :func:`scan_geotiff`.
    """
    return _described(path, "raster")


def _driver(kind: str) -> str | None:
    """GDAL's driver for a kind of scan; None where any may try."""
    return "GTiff" if kind == "geotiff" else None


def _described(path: Path, kind: str) -> Scan:
    """A scan by its header."""
    files = () if address_of(path) else (path,)
    try:
        with open_raster(path, driver=_driver(kind)) as src:
            reason = _refusal(src)
            notes = _notes(src)
            spacing = tuple(float(np.hypot(*side)) for side in _sides(src.transform)) if _placed(src) else ()
            shape = (src.count, src.height, src.width)
            facts = {
                "dtype": src.dtypes[0] if src.count else "",
                "bands": src.count,
                "crs": str(src.crs or ""),
                "driver": src.driver,
            }
    except ReadError as error:
        return Scan(path, kind, Verdict(False, str(error)), files=files)
    return Scan(
        path,
        kind,
        Verdict(not reason, reason, notes),
        files=files,
        shape=shape,
        spacing=spacing,
        facts=facts,
    )


def _sides(transform: Any) -> tuple[tuple[float, float], tuple[float, float]]:
    """The sides of a pixel along y and x as vectors in CRS units."""
    return (transform.b, transform.e), (transform.a, transform.d)


def _placed(src: Any) -> bool:
    """Whether the file states a transform; GDAL gives the identity where there is none."""
    return not src.transform.is_identity


def _refusal(src: Any) -> str:
    """Why the file cannot be read as an image, or an empty text."""
    if not src.count and src.subdatasets:
        told = ", ".join(src.subdatasets[:3]) + (", …" if len(src.subdatasets) > 3 else "")
        return f"{src.name} holds {len(src.subdatasets)} images; pass one of them as the path: {told}"
    if not src.count or not src.width or not src.height:
        return f"{src.name} holds no pixels; fetch it again"
    if np.dtype(_numpy_name(src.dtypes[0])).kind == "c":
        return f"{src.name} holds complex values ({src.dtypes[0]}); write their amplitude first"
    if abs(src.transform.determinant) == 0 or not np.isfinite(list(src.transform)).all():
        return f"{src.name} has the singular transform {src.transform.to_gdal()}; give it a right one first"
    return _apart(src) or cut_short(src)


def _apart(src: Any) -> str:
    """How the bands differ in what one array, or its mask, cannot say of them; or an empty text."""
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


def _numpy_name(dtype: str) -> str:
    """The dtype of rasterio as numpy knows it; GDAL's complex integers have no numpy type of their own."""
    return "complex64" if dtype == "complex_int16" else dtype


def _notes(src: Any) -> tuple[str, ...]:
    """What a reader should know and cannot see."""
    notes = []
    if pages := len(src.subdatasets):
        notes.append(f"the first of {pages} images in the file is read")
    if src.count and src.nodatavals[0] is not None and nodata_of(src) is None:
        notes.append(f"nodata {src.nodatavals[0]:g} is no {src.dtypes[0]} value and marks nothing")
    return tuple(notes)


def read_geotiff(scan: Scan) -> xr.DataArray:
    """Read a GeoTIFF, or another raster, lazily.

    Parameters
    ----------
    scan : Scan
        Of kind ``geotiff`` or ``raster``.

    Returns
    -------
    (band, y, x) DataArray
        Dask-backed, native dtype, nodata in ``attrs["_FillValue"]``. Coords: ``band`` 1..n; float64 pixel
        centres ``y``, ``x`` in CRS units, or 2-D ``xc``, ``yc`` where rotated, or none where the file states
        no place; ``spatial_ref``; ``mask`` (y, x), True where valid, for a per-dataset mask; ``image_ref``
        with GCPs, RPCs and geolocation arrays, whose pixel positions are those on the axes ``x`` and ``y``.

    Raises
    ------
    ReadError
        If the file cannot be read; damaged pixels raise it when they are computed.
    """
    with open_raster(scan.path, driver=_driver(scan.kind)) as src:
        if reason := _refusal(src):
            raise ReadError(reason)
        for note in _notes(src):
            _log.warning("%s: %s", scan.path, note)
        pixels = lazy_pixels(src, scan.path, mask=False)
        coords: dict[str, Any] = {"band": np.arange(1, src.count + 1), **_centres(src)}
        if _is_masked(src):
            coords["mask"] = (
                ("y", "x"),
                lazy_pixels(src, scan.path, mask=True),
                {"long_name": "valid pixels"},
            )
        da = xr.DataArray(pixels, dims=("band", "y", "x"), coords=coords, attrs=attrs_of(src))
        da = _place(da, src)
    da.name = None  # xarray took the name of the dask array
    da.encoding["source"] = address_of(scan.path) or str(scan.path)
    return da


def _is_masked(src: Any) -> bool:
    """Whether there is a mask beside the bands: one for all of them, or that of the only one."""
    flags = {flag.name for flag in src.mask_flag_enums[0]}
    return not flags or ("per_dataset" in flags and "alpha" not in flags)


def _place(da: xr.DataArray, src: Any) -> xr.DataArray:
    """Add spatial_ref, and image_ref where control points, polynomials or geolocation arrays place it."""
    import rioxarray  # noqa: F401 - registers the accessor

    if src.crs:
        da = da.rio.write_crs(src.crs).rio.write_coordinate_system()
    if _placed(src):
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


def _centres(src: Any) -> dict[str, Any]:
    """Pixel centres; where GCPs, RPCs or arrays alone place the image they count pixels from its corner."""
    if not _placed(src):
        if not src.gcps[0] and not src.rpcs and not src.tags(ns="GEOLOCATION"):
            return {}
        unit = {"units": "pixel"}
        return {"y": ("y", np.arange(src.height) + 0.5, unit), "x": ("x", np.arange(src.width) + 0.5, unit)}
    t = src.transform
    rows, cols = np.arange(src.height) + 0.5, np.arange(src.width) + 0.5
    if t.b == 0 and t.d == 0:
        return {"y": ("y", t.f + t.e * rows), "x": ("x", t.c + t.a * cols)}
    lazy = src.width * src.height > _EAGER_CENTRES
    return dict(rotated_centres(t.to_gdal(), {"y": src.height, "x": src.width}, lazy=lazy))
