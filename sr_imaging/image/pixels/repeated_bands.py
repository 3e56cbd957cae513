"""Bands that no model sees and that are repeated: classes, and alpha, which hides other bands' pixels."""

from collections.abc import Callable
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from sr_imaging.image.grid.axes import spatial_dims
from sr_imaging.image.stored_numbers import of_bands

from .resampling import repeat_nearest

__all__ = ["beside_repeated", "repeated_bands"]


def repeated_bands(da: xr.DataArray) -> tuple[Any, list[int], list[int]] | None:
    """Return the dim of the bands, the places of alpha bands among them, and those of classes.

    Parameters
    ----------
    da : DataArray
        Its attr ``color_interp`` names what each band is, ``band_classes`` the classes of each band that has
        some, as a file's reader leaves them.

    Returns
    -------
    (hashable, list of int, list of int) or None
        None where there is neither, or nothing else.
    """
    kinds, classes = (da.attrs.get(key, ()) for key in ("color_interp", "band_classes"))
    for dim in reversed([dim for dim in da.dims if dim not in spatial_dims(da).values()]):
        alpha = [k for k, kind in enumerate(of_bands(kinds, da, dim) or []) if kind == "alpha"]
        flags = [k for k, names in enumerate(of_bands(classes, da, dim) or []) if names]
        if 0 < len({*alpha, *flags}) < da.sizes[dim]:
            return dim, alpha, flags
    return None


def beside_repeated(
    da: xr.DataArray,
    dim: Any,
    alpha: list[int],
    flags: list[int],
    *,
    scale: Any,
    modelled: Callable[[xr.DataArray], tuple[Any, Any]],
) -> tuple[Any, Any]:
    """Super-resolve the other bands, where they are not wholly transparent, and repeat these.

    Parameters
    ----------
    da : DataArray
        With alpha bands or bands of classes.
    dim : hashable
        Of the bands.
    alpha, flags : list of int
        Their places.
    scale : mapping
        Fine pixels per coarse pixel by dim.
    modelled : callable
        Returns the values that a model makes of an image, and what made them. What the coord ``mask`` rules
        out is kept from the model.

    Returns
    -------
    (array, object)
        Values of all bands in their order, and what made them.
    """
    places = sorted({*alpha, *flags})
    others = [k for k in range(da.sizes[dim]) if k not in places]
    image = da.isel({dim: others})
    if isinstance(names := da.attrs.get("long_name"), tuple | list) and (names := of_bands(names, da, dim)):
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
