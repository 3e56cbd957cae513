"""Readers: DICOM, NIfTI and georeferenced TIFF as layers that lie where their files say."""

import os
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_plugin.view import open_north_up
from sr_imaging import ReadError, find_scans, read

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
    """Return a function that reads a path as layers, or None for what is not ours.

    Parameters
    ----------
    path : str
        A file, or a folder that is searched with its subfolders. A list is left to other readers.

    Returns
    -------
    callable or None
        None for a folder without scans, and for a TIFF that states no place on earth. A scan of ours that
        cannot be read gets a reader that says why.
    """
    if not isinstance(path, str | os.PathLike):
        return None
    try:
        scans = [scan for scan in find_scans(path) if _is_ours(scan)]
    except ReadError:
        return None
    return _read if scans else None


def _is_ours(scan: "Scan") -> bool:
    """Whether a scan is to be read here, or here refused."""
    if scan.kind == "geotiff":
        return scan.verdict.ok and bool(scan.spacing)
    return scan.kind != "unknown"


def _read(path: Any) -> list[LayerData]:
    """Read the good scans of a path; where there are none, say why."""
    scans = [scan for scan in find_scans(path) if _is_ours(scan)]
    good = [scan for scan in scans if scan.verdict.ok]
    if not good:
        raise ReadError("; ".join(scan.verdict.reason for scan in scans))
    layers = []
    for scan in good:
        source = {"path": str(scan.path)} | ({"series": scan.series_uid} if scan.series_uid else {})
        if sum(other.path == scan.path for other in scans) > 1:
            source["is_one_of_several"] = "yes"  # which the command line cannot tell apart
        name = scan.path.name.removesuffix(".gz").rsplit(".", 1)[0] if scan.path.is_file() else scan.path.name
        number = scan.facts.get("series_number")
        several = number is not None and len(good) > 1
        layers.append(layer_of(read(scan), name=f"{name} {number}" if several else name, source=source))
    if any(_transform(layer[0]) for layer in layers):
        open_north_up()
    return layers


def layer_of(da: "xr.DataArray", *, name: str, source: dict[str, str] | None = None) -> LayerData:
    """Return an image layer that lies where the coordinates of an array say.

    Parameters
    ----------
    da : DataArray
        A raster or volume as :func:`sr_imaging.read` returns it; its coordinates go with the layer.
    name : str
        Of the layer.
    source : dict, optional
        ``path`` and ``series`` it was read from.

    Returns
    -------
    (DataArray, dict, str)
        Rasters lie in their CRS. Volumes whose axes are those of the patient lie in LPS millimetres;
        oblique and otherwise turned ones in millimetres along their own axes, since napari draws slices
        along data axes only.
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
        "units": [_unit(da, dim) for dim in dims],
        "metadata": {"sr_imaging": dict(source or {})},
        **_place(da, dims),
    }
    if not is_rgb and (limits := _contrast(da)) is not None:
        arguments["contrast_limits"] = limits
    return da, arguments, "image"


def _is_rgb(da: "xr.DataArray") -> bool:
    """Whether the bands are the colours of a picture."""
    colours = da.attrs.get("color_interp", ())
    names = tuple(str(colour) for colour in (colours.split(",") if isinstance(colours, str) else colours))
    return da.dtype == np.uint8 and "band" in da.dims and names == _COLOURS == names[: da.sizes["band"]]


def _unit(da: "xr.DataArray", dim: Any) -> str:
    """Unit of an axis that napari knows, else pixel."""
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


def _place(da: "xr.DataArray", dims: Sequence[Any]) -> dict[str, Any]:
    """Scale and translation, or an affine for a rotated raster."""
    if transform := _transform(da):
        return _place_raster(transform, len(dims))
    scale, translate = np.ones(len(dims)), np.zeros(len(dims))
    for k, dim in enumerate(dims):
        if dim in da.coords and da.coords[dim].dtype.kind in "iuf":
            centres = da.coords[dim].values
            translate[k] = centres[0]
            scale[k] = (centres[-1] - centres[0]) / (len(centres) - 1) if len(centres) > 1 else 1.0
    if "volume_ref" in da.coords and list(dims[-3:]) == ["z", "y", "x"]:
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


def _transform(da: "xr.DataArray") -> str:
    """GDAL's six numbers, of a raster that has a place on earth."""
    for coord in da.coords.values():
        if coord.ndim == 0 and "GeoTransform" in coord.attrs:
            return str(coord.attrs["GeoTransform"])
    return ""


def _place_raster(transform: str, ndim: int) -> dict[str, Any]:
    """Place a raster by GDAL's six numbers, which count from pixel corners."""
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


def _contrast(da: "xr.DataArray") -> tuple[float, float] | None:
    """Range of nearly all valid values of a sample; None where napari is to find one."""
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
