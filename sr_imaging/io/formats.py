"""Scans from disk and back: find what a path holds, read it, write it. Readers are imported when needed."""

import logging
import os
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sr_imaging.errors import ReadError, WriteError

from .atomic import whole_output
from .find import find_scans
from .pick import pick
from .scan import Scan, Verdict, under_policies

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["READERS", "WRITERS", "Scan", "Verdict", "find_scans", "read", "write"]

# kind of scan -> module and function of this package: function(scan) -> DataArray
READERS = {
    "dicom": ("dicom.reading.series", "read_series"),
    "geotiff": ("raster.read", "read_geotiff"),
    "image": ("raster.png_jpeg", "read_image"),
    "netcdf": ("stores.netcdf", "read_netcdf"),
    "nifti": ("nifti.read", "read_nifti"),
    "raster": ("raster.read", "read_geotiff"),
    "zarr": ("stores.zarr", "read_zarr"),
}

# format -> module and function of this package: function(da, path); those of DICOM take the source scan and
# whether to de-identify as well
WRITERS = {
    "cog": ("raster.write", "write_cog"),
    "dicom": ("dicom.writing.series", "write_series"),
    "geotiff": ("raster.write", "write_geotiff"),
    "nifti": ("nifti.write", "write_nifti"),
    "parametric-map": ("dicom.writing.parametric_map", "write_map"),
    "zarr": ("stores.zarr", "write_zarr"),
}

_SUFFIXES = {
    ".tif": "geotiff",
    ".tiff": "geotiff",
    ".nii": "nifti",
    ".nii.gz": "nifti",
    ".zarr": "zarr",
}
_WITH_SOURCE = ("dicom", "parametric-map")
_log = logging.getLogger(__name__)
_SIDECARS = (".aux.xml", ".ovr", ".msk")  # what GDAL keeps beside a TIFF, stale once that is replaced


def read(
    path_or_scan: str | os.PathLike[str] | Scan,
    *,
    series: str | int | None = None,
    masked: bool = False,
    on_missing: str = "raise",
    on_tilt: str = "raise",
) -> "xr.DataArray":
    """Read one scan as a DataArray that knows where it lies.

    Parameters
    ----------
    path_or_scan : path or Scan
        A file, a DICOM folder, a DICOMDIR, a zip, a Zarr store, a URL or ``/vsi`` path of a raster, or a scan
        from :func:`find_scans`.
    series : str or int, optional
        Which of several: SeriesInstanceUID or its end, series number, or file name.
    masked : bool
        Return floats with NaN where the values are nodata or masked out.
    on_missing : {"raise", "resample"}
        What becomes of a DICOM series in which whole slices are missing: refuse it, or interpolate them
        linearly from their neighbours.
    on_tilt : {"raise", "resample"}
        What becomes of a DICOM series whose slices shift sideways (gantry tilt): refuse it, or shift them
        straight by linear interpolation in their plane, on a grid that holds all of them.

    Returns
    -------
    DataArray
        Rasters ``(band, y, x)``, lazy, in native dtype; volumes ``([time,] z, y, x)`` in modality values.
        Nodata is in ``attrs["_FillValue"]``. What was noticed and dealt with, such as a slice that could not
        join its series, is a warning in the log; what was interpolated is in ``attrs["history"]`` as well.

    Raises
    ------
    ReadError
        If there is no such scan, it cannot be read, or there are several good ones.
    ConfigError
        If a policy is neither ``raise`` nor ``resample``.

    Examples
    --------
    >>> read("no-such-scan.tif")
    Traceback (most recent call last):
    sr_imaging.errors.ReadError: no such file or folder: no-such-scan.tif; check the path
    """
    given = isinstance(path_or_scan, Scan)
    scans = [path_or_scan] if isinstance(path_or_scan, Scan) else find_scans(path_or_scan, images=True)
    scans = under_policies(scans, on_missing=on_missing, on_tilt=on_tilt)
    scan = pick(scans, scans[0].path if given else path_or_scan, series)
    for note in scan.verdict.notes:
        _log.warning("%s: %s", scan.path, note)
    da: xr.DataArray = _function(READERS[scan.kind])(scan)
    if masked:
        from sr_imaging.image.pixels.packing import mask_nodata

        values = mask_nodata(da)
        if da.dtype.kind in "iu" and "mask" in da.coords and "_FillValue" not in da.attrs:
            told = "%s: masked values are %s and will be written so, since no %s stands for nodata"
            _log.warning(told, scan.path, values.dtype, da.dtype)
        return values
    return da


