"""Stores of several arrays with coordinates, Zarr or netCDF: the one among them that is an image."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import ReadError, SrImagingError
from sr_imaging.image.grid.axes import AXIS_OF
from sr_imaging.image.grid.pixel_spacing import spacing
from sr_imaging.image.stored_numbers import NODATA_KEYS, nodata_of, normalise_numbers
from sr_imaging.io.scan import Scan, Verdict

__all__ = ["AS_STORED", "read_store", "scan_store"]

# Options of xarray: values not decoded, grid mappings as coords
AS_STORED: dict[str, Any] = {"mask_and_scale": False, "decode_coords": "all", "decode_timedelta": False}
_UNNAMED = "__xarray_dataarray_variable__"  # what xarray calls an array without name in a store
_PACKING = {"scale_factor", "add_offset"}


def scan_store(path: Path, kind: str, open_store: Callable[[Path], xr.Dataset]) -> Scan:
    """Describe a store by its metadata; `open_store` returns it as a Dataset, values not decoded."""
    try:
        with open_store(path) as dataset:
            da = _unpack_coords(dataset[_find_image(path, dataset)])
            steps = spacing(da)
            world = da.coords["volume_ref"].attrs if "volume_ref" in da.coords else {}
            return Scan(
                path,
                kind,
                Verdict(True),
                files=(path,),
                shape=da.shape,
                spacing=tuple(steps.values()),
                modality=world.get("modality"),
                facts={"dtype": str(da.dtype), "dims": ", ".join(map(str, da.dims))},
            )
    except SrImagingError as error:
        return Scan(path, kind, Verdict(False, str(error)), files=(path,))


def _find_image(path: Path, dataset: xr.Dataset) -> Any:
    """Return the name of the one variable with two spatial dims."""
    images = [
        name for name, da in dataset.data_vars.items() if len(set(map(str, da.dims)) & set(AXIS_OF)) >= 2
    ]
    if len(images) == 1:
        return images[0]
    if not images:
        raise ReadError(
            f"{path} has no variable with dims y and x, only {sorted(map(str, dataset.data_vars))}; "
            "rename its dims with xarray first"
        )
    raise ReadError(f"{path} holds the images {images}; open it with xarray and pass one of them")


def read_store(path: Path, open_store: Callable[[Path], xr.Dataset]) -> xr.DataArray:
    """Return the image of a store lazily, as stored: packing is not applied; coords are in their own unit."""
    dataset = open_store(path)
    name = _find_image(path, dataset)
    da: xr.DataArray = _unpack_coords(dataset[name].rename(None if name == _UNNAMED else name))
    da.attrs = _restore_tuples(da.attrs)
    da = _set_fill_value(da)
    for key in da.coords:
        da.coords[key].attrs = _restore_tuples(da.coords[key].attrs)
    da.encoding = {key: da.encoding[key] for key in ("grid_mapping",) if key in da.encoding}
    da.encoding["source"] = str(path)
    return da


def _unpack_coords(da: xr.DataArray) -> xr.DataArray:
    """Return the array with its coords in their own unit, float64 where they were packed."""
    packed = [name for name, coord in da.coords.items() if _PACKING & set(coord.attrs)]
    return da.assign_coords({name: _unpack_coord(da.coords[name]) for name in packed})


def _unpack_coord(coord: xr.DataArray) -> xr.Variable:
    """Return a coord of packed numbers as what they stand for, NaN where there is none."""
    attrs = {key: value for key, value in coord.attrs.items() if key not in (*_PACKING, *NODATA_KEYS)}
    coord = normalise_numbers(coord.reset_coords(drop=True))
    factor, offset = float(coord.attrs.get("scale_factor", 1)), float(coord.attrs.get("add_offset", 0))
    values = coord.astype(np.float64) * factor + offset
    for nodata in nodata_of(coord.attrs, coord.dtype):
        values = values.where(coord != nodata)
    return xr.Variable(coord.dims, values.data, attrs)


def _restore_tuples(attrs: dict[Any, Any]) -> dict[Any, Any]:
    """Return attrs as they were: lists were tuples."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in attrs.items()}


def _set_fill_value(da: xr.DataArray) -> xr.DataArray:
    """Return the array with its nodata as one scalar of its type in ``attrs["_FillValue"]``."""
    if da.dtype.kind not in "iuf":
        return da
    da = normalise_numbers(da)
    nodata = nodata_of(da.attrs, da.dtype)
    da.attrs = {key: value for key, value in da.attrs.items() if key not in NODATA_KEYS}
    if nodata:
        da.attrs["_FillValue"] = da.dtype.type(nodata[0])
    return da
