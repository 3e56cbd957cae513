"""Writers: a layer as GeoTIFF or NIfTI, with its place."""

from typing import TYPE_CHECKING, Any

import numpy as np

from sr_imaging import write
from sr_imaging.image.grid.axes import AXES

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["write_geotiff", "write_nifti"]


def write_geotiff(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an image layer as GeoTIFF and return its path; napari has asked whether to replace a file.

    Pixels with coordinates keep their CRS, tags and nodata; others get those of the layer's `attributes`.
    """
    da = _add_coordinates(data, attributes, ("band", "y", "x"))
    return [str(write(da, path, format="geotiff", overwrite=True))]


def write_nifti(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an image layer as NIfTI (``.nii`` or ``.nii.gz``), as :func:`write_geotiff` does."""
    da = _add_coordinates(data, attributes, AXES)
    return [str(write(da, path, format="nifti", overwrite=True))]


def _add_coordinates(data: Any, attributes: dict[str, Any], names: tuple[str, ...]) -> "xr.DataArray":
    """Return the pixels with their coordinates, or with those of the layer's scale and translation."""
    import xarray as xr

    if isinstance(data, list | tuple):  # multiscale
        data = data[0]
    if attributes.get("rgb"):
        names = ("y", "x", "band")
    if isinstance(data, xr.DataArray):
        return data.transpose("band", ...) if attributes.get("rgb") and "band" in data.dims else data
    dims = (*_name_leading(data.ndim - len(names)), *names)[-data.ndim :]
    da = xr.DataArray(data, dims=dims)
    spatial = [dim for dim in dims if dim != "band" or not attributes.get("rgb")]
    for k, dim in enumerate(spatial):
        if dim in AXES:
            unit = str(attributes["units"][k]) if "units" in attributes else "pixel"
            centres = attributes["translate"][k] + attributes["scale"][k] * np.arange(da.sizes[dim])
            da = da.assign_coords({dim: (dim, centres, {} if unit == "pixel" else {"units": unit})})
    return da.transpose("band", ...) if attributes.get("rgb") else da


def _name_leading(count: int) -> list[str]:
    """Return names for axes before the spatial ones."""
    return ["time"] if count == 1 else [f"dim_{k}" for k in range(count)]
