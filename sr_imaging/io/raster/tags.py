"""What a GeoTIFF says besides its pixels: creation options and place, then names, units, tags and colours."""

import json
import math
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import WriteError
from sr_imaging.image.grid.rasters import geo_transform
from sr_imaging.image.grid.reference import world_reference
from sr_imaging.image.stored_numbers import band_entries, band_numbers, nodata_of

from .attributes import RESERVED
from .control_points import placed_by_pixels, scaled_references

__all__ = ["describe", "foreign_namespaces", "profile"]

_TILE = 512  # pixels: the usual block of a Cloud Optimized GeoTIFF


def profile(da: xr.DataArray) -> dict[str, Any]:
    """Creation options: lossless, tiled to fit the chunks."""
    from rasterio.enums import ColorInterp

    bands, height, width = da.shape
    tile = _tile(da)
    kinds = _color_interp(da)
    rgb = kinds[:3] == [ColorInterp.red, ColorInterp.green, ColorInterp.blue]
    palette = kinds[0] == ColorInterp.palette and "colour_table" in da.attrs
    same_colours = rgb or (bands == 1 and len(da.attrs.get("color_interp", ())) == 1)
    profiled = {"source_icc_profile": da.attrs["icc_profile"]} if "icc_profile" in da.attrs else {}
    chunked_bands = da.chunks is not None and len(da.chunks[0]) > 1
    return {
        "driver": "GTiff",
        "dtype": da.dtype.name,
        "count": bands,
        "height": height,
        "width": width,
        "crs": _crs(da),
        "transform": _transform(da),
        "nodata": _nodata(da),
        "tiled": True,
        "blockxsize": tile,
        "blockysize": tile,
        "compress": "deflate",
        "predictor": 3 if da.dtype.kind == "f" else 2,
        "num_threads": "all_cpus",
        "bigtiff": "if_safer",
        "interleave": "band" if chunked_bands or bands > 16 else "pixel",
        "photometric": "rgb" if rgb else "palette" if palette else "minisblack",
        **(profiled if same_colours else {}),
    }


