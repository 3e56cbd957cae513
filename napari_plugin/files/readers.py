"""Readers: DICOM, NIfTI and georeferenced TIFF as layers that lie where their files say."""

import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_plugin.north_up import open_north_up
from sr_imaging import ReadError, find_scans, read
from sr_imaging.image.grid.axes import AXES

if TYPE_CHECKING:
    import xarray as xr

    from sr_imaging import Scan

__all__ = ["get_reader", "layer_of"]

LayerData = tuple[Any, dict[str, Any], str]
_SAMPLE = 2**20  # pixels from which the contrast is taken
_LARGEST_READ = 2**28  # bytes of a lazy image above which its contrast is left to napari
_CONTRAST = (0.5, 99.5)  # per cent
_STRAIGHT = 1e-3  # largest cosine between an array axis and the patient's other axes
_COLOURS = ("red", "green", "blue")


def get_reader(path: "str | Sequence[str]") -> Callable[[Any], list[LayerData]] | None:
    """Return a function that reads a file or a folder as layers, or None for what is not ours.

    Not ours are a list of paths, a folder without scans, and a TIFF that states no place on earth. A scan of
    ours that cannot be read gets a reader that says why.
    """
    if not isinstance(path, str | os.PathLike):
        return None
    try:
        scans = [scan for scan in find_scans(path) if _is_ours(scan)]
    except ReadError:
        return None
    return _read_layers if scans else None


def _is_ours(scan: "Scan") -> bool:
    """Return whether a scan is to be read here, or refused here."""
    if scan.kind == "geotiff":
        return scan.verdict.ok and bool(scan.spacing)
    return scan.kind != "unknown"


def _read_layers(path: Any) -> list[LayerData]:
    """Return a layer for each good scan of a path; where there is none, raise a ReadError that says why."""
    scans = [scan for scan in find_scans(path) if _is_ours(scan)]
    good = [scan for scan in scans if scan.verdict.ok]
    if not good:
        raise ReadError("; ".join(scan.verdict.reason for scan in scans))
    layers = []
    for scan in good:
        source = {"path": str(scan.path)} | ({"series": scan.series_uid} if scan.series_uid else {})
        if sum(other.path == scan.path for other in scans) > 1:
            source["is_one_of_several"] = "yes"  # the command line cannot tell them apart
        name = scan.path.name.removesuffix(".gz").rsplit(".", 1)[0] if scan.path.is_file() else scan.path.name
        number = scan.facts.get("series_number")
        several = number is not None and len(good) > 1
        layers.append(layer_of(read(scan), name=f"{name} {number}" if several else name, source=source))
    if any(_find_transform(layer[0]) for layer in layers):
        open_north_up()
    return layers


def layer_of(da: "xr.DataArray", *, name: str, source: dict[str, str] | None = None) -> LayerData:
    """Return an image layer that lies where the coordinates of an array say; they go with the layer.

    Rasters lie in their CRS. Volumes whose axes are those of the patient lie in LPS millimetres; oblique and
    otherwise turned ones in millimetres along their own axes, since napari draws slices along data axes only.
    `source` has the ``path`` and ``series`` that it was read from.
    """
    is_rgb = _is_rgb(da)
    if "band" in da.dims and da.sizes["band"] == 1:
        da = da.isel(band=0)
    elif is_rgb:
        da = da.transpose(..., "band")
    dims = [dim for dim in da.dims if not (is_rgb and dim == "band")]
    arguments: dict[str, Any] = {
        "name": name,
        "rgb": is_rgb,
        "multiscale": False,
        "axis_labels": tuple(str(dim) for dim in dims),
        "units": [_find_unit(da, dim) for dim in dims],
        "metadata": {"sr_imaging": dict(source or {})},
        **_place_array(da, dims),
    }
    if not is_rgb and (limits := _find_contrast(da)) is not None:
        arguments["contrast_limits"] = limits
    return da, arguments, "image"


def _is_rgb(da: "xr.DataArray") -> bool:
    """Return whether the bands are the colours of a picture."""
    colours = da.attrs.get("color_interp", ())
    names = tuple(str(colour) for colour in (colours.split(",") if isinstance(colours, str) else colours))
    return da.dtype == np.uint8 and "band" in da.dims and names == _COLOURS == names[: da.sizes["band"]]