def _function(place: tuple[str, str]) -> Any:
    """Import a reader or writer."""
    module, name = place
    return getattr(import_module(f".{module}", __package__), name)


def write(
    da: "xr.DataArray",
    path: str | os.PathLike[str],
    *,
    source: Scan | str | os.PathLike[str] | None = None,
    format: str | None = None,
    overwrite: bool = False,
    deidentify: bool = False,
) -> Path:
    """Write an array to a file or folder that appears whole or not at all.

    Parameters
    ----------
    da : DataArray
        Raster or volume after the coordinate contract; dask arrays are computed part by part.
    path : path
        ``.tif``, ``.tiff``, ``.nii``, ``.nii.gz``, ``.zarr``, or a folder without suffix for a DICOM series.
    source : Scan or path, optional
        DICOM series that the array was made from; patient and study are taken from it.
    format : {"geotiff", "cog", "nifti", "zarr", "dicom", "parametric-map"}, optional
        Instead of the suffix. A Parametric Map is one DICOM file of floats and needs `source`.
    overwrite : bool
        Replace an existing output.
    deidentify : bool
        Leave out what may identify the patient, after the basic profile of DICOM PS3.15, and replace
        identifiers, the same ones always alike; for volumes in patient space only. Pixels stay as they
        are: a `source` that may hold burned-in text is refused, a face is not seen.

    Returns
    -------
    Path
        The output.

    Raises
    ------
    WriteError
        If the array does not fit the format, the output exists, or the folder cannot be written.
    ResourceError
        If the disk is full.
    """
    path = Path(path)
    kind = _format(da, path, format)
    scan = _source_scan(source) if kind in _WITH_SOURCE or deidentify else None
    if deidentify and kind not in _WITH_SOURCE:
        da = _anonymous(da, scan)
    with whole_output(path, overwrite=overwrite) as temporary:
        if kind in _WITH_SOURCE:
            _function(WRITERS[kind])(da, temporary, scan, deidentify=deidentify)
        else:
            _function(WRITERS[kind])(da, temporary)
        if kind in ("geotiff", "cog"):
            for suffix in _SIDECARS:
                path.with_name(path.name + suffix).unlink(missing_ok=True)
    return path


def _format(da: "xr.DataArray", path: Path, format: str | None) -> str:
    """The asked format, or the one of the suffix."""
    if format is not None:
        if format not in WRITERS:
            raise WriteError(f"unknown format {format!r}; choose one of {', '.join(WRITERS)}")
        return format
    name = path.name.lower()
    for suffix, kind in _SUFFIXES.items():
        if name.endswith(suffix):
            return kind
    if not path.suffix and "volume_ref" in da.coords:
        return "dicom"
    raise WriteError(
        f"cannot tell the format of {path}; use a suffix of {', '.join(_SUFFIXES)} or pass format="
    )


def _anonymous(da: "xr.DataArray", source: Scan | None) -> "xr.DataArray":
    """A volume without texts and identifiers, for formats that hold no header of their source."""
    from sr_imaging.io.dicom.writing.deidentify import anonymous_array, refuse_text_in_pixels

    if source is not None:
        refuse_text_in_pixels(source)
    return anonymous_array(da)


def _source_scan(source: Scan | str | os.PathLike[str] | None) -> Scan | None:
    """The DICOM series that an array was made from, where its source is one."""
    if source is None:
        return None
    if isinstance(source, Scan):
        scan = source
    else:  # a series that had to be repaired is a source as well: only its headers are used
        scan = pick([found.repaired or found for found in find_scans(source)], source, None)
    if scan.kind != "dicom":
        raise ReadError(f"source {scan.path} is {scan.kind}, not a DICOM series; pass source=None")
    return scan
