"""What an array says of its stored numbers: which of them are nodata, and whether they are classes."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

__all__ = ["NODATA_KEYS", "is_flag", "nodata_of", "with_one_nodata"]

NODATA_KEYS = ("_FillValue", "missing_value", "nodata")  # the first of them counts for a writer
_FLAG_KEYS = ("flag_values", "flag_masks", "flag_meanings", "colour_table")


def is_flag(da: xr.DataArray) -> bool:
    """Tell whether an array holds classes, masks or colour indices, which are repeated and never modelled."""
    return da.dtype.kind == "b" or (da.dtype.kind in "iuf" and any(key in da.attrs for key in _FLAG_KEYS))


def nodata_of(attrs: Mapping[Any, Any], dtype: np.dtype[Any]) -> list[float | int]:
    """Return the numbers that attributes state as nodata.

    Parameters
    ----------
    attrs : mapping
        With ``_FillValue``, ``missing_value`` (one number or several), ``nodata``; texts state none.
    dtype : dtype
        Type of the values. A number that it cannot hold marks nothing.

    Returns
    -------
    list of number
        Each once, that of ``_FillValue`` first; whole numbers stay exact.

    Examples
    --------
    >>> nodata_of({"_FillValue": -1, "missing_value": [-2, -1, 300]}, np.dtype("int8"))
    [-1, -2]
    """
    stated = [np.asarray(attrs[key]).ravel() for key in NODATA_KEYS if attrs.get(key) is not None]
    numbers = [value for values in stated if values.dtype.kind in "iuf" for value in values.tolist()]
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        numbers = [int(v) for v in numbers if info.min <= v <= info.max and v == int(v)]
    different = dict.fromkeys(np.nan if np.isnan(v) else v for v in numbers)  # one NaN is another
    return list(different)


def with_one_nodata(da: xr.DataArray) -> xr.DataArray:
    """Return an array whose invalid pixels have one value, where it states several.

    Parameters
    ----------
    da : DataArray
        As stored, or decoded with several in ``encoding``, of which a file could hold one.

    Returns
    -------
    DataArray
        `da` itself, or a copy with the first of them (``_FillValue``) in place of the others. Lazy for dask.
    """
    if "missing_value" in da.encoding and "_FillValue" in da.encoding:
        da = da.copy(deep=False)
        da.encoding = {key: value for key, value in da.encoding.items() if key != "missing_value"}
    stated = nodata_of(da.attrs, da.dtype)
    if len(stated) < 2:
        return da
    kept = da.dtype.type(stated[0])
    one = da.copy(data=da.data)
    for other in stated[1:]:
        one = one.where(da != da.dtype.type(other), kept)
    one.attrs = {key: value for key, value in da.attrs.items() if key not in NODATA_KEYS}
    one.attrs["_FillValue"] = kept
    one.encoding = dict(da.encoding)
    return one.transpose(*da.dims)
