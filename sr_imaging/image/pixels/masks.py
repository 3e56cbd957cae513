"""Pixels that a mask beside the image rules out: hidden from the model, and given back as they were."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from .resampling import repeat_nearest
from .values import Values

__all__ = ["hide_masked", "mask_of", "restore_masked"]


def mask_of(da: xr.DataArray) -> Any | None:
    """Return the coordinate ``mask`` (True where valid) in the shape of the data, or None."""
    if "mask" not in da.coords or da.coords["mask"].dtype.kind != "b" or not da.coords["mask"].ndim:
        return None
    return da.coords["mask"].broadcast_like(da).transpose(*da.dims).data


def hide_masked(da: xr.DataArray, mask: Any, values: Values) -> tuple[Any, Values]:
    """Return the data as floats with NaN where masked, and how these are stored.

    `mask` has the shape of the data, True where valid; results of the two stay in physical units.
    """
    where: Any = dask.array.where if _is_lazy(da.data, mask) else np.where
    data = where(mask, da.data.astype(values.work_dtype), values.work_dtype.type(np.nan))
    return data, replace(values.as_float(), dtype=values.work_dtype)


def restore_masked(da: xr.DataArray, mask: Any, data: Any, scale: Mapping[Any, float], values: Values) -> Any:
    """Return super-resolved floats as stored values of ``values.out_dtype``, masked pixels of `da` repeated.

    `scale` has the fine pixels per coarse pixel by dim; `mask` and `values` are as for :func:`hide_masked`.
    """
    factors = {da.get_axis_num(dim): s for dim, s in scale.items()}
    valid, stored = repeat_nearest(mask, factors), repeat_nearest(da.data, factors).astype(values.out_dtype)
    if not _is_lazy(data, valid):
        return np.where(valid, values.encode(np.where(valid, data, 0)), stored)
    where: Any = dask.array.where
    seen = where(valid, data, data.dtype.type(0))
    return where(valid, seen.map_blocks(values.encode, dtype=values.out_dtype), stored)


def _is_lazy(*arrays: Any) -> bool:
    """Tell whether one of the arrays is dask's."""
    return any(isinstance(array, dask.array.Array) for array in arrays)
