"""Writers: a layer as GeoTIFF or NIfTI, with its place."""

from typing import TYPE_CHECKING, Any

import numpy as np

from sr_imaging import write

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["write_geotiff", "write_nifti"]


def write_geotiff(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an image layer as GeoTIFF; napari has asked whether to replace a file.

    Parameters
    ----------
    path : str
        Name that ends in ``.tif`` or ``.tiff``.
    data : array
        Pixels; those with coordinates keep their CRS, tags and nodata.
    attributes : dict
        Of the layer.

    Returns
    -------
    list of str
        The file.
    """
    return [str(write(_array(data, attributes, ("band", "y", "x")), path, format="geotiff", overwrite=True))]


def write_nifti(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an image layer as NIfTI; parameters as :func:`write_geotiff`, with ``.nii`` or ``.nii.gz``."""
    return [str(write(_array(data, attributes, ("z", "y", "x")), path, format="nifti", overwrite=True))]


def _array(data: Any, attributes: dict[str, Any], names: tuple[str, ...]) -> "xr.DataArray":
    """The pixels with the coordinates they have, or with those of the layer's scale and translation."""
    import xarray as xr

    if isinstance(data, list | tuple):  # multiscale
        data = data[0]
    if attributes.get("rgb"):
        names = ("y", "x", "band")
    if isinstance(data, xr.DataArray):
        return data.transpose("band", ...) if attributes.get("rgb") and "band" in data.dims else data
    dims = names[-data.ndim :] if data.ndim <= len(names) else (*_lead(data.ndim - len(names)), *names)
    da = xr.DataArray(data, dims=dims)
    spatial = [dim for dim in dims if dim != "band" or not attributes.get("rgb")]
    for k, dim in enumerate(spatial):
        if dim in ("z", "y", "x"):
            unit = str(attributes["units"][k]) if "units" in attributes else "pixel"
            centres = attributes["translate"][k] + attributes["scale"][k] * np.arange(da.sizes[dim])
            da = da.assign_coords({dim: (dim, centres, {} if unit == "pixel" else {"units": unit})})
    return da.transpose("band", ...) if attributes.get("rgb") else da


def _lead(count: int) -> list[str]:
    """Names for axes before the spatial ones."""
    return ["time"] if count == 1 else [f"dim_{k}" for k in range(count)]
