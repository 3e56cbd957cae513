"""Alpha bands: masks among the bands of an image, which no model sees and which are repeated."""

from collections.abc import Callable
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from .axes import spatial_dims
from .resample import repeat_nearest

__all__ = ["alpha_of", "beside_alpha"]


def alpha_of(da: xr.DataArray) -> tuple[Any, list[int]] | None:
    """Return the dim of the bands and the places of alpha bands among them.

    Parameters
    ----------
    da : DataArray
        Its attr ``color_interp`` names what each band is, as a file's reader leaves it.

    Returns
    -------
    (hashable, list of int) or None
        None where there is none, or nothing else.
    """
    names = da.attrs.get("color_interp")
    if not isinstance(names, tuple | list | np.ndarray) or "alpha" not in list(names):
        return None
    dims = [dim for dim in da.dims if dim not in spatial_dims(da).values() and da.sizes[dim] == len(names)]
    places = [k for k, name in enumerate(names) if name == "alpha"]
    return (dims[-1], places) if dims and len(places) < len(names) else None


def beside_alpha(
    da: xr.DataArray,
    dim: Any,
    places: list[int],
    scale: Any,
    modelled: Callable[[xr.DataArray], tuple[Any, Any]],
) -> tuple[Any, Any]:
    """Super-resolve the other bands, where they are not wholly transparent, and repeat the alpha bands.

    Parameters
    ----------
    da : DataArray
        With alpha bands.
    dim : hashable
        Of the bands.
    places : list of int
        Of the alpha bands.
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
    others = [k for k in range(da.sizes[dim]) if k not in places]
    alpha = da.isel({dim: places})
    valid = (alpha != 0).all(dim)
    image = da.isel({dim: others})
    image.attrs = {key: _picked(value, da.sizes[dim], others) for key, value in da.attrs.items()}
    if "mask" in da.coords and da.coords["mask"].dtype == bool:
        valid = valid & da.coords["mask"]
    data, facts = modelled(image.assign_coords(mask=valid.reset_coords(drop=True)))
    factors = {da.get_axis_num(name): s for name, s in scale.items()}
    repeated = repeat_nearest(alpha.data, factors).astype(data.dtype)
    axis = da.get_axis_num(dim)
    order = np.argsort([*others, *places])
    if isinstance(data, dask.array.Array):
        lazy: Any = dask.array
        return lazy.concatenate([data, repeated], axis)[(slice(None),) * axis + (order,)], facts
    return np.concatenate([data, repeated], axis).take(order, axis), facts


def _picked(value: Any, count: int, places: list[int]) -> Any:
    """What an attribute with one value for each band says of some of them."""
    return (
        tuple(value[k] for k in places) if isinstance(value, tuple | list) and len(value) == count else value
    )
