"""What a raster says of its values, as attrs that a writer puts back in their places."""

import json
from typing import Any

import numpy as np

from .sentinel2 import read_facts

__all__ = ["RESERVED", "attrs_of", "nodata_of"]

# Namespaces about the file itself, or kept elsewhere; rasterio reads XMP (xml:...) but cannot write it.
_ABOUT_THE_FILE = ("IMAGE_STRUCTURE", "DERIVED_SUB", "SUBDATASETS")
_OWN_NAMESPACES = (*_ABOUT_THE_FILE, "COLOR_PROFILE", "RPC", "GEOLOCATION", "rio_", "xml:")
# Keys of attrs that are not tags of the data set; the writer puts each in its own place
RESERVED = frozenset(
    {"_FillValue", "missing_value", "nodata", "scale_factor", "add_offset", "scales", "offsets", "units"}
    | {"long_name", "band_classes", "band_tags", "band_tag_namespaces", "tag_namespaces", "reserved_tags"}
    | {"color_interp", "colour_table", "icc_profile", "grid_mapping", "coordinates"}
)


def nodata_of(src: Any) -> Any | None:
    """Return nodata as a scalar of the file's dtype; None where there is none or the dtype cannot hold it."""
    value = src.nodatavals[0]
    value = read_facts(src).nodata if value is None else value
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


def attrs_of(src: Any) -> dict[str, Any]:
    """Return all that the file says of its values, as values that Zarr and netCDF can hold."""
    tags = _drop_statistics(src.tags())
    attrs: dict[str, Any] = {key: text for key, text in tags.items() if key not in RESERVED}
    if "SOURCE_ICC_PROFILE" in (colours := src.tags(ns="COLOR_PROFILE")):
        attrs["icc_profile"] = colours["SOURCE_ICC_PROFILE"]
    nodata = nodata_of(src)
    if nodata is not None:
        attrs["_FillValue"] = nodata
    attrs |= _read_packing(src)
    if any(src.units):
        units = tuple(unit or "" for unit in src.units)
        attrs["units"] = units[0] if len(set(units)) == 1 else units
    if any(src.descriptions):
        names = tuple(name or "" for name in src.descriptions)
        attrs["long_name"] = names if src.count > 1 else names[0]
    attrs["color_interp"] = tuple(kind.name for kind in src.colorinterp)
    return attrs | _read_nested(src)


def _read_packing(src: Any) -> dict[str, Any]:
    """Return what the numbers of the bands stand for: packing and classes."""
    attrs: dict[str, Any] = {}
    scales, offsets = src.scales, src.offsets
    facts = read_facts(src)
    if set(scales) == {1.0} and set(offsets) == {0.0} and facts.scales:
        scales, offsets = facts.scales, facts.offsets
    if facts.classes and all(facts.classes):
        meanings = facts.classes[0]
        attrs |= {"flag_values": tuple(range(len(meanings.split()))), "flag_meanings": meanings}
    elif facts.classes:
        attrs["band_classes"] = facts.classes
    for one, many, values, neutral in (
        ("scale_factor", "scales", scales, 1.0),
        ("add_offset", "offsets", offsets, 0.0),
    ):
        if len(set(values)) > 1:
            attrs[many] = tuple(map(float, values))
        elif values[0] != neutral:
            attrs[one] = float(values[0])
    return attrs


def _read_nested(src: Any) -> dict[str, str]:
    """Return as JSON colour tables, and tags that no attr can hold; only where there are any.

    They are those of bands, of other namespaces, and those of the data set with a name in `RESERVED`.
    """
    bands = range(1, src.count + 1)
    tables = {
        str(band): src.colormap(band)
        for band, kind in zip(bands, src.colorinterp, strict=True)
        if kind.name == "palette"
    }
    nested = {
        "reserved_tags": {key: text for key, text in src.tags().items() if key in RESERVED},
        "tag_namespaces": _read_namespaces(src, 0),
        "band_tags": {str(band): tags for band in bands if (tags := _drop_statistics(src.tags(band)))},
        "band_tag_namespaces": {str(band): own for band in bands if (own := _read_namespaces(src, band))},
        "colour_table": tables,
    }
    return {key: json.dumps(value) for key, value in nested.items() if value}


def _read_namespaces(src: Any, band: int) -> dict[str, dict[str, str]]:
    """Return the tags of a band by namespace; those of the data set for 0."""
    names = (name for name in src.tag_namespaces(band) if not name.startswith(_OWN_NAMESPACES))
    return {name: src.tags(band, ns=name) for name in names}


def _drop_statistics(tags: dict[str, str]) -> dict[str, str]:
    """Return tags without statistics of the pixels, which would be stale once the pixels change."""
    return {key: text for key, text in tags.items() if not key.startswith("STATISTICS_")}
