"""Between stored numbers and their values: nodata to NaN and back, packed integers rounded and clipped.

Casting floats to integers truncates and wraps around; here they are rounded, clipped to what the integer type
can hold, and kept off the nodata value.
"""

from functools import partial
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import WriteError
from sr_imaging.image.stored_numbers import NODATA_KEYS, nodata_of, normalise_numbers

__all__ = ["mask_nodata", "pack"]

_PACKING = ("scale_factor", "add_offset", "_FillValue", "missing_value", "dtype")


def mask_nodata(da: xr.DataArray) -> xr.DataArray:
    """Return the array as floats with NaN where its values are nodata or its coord ``mask`` is False.

    float32, or float64 where 32 bits do not hold the integers. Nodata and dtype are kept in ``encoding``, so
    that writing restores them. Scale and offset are not applied.
    """
    kind = np.result_type(da.dtype, np.float32)
    da = normalise_numbers(da)
    nodata = next(map(da.dtype.type, nodata_of(da.attrs, da.dtype)), None)
    values = da.astype(kind, keep_attrs=True)
    if nodata is not None and not np.isnan(nodata):
        values = values.where(da != nodata)
    if "mask" in da.coords:
        values = values.where(da.coords["mask"])
    values.attrs = {key: value for key, value in da.attrs.items() if key not in NODATA_KEYS}
    values.encoding = dict(da.encoding)
    if nodata is not None:
        values.encoding["_FillValue"] = nodata
        values.encoding["dtype"] = str(da.dtype)
    return values.transpose(*da.dims)


def pack(da: xr.DataArray) -> xr.DataArray:
    """Return the array in its stored form: what `encoding` says of packing becomes values and attrs.

    NaN becomes nodata; values that are as stored are returned as they are. Lazy for dask.
    """
    da = normalise_numbers(da)
    packing = {key: da.encoding[key] for key in _PACKING if da.encoding.get(key) is not None}
    nodata = packing.get("_FillValue", packing.get("missing_value"))
    if da.dtype.kind != "f" or not packing or "_FillValue" in da.attrs:
        return da
    dtype = np.dtype(packing.get("dtype", da.dtype))
    scale, offset = packing.get("scale_factor"), packing.get("add_offset")
    values = _pack_data(da, dtype, 1.0 if scale is None else float(scale), float(offset or 0.0), nodata)
    stored = da.copy(data=values)
    stored.encoding = {key: value for key, value in da.encoding.items() if key not in _PACKING}
    stated = {"scale_factor": scale, "add_offset": offset}
    stored.attrs.update({key: float(value) for key, value in stated.items() if value is not None})
    if nodata is not None:
        stored.attrs["_FillValue"] = dtype.type(nodata)
    return stored


def _pack_data(da: xr.DataArray, dtype: np.dtype[Any], scale: float, offset: float, nodata: Any) -> Any:
    """Return the packed data, block by block where it is lazy."""
    convert = partial(_pack_block, dtype=dtype, scale=scale, offset=offset, nodata=nodata)
    if da.chunks is None:
        return convert(da.values)
    return da.data.map_blocks(convert, dtype=dtype, meta=np.empty((0,) * da.ndim, dtype))


def _pack_block(
    values: np.ndarray, *, dtype: np.dtype[Any], scale: float, offset: float, nodata: Any
) -> np.ndarray:
    """Pack floats: round, clip, keep valid values off nodata, NaN to nodata."""
    hole = np.isnan(values)
    if scale != 1.0 or offset != 0.0:
        values = (values.astype(np.float64) - offset) / scale
    if dtype.kind == "f":
        return np.where(hole, np.nan if nodata is None else nodata, values).astype(dtype)
    limits = np.iinfo(dtype)
    whole = np.clip(np.rint(np.where(hole, 0, values)), *_limit_floats(limits, values.dtype)).astype(dtype)
    if nodata is not None:
        whole[~hole & (whole == nodata)] = int(nodata) + (1 if nodata < limits.max else -1)
        whole[hole] = nodata
    elif hole.any():
        raise WriteError(f"NaN has no {dtype} value; set encoding['_FillValue'], or drop encoding['dtype']")
    return whole


def _limit_floats(limits: Any, kind: np.dtype[Any]) -> tuple[float, float]:
    """Return the limits of an integer type as floats that convert back without overflow."""
    low, high = kind.type(limits.min), kind.type(limits.max)
    return float(low), float(high if int(high) <= limits.max else np.nextafter(high, kind.type(0)))