def _tile(da: xr.DataArray) -> int:
    """Side of the file's tiles: small for small images, else such that chunks end where tiles end."""
    if max(da.shape[1:]) < _TILE:
        return 16 * math.ceil(max(da.shape[1:]) / 16)
    ends = [end for chunks in (da.chunks or ((), (), ()))[1:] for end in np.cumsum(chunks[:-1])]
    return next(
        (side for side in (_TILE, _TILE // 2, _TILE // 4) if not any(end % side for end in ends)), 256
    )


def _crs(da: xr.DataArray) -> Any | None:
    """The CRS of the grid mapping."""
    import pyproj
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    reference = world_reference(da)
    attrs = da.coords[reference].attrs if reference is not None else {}
    wkt = attrs.get("crs_wkt", attrs.get("spatial_ref"))
    try:
        if not wkt and "grid_mapping_name" in attrs:
            wkt = pyproj.CRS.from_cf(dict(attrs)).to_wkt()
        return CRS.from_wkt(str(wkt)) if wkt else None
    except (CRSError, pyproj.exceptions.CRSError, KeyError) as error:  # a missing parameter is a KeyError
        raise WriteError(
            f"the CRS of {reference!r} is not understood: {error}; write it anew with rio.write_crs"
        ) from error


def _transform(da: xr.DataArray) -> Any | None:
    """The transform of the coords; the stated one where both agree, free of the coords' rounding."""
    from rasterio import Affine

    if placed_by_pixels(da):
        return None
    numbers = geo_transform(da)
    reference = world_reference(da)
    stated = da.coords[reference].attrs.get("GeoTransform") if reference is not None else None
    if numbers is None:
        _check_not_lost(da)
        return None
    numbers = [
        number * unit
        for dim, part in ((da.dims[2], numbers[:3]), (da.dims[1], numbers[3:]))
        for unit in [_in_crs_units(da, dim)]
        for number in part
    ]
    if stated is not None:
        told = [float(part) for part in str(stated).split()]
        corners = np.array(
            [[1, col, row] for row in (0, da.shape[1]) for col in (0, da.shape[2])], dtype=float
        )
        shift = np.abs(corners @ (np.reshape(told, (2, 3)) - np.reshape(numbers, (2, 3))).T).max()
        if shift < 1e-6 * math.hypot(numbers[1], numbers[4]):
            numbers = told
    return Affine.from_gdal(*numbers)


def _in_crs_units(da: xr.DataArray, dim: Any) -> float:
    """Units of the CRS in one of a coord, for the two that CF's projected coords have beside metres."""
    unit = str(da.coords[dim].attrs.get("units", "")) if dim in da.coords else ""
    reference = world_reference(da)
    attrs = da.coords[reference].attrs if reference is not None else {}
    if unit in ("rad", "radian", "radians") and "perspective_point_height" in attrs:
        return float(attrs["perspective_point_height"])  # CF: scanning angles of a geostationary satellite
    if unit in ("km", "kilometer", "kilometre", "kilometers", "kilometres"):
        crs = _crs(da)
        return 1.0 if crs is None or not crs.is_projected else 1000 / crs.linear_units_factor[1]
    return 1.0


def _check_not_lost(da: xr.DataArray) -> None:
    """A raster has coords but no transform where one row or column states no spacing."""
    for dim in da.dims[1:]:
        if dim in da.coords and da.sizes[dim] == 1:
            raise WriteError(
                f"dim {dim!r} has one pixel and no stated spacing; write it with rio.write_transform first"
            )


def _nodata(da: xr.DataArray) -> Any | None:
    """Nodata of the values as they are."""
    numbers = nodata_of(da.attrs, da.dtype)
    if not numbers and (value := da.attrs.get("_FillValue")) is not None:
        raise WriteError(
            f"nodata {np.asarray(value).item()} is no {da.dtype} value; drop or correct attrs['_FillValue']"
        )
    return numbers[0] if numbers else None


def _color_interp(da: xr.DataArray) -> list[Any]:
    """What each band means for a viewer; unknown where the number of bands has changed."""
    from rasterio.enums import ColorInterp

    names = band_entries(da.attrs.get("color_interp", ()), da, da.dims[0])
    if names is not None:
        return [ColorInterp[name] for name in names]
    return [ColorInterp.gray] + [ColorInterp.undefined] * (da.shape[0] - 1)


def describe(da: xr.DataArray, dst: Any) -> None:
    """All but the pixels."""
    attrs = da.attrs
    dst.colorinterp = _color_interp(da)
    for band, name in enumerate(_per_band(_names(da), da, ""), 1):
        if name:
            dst.set_band_description(band, str(name))
    dst.scales = _per_band(attrs.get("scales", attrs.get("scale_factor", 1.0)), da, 1.0)
    dst.offsets = _per_band(attrs.get("offsets", attrs.get("add_offset", 0.0)), da, 0.0)
    if attrs.get("units"):
        dst.units = [str(unit) for unit in _per_band(attrs["units"], da, "")]
    dst.update_tags(**{key: _text(value) for key, value in attrs.items() if key not in RESERVED})
    dst.update_tags(**json.loads(attrs.get("reserved_tags", "{}")))
    _describe_bands(da, dst)
    for namespace, tags in json.loads(attrs.get("tag_namespaces", "{}")).items():
        dst.update_tags(ns=namespace, **tags)
    references = scaled_references(da)
    if "gcps" in references:
        dst.gcps = references["gcps"]
    if "rpcs" in references:
        dst.rpcs = references["rpcs"]
    if "geolocation" in references:
        dst.update_tags(ns="GEOLOCATION", **references["geolocation"])


def _describe_bands(da: xr.DataArray, dst: Any) -> None:
    """Tags and colour tables, which are kept by the number that a band had in its file."""
    tags, spaces, tables = (
        json.loads(da.attrs.get(key, "{}")) for key in ("band_tags", "band_tag_namespaces", "colour_table")
    )
    for band, number in enumerate(map(str, band_numbers(da, da.dims[0])), 1):
        if number in tags:
            dst.update_tags(band, **tags[number])
        for namespace, told in spaces.get(number, {}).items():
            dst.update_tags(band, ns=namespace, **told)
        if number in tables:
            dst.write_colormap(band, {int(key): tuple(colour) for key, colour in tables[number].items()})


def foreign_namespaces(da: xr.DataArray) -> list[str]:
    """Namespaces of tags, of the data set or of a band, that are none of GDAL's own."""
    told = [json.loads(da.attrs.get("tag_namespaces", "{}"))]
    told += json.loads(da.attrs.get("band_tag_namespaces", "{}")).values()
    return sorted({name for spaces in told for name in spaces} - {"IMAGERY"})


def _names(da: xr.DataArray) -> Any:
    """Names of the bands: long_name, else the band coordinate where it holds names."""
    if "long_name" in da.attrs:
        return da.attrs["long_name"]
    band = da.coords.get(da.dims[0])
    return band.values.tolist() if band is not None and band.dtype.kind in "UO" else ""


def _per_band(value: Any, da: xr.DataArray, neutral: Any) -> list[Any]:
    """One value for each band; `neutral` where the number of bands has changed."""
    found = band_entries(value, da, da.dims[0])
    return [neutral] * da.shape[0] if found is None else found


def _text(value: Any) -> str:
    """An attribute as a tag."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return value if isinstance(value, str) else json.dumps(value, default=str)
