"""One table says of every format what it is called and where its scanner, reader and writer are."""

from dataclasses import dataclass
from importlib import import_module
from typing import Any

__all__ = ["FORMATS", "Format", "load_function"]

_GDAL_SIDECARS = (".aux.xml", ".ovr", ".msk")


@dataclass(frozen=True)
class Format:
    """A format of images on disk; its functions are given by their place, imported when they are needed."""

    name: str  # also the kind of its scans
    suffixes: tuple[str, ...] = ()  # of outputs, the first for a new name; without any it is a folder
    by_suffix: bool = False  # an output with such a suffix has this format unless another is asked for
    other_suffixes: tuple[str, ...] = ()  # of files that others write
    scan: str = ""  # function(path) -> Scan
    read: str = ""  # function(scan) -> DataArray
    write: str = ""  # function(da, path)
    takes_source: bool = False  # write is function(da, path, source, deidentify=)
    sidecars: tuple[str, ...] = ()  # suffixes of files beside an output that are stale once it is replaced
    result: str = ""  # format of results where it is not written itself


_ALL = (
    Format("cog", (".tif", ".tiff"), write="raster.write.write_cog", sidecars=_GDAL_SIDECARS),
    Format(
        "dicom",  # find.py scans it, all files of a folder together
        other_suffixes=(".dcm", ".dicom"),
        read="dicom.reading.series.read_series",
        write="dicom.writing.series.write_series",
        takes_source=True,
    ),
    Format(
        "geotiff",
        suffixes=(".tif", ".tiff"),
        by_suffix=True,
        other_suffixes=(".gtif", ".gtiff"),
        scan="raster.read.scan_geotiff",
        read="raster.read.read_geotiff",
        write="raster.write.write_geotiff",
        sidecars=_GDAL_SIDECARS,
    ),
    Format("image", scan="raster.png_jpeg.scan_image", read="raster.png_jpeg.read_image"),
    Format("netcdf", scan="stores.netcdf.scan_netcdf", read="stores.netcdf.read_netcdf", result="zarr"),
    Format(
        "nifti",
        suffixes=(".nii.gz", ".nii"),
        by_suffix=True,
        scan="nifti.read.scan_nifti",
        read="nifti.read.read_nifti",
        write="nifti.write.write_nifti",
    ),
    Format("parametric-map", (".dcm",), write="dicom.writing.parametric_map.write_map", takes_source=True),
    Format("raster", scan="raster.read.scan_raster", read="raster.read.read_geotiff", result="geotiff"),
    Format(
        "zarr",
        suffixes=(".zarr",),
        by_suffix=True,
        scan="stores.zarr.scan_zarr",
        read="stores.zarr.read_zarr",
        write="stores.zarr.write_zarr",
    ),
)
FORMATS = {form.name: form for form in _ALL}


def load_function(place: str) -> Any:
    """Import what stands at a place in this package, such as ``"raster.read.read_geotiff"``."""
    module, name = place.rsplit(".", 1)
    return getattr(import_module(f".{module}", __package__), name)
