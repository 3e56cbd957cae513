"""NetCDF to DataArray, lazily, through xarray; results are written as Zarr or GeoTIFF."""

from pathlib import Path

import dask.config
import xarray as xr

from sr_imaging.errors import ReadError
from sr_imaging.io.scan import Scan

from .one_image import image_of, scan_store

__all__ = ["read_netcdf", "scan_netcdf"]

_CHUNK = "8 MiB"  # as of a GeoTIFF; whole chunks of the file where it has some


def scan_netcdf(path: Path) -> Scan:
    """Describe a netCDF file by its metadata.

    Parameters
    ----------
    path : Path
        Classic netCDF, or netCDF 4 in HDF5.

    Returns
    -------
    Scan
        Not ok where the file holds no image, or several.
    """
    return scan_store(path, "netcdf", _open)


def read_netcdf(scan: Scan) -> xr.DataArray:
    """Read the image of a netCDF file lazily.

    Parameters
    ----------
    scan : Scan
        Of kind ``netcdf``.

    Returns
    -------
    DataArray
        Dask-backed, as stored: nodata in ``attrs["_FillValue"]``, packing not applied.

    Raises
    ------
    ReadError
        If the file cannot be read or holds several images.
    """
    return image_of(scan.path, _open)


def _open(path: Path) -> xr.Dataset:
    """The file as it is: values not decoded, grid mappings as coords."""
    try:
        with dask.config.set({"array.chunk-size": _CHUNK}):
            return xr.open_dataset(
                path, chunks="auto", mask_and_scale=False, decode_coords="all", decode_timedelta=False
            )
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        cause = " ".join(str(error).split())
        remedy = "the file is damaged or of another kind"
        if "found the following matches with the input file" in cause or "no match" in cause:
            cause, remedy = "no netCDF library is installed", "pip install netCDF4"
        raise ReadError(f"cannot read {path}: {cause}; {remedy}") from error
