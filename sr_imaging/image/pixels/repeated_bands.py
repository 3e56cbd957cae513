"""Bands that no model sees and that are repeated: classes, and alpha, which hides other bands' pixels."""

from collections.abc import Callable
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from sr_imaging.image.grid.axes import spatial_dims
from sr_imaging.image.stored_numbers import band_entries

from .resampling import repeat_nearest

__all__ = ["model_beside_repeated", "repeated_bands"]


def repeated_bands(da: xr.DataArray) -> tuple[Any, list[int], list[int]] | None:
    """Return the dim of the bands, the places of alpha bands among them, and those of classes.

    By the attrs ``color_interp`` (what each band is) and ``band_classes`` (the classes of each band) as
    readers leave them; None where there is neither, or nothing else.
    """
    kinds, classes = (da.attrs.get(key, ()) for key in ("color_interp", "band_classes"))
    for dim in reversed([dim for dim in da.dims if dim not in spatial_dims(da).values()]):
        alpha = [k for k, kind in enumerate(band_entries(kinds, da, dim) or []) if kind == "alpha"]
        flags = [k for k, names in enumerate(band_entries(classes, da, dim) or []) if names]
        if 0 < len({*alpha, *flags}) < da.sizes[dim]:
            return dim, alpha, flags
    return None


def model_beside_repeated(
    da: xr.DataArray,
    dim: Any,
    alpha: list[int],
    flags: list[int],
    *,
    scale: Any,
    modelled: Callable[[xr.DataArray], tuple[Any, Any]],
) -> tuple[Any, Any]:
    """Return the values of all bands in their order, and what made them: these repeated, the others modelled.

    `modelled` returns the values that a model makes of an image, and what made them; what the coord ``mask``
    rules out, here where alpha is 0, is kept from the model. `scale` has the fine pixels per coarse pixel by
    dim.
    """
    places = sorted({*alpha, *flags})
    others = [k for k in range(da.sizes[dim]) if k not in places]
    image = da.isel({dim: others})
    names = da.attrs.get("long_name")
    if isinstance(names, tuple | list) and (names := band_entries(names, da, dim)):
        image = image.assign_attrs(long_name=tuple(names[k] for k in others))
        if dim in image.coords and image.coords[dim].dtype.kind in "iu":
            image = image.drop_vars(dim)  # which would say that the names are those of the file
    if alpha:
        valid = (da.isel({dim: alpha}) != 0).all(dim)
        if "mask" in da.coords and da.coords["mask"].dtype == bool:
            valid = valid & da.coords["mask"]
        image = image.assign_coords(mask=valid.reset_coords(drop=True))
    data, facts = modelled(image)
    factors = {da.get_axis_num(name): s for name, s in scale.items()}
    repeated = repeat_nearest(da.isel({dim: places}).data, factors).astype(data.dtype)
    axis = da.get_axis_num(dim)
    order = np.argsort([*others, *places])
    if isinstance(data, dask.array.Array):
        lazy: Any = dask.array
        return lazy.concatenate([data, repeated], axis)[(slice(None),) * axis + (order,)], facts
    return np.concatenate([data, repeated], axis).take(order, axis), facts