def _find_unit(da: "xr.DataArray", dim: Any) -> str:
    """Return the unit of an axis if pint knows it, else pixel."""
    import pint

    stated = str(da.coords[dim].attrs.get("units", "")) if dim in da.coords else ""
    if not stated and dim in ("y", "x") and "spatial_ref" in da.coords:  # a rotated raster has no such coords
        found = re.findall(r'UNIT\["([^"]+)"', da.coords["spatial_ref"].attrs.get("crs_wkt", ""))
        stated = found[-1] if found else ""  # of the projection, which comes after its geographic base
    if stated.startswith("degree"):
        return "degree"
    try:
        return str(pint.Unit(stated)) if stated else "pixel"
    except (pint.UndefinedUnitError, ValueError):
        return "pixel"


def _place_array(da: "xr.DataArray", dims: Sequence[Any]) -> dict[str, Any]:
    """Return scale and translation, or an affine for a rotated raster."""
    if transform := _find_transform(da):
        return _place_raster(transform, len(dims))
    scale, translate = np.ones(len(dims)), np.zeros(len(dims))
    for k, dim in enumerate(dims):
        if dim in da.coords and da.coords[dim].dtype.kind in "iuf":
            centres = da.coords[dim].values
            translate[k] = centres[0]
            scale[k] = (centres[-1] - centres[0]) / (len(centres) - 1) if len(centres) > 1 else 1.0
    if "volume_ref" in da.coords and tuple(dims[-3:]) == AXES:
        attrs = da.coords["volume_ref"].attrs
        spacing = np.asarray(attrs["spacing"], dtype=float)
        single = np.array(da.shape[-3:]) == 1
        scale[-3:][single] = spacing[single]
        turn = np.asarray(attrs["direction"], dtype=float).reshape(3, 3)[::-1]  # rows z, y, x of the patient
        signs = np.diag(turn).round()
        if np.abs(turn - np.diag(signs)).max() < _STRAIGHT:
            translate[-3:] = np.asarray(attrs["origin"], dtype=float)[::-1] + signs * translate[-3:]
            scale[-3:] *= signs
    return {"scale": scale, "translate": translate}


def _find_transform(da: "xr.DataArray") -> str:
    """Return GDAL's six numbers of a raster that has a place on earth, else an empty text."""
    for coord in da.coords.values():
        if coord.ndim == 0 and "GeoTransform" in coord.attrs:
            return str(coord.attrs["GeoTransform"])
    return ""


def _place_raster(transform: str, ndim: int) -> dict[str, Any]:
    """Return the place of a raster by GDAL's six numbers, which count from pixel corners."""
    x0, x_col, x_row, y0, y_col, y_row = (float(part) for part in transform.split())
    first = [y0 + (y_col + y_row) / 2, x0 + (x_col + x_row) / 2]
    if x_row == y_col == 0:
        return {
            "scale": [*np.ones(ndim - 2), y_row, x_col],
            "translate": [*np.zeros(ndim - 2), *first],
        }
    matrix = np.eye(ndim + 1)
    matrix[-3:-1, -3:-1] = [[y_row, y_col], [x_row, x_col]]
    matrix[-3:-1, -1] = first
    return {"affine": matrix}


def _find_contrast(da: "xr.DataArray") -> tuple[float, float] | None:
    """Return the range of nearly all valid values of a sample; None where napari is to find one."""
    if da.chunks is not None and da.nbytes > _LARGEST_READ:
        return None
    step = max(1, round((da.size / _SAMPLE) ** (1 / max(1, da.ndim))))
    values = np.asarray(da.data[tuple(slice(None, None, step) for _ in da.dims)]).ravel()
    if values.dtype.kind not in "iuf":
        return None
    values = values[np.isfinite(values) & (values != da.attrs.get("_FillValue"))]
    if not values.size:
        return None
    low, high = np.percentile(values, _CONTRAST)
    return (float(low), float(high)) if high > low else None
