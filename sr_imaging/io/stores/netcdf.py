"""NetCDF to DataArray, lazily, through xarray; results are written as Zarr or GeoTIFF."""

from pathlib import Path

import dask.config
import xarray as xr

from sr_imaging.errors import ReadError
from sr_imaging.io.scan import Scan

from .one_image import AS_STORED, read_store, scan_store

__all__ = ["read_netcdf", "scan_netcdf"]

_CHUNK = "8 MiB"  # as of a GeoTIFF; whole chunks of the file where it has some


def scan_netcdf(path: Path) -> Scan:
    """Describe a netCDF file, classic or netCDF 4 in HDF5, by its metadata."""
    return scan_store(path, "netcdf", _open_dataset)


def read_netcdf(scan: Scan) -> xr.DataArray:
    """Return the image of a netCDF file lazily, as stored: packing is not applied."""
    return read_store(scan.path, _open_dataset)


def _open_dataset(path: Path) -> xr.Dataset:
    """Return the file as it is."""
    try:
        with dask.config.set({"array.chunk-size": _CHUNK}):
            return xr.open_dataset(path, chunks="auto", **AS_STORED)
    except (OSError, KeyError, ValueError, TypeError, RuntimeError) as error:
        cause = " ".join(str(error).split())
        remedy = "the file is damaged or of another kind"
        if "found the following matches with the input file" in cause or "no match" in cause:
            cause, remedy = "no netCDF library is installed", "pip install netCDF4"
        raise ReadError(f"cannot read {path}: {cause}; {remedy}") from error
