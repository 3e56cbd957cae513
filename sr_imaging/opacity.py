"""Alpha bands: masks among the bands of an image, which no model sees and which are repeated."""

from collections.abc import Callable
from typing import Any

import dask.array
import numpy as np
import xarray as xr

from .axes import spatial_dims
from .resample import repeat_nearest
from .stored import of_bands

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
    told = tuple(da.attrs.get("color_interp", ()))
    for dim in reversed([dim for dim in da.dims if dim not in spatial_dims(da).values()]):
        names = of_bands(told, da, dim) or []
        places = [k for k, name in enumerate(names) if name == "alpha"]
        if 0 < len(places) < len(names):
            return dim, places
    return None


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
    if isinstance(names := da.attrs.get("long_name"), tuple | list) and (names := of_bands(names, da, dim)):
        image = image.assign_attrs(long_name=tuple(names[k] for k in others))
        if dim in image.coords and image.coords[dim].dtype.kind in "iu":
            image = image.drop_vars(dim)  # which would say that the names are those of the file
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
