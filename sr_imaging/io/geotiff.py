"""GeoTIFF, or another raster of GDAL, to DataArray: what it says of its pixels is kept for a writer.

What becomes of tags, masks, colour tables and control points: ``docs/architecture.md``.
"""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..errors import ReadError
from ..world import rotated_centres
from .address import address_of
from .geotiff_pixels import cut_short, lazy_pixels, open_raster
from .scan import Scan, Verdict
from .sentinel2 import facts_of

__all__ = ["RESERVED", "is_tiff", "read_geotiff", "scan_geotiff", "scan_raster"]

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF, little and big endian
# Namespaces about the file itself, or kept elsewhere; rasterio reads XMP (xml:...) but cannot write it.
_OWN_NAMESPACES = ("IMAGE_STRUCTURE", "DERIVED_SUB", "SUBDATASETS", "COLOR_PROFILE", "RPC", "rio_", "xml:")
# Keys of attrs that are not tags of the data set; the writer puts each in its own place.
RESERVED = frozenset(
    {"_FillValue", "missing_value", "scale_factor", "add_offset", "scales", "offsets", "units", "long_name"}
    | {"band_tags", "tag_namespaces", "color_interp", "colour_table", "grid_mapping", "coordinates"}
)

_EAGER_CENTRES = 2**24  # pixels of a rotated raster, above which its 2-D centres are lazy

_log = logging.getLogger(__name__)


def is_tiff(head: bytes) -> bool:
    """Tell whether a file that starts with `head` is a TIFF."""
    return head[:4] in _MAGIC


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
    if src.count and src.nodatavals[0] is not None and _nodata(src) is None:
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
        with GCPs and RPCs, whose pixel positions are positions on the axes ``x`` and ``y``.

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
        da = xr.DataArray(pixels, dims=("band", "y", "x"), coords=coords, attrs=_attrs(src))
        da = _place(da, src)
    da.name = None  # xarray took the name of the dask array
    da.encoding["source"] = address_of(scan.path) or str(scan.path)
    return da


def _is_masked(src: Any) -> bool:
    """Whether there is a mask beside the bands: one for all of them, or that of the only one."""
    flags = {flag.name for flag in src.mask_flag_enums[0]}
    return not flags or ("per_dataset" in flags and "alpha" not in flags)


def _place(da: xr.DataArray, src: Any) -> xr.DataArray:
    """Add spatial_ref, and image_ref where there are ground control points or rational polynomials."""
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
    if reference:
        reference["transform"] = " ".join(map(repr, src.transform.to_gdal()))
        da = da.assign_coords(image_ref=((), 0, reference))
    return da


def _centres(src: Any) -> dict[str, Any]:
    """Pixel centres; where GCPs or RPCs alone place the image they count pixels from its corner."""
    if not _placed(src):
        if not src.gcps[0] and not src.rpcs:
            return {}
        unit = {"units": "pixel"}
        return {"y": ("y", np.arange(src.height) + 0.5, unit), "x": ("x", np.arange(src.width) + 0.5, unit)}
    t = src.transform
    rows, cols = np.arange(src.height) + 0.5, np.arange(src.width) + 0.5
    if t.b == 0 and t.d == 0:
        return {"y": ("y", t.f + t.e * rows), "x": ("x", t.c + t.a * cols)}
    lazy = src.width * src.height > _EAGER_CENTRES
    return dict(rotated_centres(t.to_gdal(), {"y": src.height, "x": src.width}, lazy=lazy))


def _nodata(src: Any) -> Any | None:
    """Nodata as a scalar of the file's dtype; None where there is none or the dtype cannot hold it."""
    value = src.nodatavals[0]
    value = facts_of(src).nodata if value is None else value
    dtype = np.dtype(src.dtypes[0])
    if value is None:
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            scalar = dtype.type(value)
        return scalar if np.isfinite(scalar) or not np.isfinite(value) else None
    limits = np.iinfo(dtype)
    if not np.isfinite(value) or value != int(value) or not limits.min <= value <= limits.max:
        return None
    return dtype.type(int(value))


def _attrs(src: Any) -> dict[str, Any]:
    """All that the file says of its values, in values that Zarr and netCDF can hold."""
    attrs: dict[str, Any] = {key: text for key, text in _lasting(src.tags()).items() if key not in RESERVED}
    nodata = _nodata(src)
    if nodata is not None:
        attrs["_FillValue"] = nodata
    scales, offsets = src.scales, src.offsets
    facts = facts_of(src)
    if set(scales) == {1.0} and set(offsets) == {0.0} and facts.scales:
        scales, offsets = facts.scales, facts.offsets
    if facts.classes:
        attrs |= {"flag_values": tuple(range(len(facts.classes.split()))), "flag_meanings": facts.classes}
    for one, many, values, neutral in (
        ("scale_factor", "scales", scales, 1.0),
        ("add_offset", "offsets", offsets, 0.0),
    ):
        if len(set(values)) > 1:
            attrs[many] = tuple(map(float, values))
        elif values[0] != neutral:
            attrs[one] = float(values[0])
    if any(src.units):
        attrs["units"] = _one_or_all([unit or "" for unit in src.units])
    if any(src.descriptions):
        names = tuple(name or "" for name in src.descriptions)
        attrs["long_name"] = names if src.count > 1 else names[0]
    attrs["color_interp"] = tuple(kind.name for kind in src.colorinterp)
    attrs.update(_nested(src))
    return attrs


def _nested(src: Any) -> dict[str, str]:
    """Tags of bands and of other namespaces, and colour tables, as JSON; only where there are any."""
    bands = range(1, src.count + 1)
    band_tags = {str(band): tags for band in bands if (tags := _lasting(src.tags(band)))}
    spaces = {ns: src.tags(ns=ns) for ns in src.tag_namespaces() if not ns.startswith(_OWN_NAMESPACES)}
    tables = {
        str(band): src.colormap(band)
        for band, kind in zip(bands, src.colorinterp, strict=True)
        if kind.name == "palette"
    }
    nested = {"band_tags": band_tags, "tag_namespaces": spaces, "colour_table": tables}
    return {key: json.dumps(value) for key, value in nested.items() if value}


def _lasting(tags: dict[str, str]) -> dict[str, str]:
    """Tags without statistics of the pixels, which would be stale once the pixels change."""
    return {key: text for key, text in tags.items() if not key.startswith("STATISTICS_")}


def _one_or_all(values: list[str]) -> Any:
    """One value where all bands agree, else all of them."""
    return values[0] if len(set(values)) == 1 else tuple(values)
