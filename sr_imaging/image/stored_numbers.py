"""What an array says of its stored numbers: which are nodata, which are classes, what each band is."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

__all__ = ["NODATA_KEYS", "band_entries", "band_numbers", "is_flag", "nodata_of", "normalise_numbers"]

NODATA_KEYS = ("_FillValue", "missing_value", "nodata")  # the first of them counts for a writer
_FLAG_KEYS = ("flag_values", "flag_masks", "flag_meanings", "colour_table")


def is_flag(da: xr.DataArray) -> bool:
    """Tell whether an array holds classes, masks or colour indices, which are repeated and never modelled."""
    flagged = any(key in da.attrs for key in _FLAG_KEYS) or _has_class_bands_only(da)
    return da.dtype.kind == "b" or (da.dtype.kind in "iuf" and flagged)


def _has_class_bands_only(da: xr.DataArray) -> bool:
    """Tell whether all bands that an array has, or the one that was selected, are bands of classes."""
    stated, band = tuple(da.attrs.get("band_classes", ())), da.coords.get("band")
    if not stated or band is None or band.dtype.kind not in "iu":
        return False
    return all(0 < number <= len(stated) and stated[number - 1] for number in np.ravel(band.values))


def band_entries(value: Any, da: xr.DataArray, dim: Any) -> list[Any] | None:
    """Return what an attribute says of the bands that an array has now, one entry for each; else None.

    A list, tuple or array has an entry for each band of the file that was read, or of the array; anything
    else holds for all bands. None where its length is that of neither.

    >>> da = xr.DataArray([1, 2, 3], dims="band", coords={"band": [1, 2, 3]})
    >>> band_entries(("red", "green", "blue"), da.sel(band=[3, 1]), "band")
    ['blue', 'red']
    """
    if not isinstance(value, list | tuple | np.ndarray):
        return [value] * da.sizes[dim]
    numbers = band_numbers(da, dim)
    if max(numbers, default=0) <= len(value):
        return [value[number - 1] for number in numbers]
    return list(value) if len(value) == da.sizes[dim] else None


def band_numbers(da: xr.DataArray, dim: Any) -> list[int]:
    """Return the numbers that bands have in their file, by the coord ``band`` of whole numbers from 1."""
    coord = da.coords.get(dim)
    if dim == "band" and coord is not None and coord.dtype.kind in "iu" and (coord.values >= 1).all():
        return [int(number) for number in coord.values]
    return list(range(1, da.sizes[dim] + 1))


def nodata_of(attrs: Mapping[Any, Any], dtype: np.dtype[Any]) -> list[float | int]:
    """Return the numbers that attributes state as nodata, each once, that of ``_FillValue`` first.

    Whole numbers stay exact; a number that `dtype` cannot hold, or a text, marks nothing.

    >>> nodata_of({"_FillValue": -1, "missing_value": [-2, -1, 300]}, np.dtype("int8"))
    [-1, -2]
    """
    stated = [np.asarray(attrs[key]).ravel() for key in NODATA_KEYS if attrs.get(key) is not None]
    numbers = [value for values in stated if values.dtype.kind in "iuf" for value in values.tolist()]
    if dtype.kind in "iu":
        info = np.iinfo(dtype)
        numbers = [int(v) for v in numbers if info.min <= v <= info.max and v == int(v)]
    elif dtype.kind == "f":
        numbers = [v for v in numbers if not np.isfinite(v) or abs(v) <= np.finfo(dtype).max]
    different = dict.fromkeys(np.nan if np.isnan(v) else v for v in numbers)  # one NaN is another
    return list(different)


def normalise_numbers(da: xr.DataArray) -> xr.DataArray:
    """Return an array whose stored numbers are what their type says, with one value for invalid pixels.

    With ``_Unsigned`` a signed type holds unsigned numbers, or the other way round, since classic netCDF
    lacks some types; and several numbers may be nodata, of which the first (``_FillValue``) stays. The
    encoding says so too. `da` itself where nothing changes; lazy for dask.
    """
    da = _merge_nodata(_apply_sign(da))
    if "missing_value" in da.encoding and "_FillValue" in da.encoding:  # of which a file can hold one
        da = da.copy(deep=False)
        da.encoding = {key: value for key, value in da.encoding.items() if key != "missing_value"}
    return da


def _apply_sign(da: xr.DataArray) -> xr.DataArray:
    """Return the array, or its encoding, with the integer type that ``_Unsigned`` means."""
    kept = da.dtype if "_Unsigned" in da.attrs else np.dtype(da.encoding.get("dtype") or da.dtype)
    place = da.attrs if "_Unsigned" in da.attrs else da.encoding
    kind = {"true": "u", "false": "i"}.get(str(place.get("_Unsigned")).lower())
    if kind is None or kept.kind not in "iu":
        return da
    meant = np.dtype(f"{kind}{kept.itemsize}")
    stated: dict[Any, Any] = {key: value for key, value in place.items() if key != "_Unsigned"}
    for key in set(NODATA_KEYS) & set(stated):
        if stated[key] is not None:
            stated[key] = np.asarray(stated[key]).astype(kept).astype(meant)[()]
    if place is da.attrs:
        signed = da.astype(meant)
        signed.attrs, signed.encoding = stated, dict(da.encoding)
    else:
        signed = da.copy(deep=False)
        signed.encoding = stated | {"dtype": meant}
    return signed


def _merge_nodata(da: xr.DataArray) -> xr.DataArray:
    """Return the array with the first of several nodata values in place of the others."""
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
