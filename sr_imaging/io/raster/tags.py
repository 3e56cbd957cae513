"""What a GeoTIFF says besides its pixels: creation options and place, then names, units, tags and colours."""

import json
import math
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import GridError, WriteError
from sr_imaging.image.grid.rasters import geo_transform
from sr_imaging.image.grid.reference import stated_wkt, world_reference
from sr_imaging.image.stored_numbers import band_entries, band_numbers, nodata_of

from .attributes import RESERVED
from .control_points import is_placed_by_pixels, scale_references

__all__ = ["describe", "foreign_namespaces", "profile"]

_TILE = 512  # pixels: the usual block of a Cloud Optimized GeoTIFF


def profile(da: xr.DataArray) -> dict[str, Any]:
    """Return creation options: lossless, tiled to fit the chunks."""
    from rasterio.enums import ColorInterp

    bands, height, width = da.shape
    tile = _choose_tile(da)
    kinds = _find_colours(da)
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
        "crs": _find_crs(da),
        "transform": _find_transform(da),
        "nodata": _find_nodata(da),
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


def _choose_tile(da: xr.DataArray) -> int:
    """Return the side of the tiles: small for small images, else such that chunks end where tiles end."""
    if max(da.shape[1:]) < _TILE:
        return 16 * math.ceil(max(da.shape[1:]) / 16)
    ends = [end for chunks in (da.chunks or ((), (), ()))[1:] for end in np.cumsum(chunks[:-1])]
    sides = (_TILE, _TILE // 2, _TILE // 4)
    return next((side for side in sides if not any(end % side for end in ends)), 256)


def _find_crs(da: xr.DataArray) -> Any | None:
    """Return the CRS of the grid mapping."""
    from rasterio.crs import CRS
    from rasterio.errors import CRSError

    try:
        wkt = stated_wkt(da)
        return CRS.from_wkt(wkt) if wkt else None
    except GridError as error:
        raise WriteError(str(error)) from error
    except CRSError as error:
        name = world_reference(da)
        raise WriteError(
            f"the CRS of {name!r} is not understood: {error}; write it anew with rio.write_crs"
        ) from error


def _find_transform(da: xr.DataArray) -> Any | None:
    """Return the transform of the coords; the stated one where both agree, free of the coords' rounding."""
    from rasterio import Affine

    if is_placed_by_pixels(da):
        return None
    numbers = geo_transform(da)
    reference = world_reference(da)
    stated = da.coords[reference].attrs.get("GeoTransform") if reference is not None else None
    if numbers is None:
        _check_spacing_stated(da)
        return None
    y_unit, x_unit = (_find_unit_factor(da, dim) for dim in da.dims[1:])
    numbers = [*(number * x_unit for number in numbers[:3]), *(number * y_unit for number in numbers[3:])]
    if stated is not None:
        exact = [float(part) for part in str(stated).split()]
        corners = np.array(
            [[1, col, row] for row in (0, da.shape[1]) for col in (0, da.shape[2])], dtype=float
        )
        shift = np.abs(corners @ (np.reshape(exact, (2, 3)) - np.reshape(numbers, (2, 3))).T).max()
        if shift < 1e-6 * math.hypot(numbers[1], numbers[4]):
            numbers = exact
    return Affine.from_gdal(*numbers)


def _find_unit_factor(da: xr.DataArray, dim: Any) -> float:
    """Return units of the CRS per unit of a coord: 1, but for the two other units that CF has."""
    unit = str(da.coords[dim].attrs.get("units", "")) if dim in da.coords else ""
    reference = world_reference(da)
    attrs = da.coords[reference].attrs if reference is not None else {}
    if unit in ("rad", "radian", "radians") and "perspective_point_height" in attrs:
        return float(attrs["perspective_point_height"])  # CF: scanning angles of a geostationary satellite
    if unit in ("km", "kilometer", "kilometre", "kilometers", "kilometres"):
        crs = _find_crs(da)
        return 1.0 if crs is None or not crs.is_projected else 1000 / crs.linear_units_factor[1]
    return 1.0


def _check_spacing_stated(da: xr.DataArray) -> None:
    """Refuse coords without a transform: one row or column states no spacing."""
    for dim in da.dims[1:]:
        if dim in da.coords and da.sizes[dim] == 1:
            raise WriteError(
                f"dim {dim!r} has one pixel and no stated spacing; write it with rio.write_transform first"
            )


def _find_nodata(da: xr.DataArray) -> Any | None:
    """Return nodata of the values as they are."""
    numbers = nodata_of(da.attrs, da.dtype)
    if not numbers and (value := da.attrs.get("_FillValue")) is not None:
        shown = np.asarray(value).item()
        raise WriteError(f"nodata {shown} is not a {da.dtype} value; drop or correct attrs['_FillValue']")
    return numbers[0] if numbers else None


def _find_colours(da: xr.DataArray) -> list[Any]:
    """Return what each band means for a viewer; unknown where the number of bands has changed."""
    from rasterio.enums import ColorInterp

    names = band_entries(da.attrs.get("color_interp", ()), da, da.dims[0])
    if names is not None:
        return [ColorInterp[name] for name in names]
    return [ColorInterp.gray] + [ColorInterp.undefined] * (da.shape[0] - 1)


def describe(da: xr.DataArray, dst: Any) -> None:
    """Write all but the pixels."""
    attrs = da.attrs
    dst.colorinterp = _find_colours(da)
    for band, name in enumerate(_spread_to_bands(_name_bands(da), da, ""), 1):
        if name:
            dst.set_band_description(band, str(name))
    dst.scales = _spread_to_bands(attrs.get("scales", attrs.get("scale_factor", 1.0)), da, 1.0)
    dst.offsets = _spread_to_bands(attrs.get("offsets", attrs.get("add_offset", 0.0)), da, 0.0)
    if attrs.get("units"):
        dst.units = [str(unit) for unit in _spread_to_bands(attrs["units"], da, "")]
    dst.update_tags(**{key: _format_tag(value) for key, value in attrs.items() if key not in RESERVED})
    dst.update_tags(**json.loads(attrs.get("reserved_tags", "{}")))
    _write_band_tags(da, dst)
    for namespace, tags in json.loads(attrs.get("tag_namespaces", "{}")).items():
        dst.update_tags(ns=namespace, **tags)
    references = scale_references(da)
    if "gcps" in references:
        dst.gcps = references["gcps"]
    if "rpcs" in references:
        dst.rpcs = references["rpcs"]
    if "geolocation" in references:
        dst.update_tags(ns="GEOLOCATION", **references["geolocation"])


def _write_band_tags(da: xr.DataArray, dst: Any) -> None:
    """Write tags and colour tables, which are kept by the number that a band had in its file."""
    tags, spaces, tables = (
        json.loads(da.attrs.get(key, "{}")) for key in ("band_tags", "band_tag_namespaces", "colour_table")
    )
    for band, number in enumerate(map(str, band_numbers(da, da.dims[0])), 1):
        if number in tags:
            dst.update_tags(band, **tags[number])
        for namespace, own in spaces.get(number, {}).items():
            dst.update_tags(band, ns=namespace, **own)
        if number in tables:
            dst.write_colormap(band, {int(key): tuple(colour) for key, colour in tables[number].items()})


def foreign_namespaces(da: xr.DataArray) -> list[str]:
    """Return the namespaces of tags, of the data set or of a band, that are none of GDAL's own."""
    found = [json.loads(da.attrs.get("tag_namespaces", "{}"))]
    found += json.loads(da.attrs.get("band_tag_namespaces", "{}")).values()
    return sorted({name for spaces in found for name in spaces} - {"IMAGERY"})


def _name_bands(da: xr.DataArray) -> Any:
    """Return names of the bands: long_name, else the band coordinate where it holds names."""
    if "long_name" in da.attrs:
        return da.attrs["long_name"]
    band = da.coords.get(da.dims[0])
    return band.values.tolist() if band is not None and band.dtype.kind in "UO" else ""


def _spread_to_bands(value: Any, da: xr.DataArray, neutral: Any) -> list[Any]:
    """Return one value for each band; `neutral` where the number of bands has changed."""
    found = band_entries(value, da, da.dims[0])
    return [neutral] * da.shape[0] if found is None else found


def _format_tag(value: Any) -> str:
    """Return an attribute as the text of a tag."""
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    return value if isinstance(value, str) else json.dumps(value, default=str)
