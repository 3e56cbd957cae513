"""Read a scan into an array, and write an array to a file or folder that appears whole or not at all."""

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from sr_imaging.errors import ReadError, WriteError

from .atomic import whole_output
from .find import find_scans
from .formats import FORMATS, Format, load_function
from .pick import pick
from .scan import Scan, under_policies

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["read", "write"]

_log = logging.getLogger(__name__)


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
    path = path_or_scan.path if isinstance(path_or_scan, Scan) else path_or_scan
    scans = [path_or_scan] if isinstance(path_or_scan, Scan) else find_scans(path, images=True)
    scan = pick(under_policies(scans, on_missing=on_missing, on_tilt=on_tilt), path, series)
    for note in scan.verdict.notes:
        _log.warning("%s: %s", scan.path, note)
    da: xr.DataArray = load_function(FORMATS[scan.kind].read)(scan)
    if not masked:
        return da
    from sr_imaging.image.pixels.packing import mask_nodata

    values = mask_nodata(da)
    if da.dtype.kind in "iu" and "mask" in da.coords and "_FillValue" not in da.attrs:
        message = "%s: masked values are %s and will be written so, since no %s stands for nodata"
        _log.warning(message, scan.path, values.dtype, da.dtype)
    return values


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
    form = _choose_format(da, path, format)
    scan = _find_source(source) if form.takes_source or deidentify else None
    if deidentify and not form.takes_source:
        da = _remove_identity(da, scan)
    with whole_output(path, overwrite=overwrite) as temporary:
        if form.takes_source:
            load_function(form.write)(da, temporary, scan, deidentify=deidentify)
        else:
            load_function(form.write)(da, temporary)
        for suffix in form.sidecars:
            path.with_name(path.name + suffix).unlink(missing_ok=True)
    return path


def _choose_format(da: "xr.DataArray", path: Path, name: str | None) -> Format:
    """Return the format of that name, else the one that the suffix of the output means."""
    written = {form.name: form for form in FORMATS.values() if form.write}
    if name is not None:
        if name not in written:
            raise WriteError(f"unknown format {name!r}; choose one of {', '.join(written)}")
        return written[name]
    by_suffix = {suffix: form for form in written.values() if form.by_suffix for suffix in form.suffixes}
    for suffix, form in by_suffix.items():
        if path.name.lower().endswith(suffix):
            return form
    if not path.suffix and "volume_ref" in da.coords:
        return FORMATS["dicom"]
    suffixes = ", ".join(by_suffix)
    raise WriteError(f"cannot tell the format of {path}; use a suffix of {suffixes} or pass format=")


def _remove_identity(da: "xr.DataArray", source: Scan | None) -> "xr.DataArray":
    """Return a volume without texts and identifiers, for formats that hold no header of their source."""
    from sr_imaging.io.dicom.writing.deidentify import anonymous_array, refuse_text_in_pixels

    if source is not None:
        refuse_text_in_pixels(source)
    return anonymous_array(da)


def _find_source(source: Scan | str | os.PathLike[str] | None) -> Scan | None:
    """Return the DICOM series that an array was made from; None where no source was given."""
    if source is None:
        return None
    if isinstance(source, Scan):
        scan = source
    else:  # a series that had to be repaired is a source as well: only its headers are used
        scan = pick([found.repaired or found for found in find_scans(source)], source, None)
    if scan.kind != "dicom":
        raise ReadError(f"source {scan.path} is {scan.kind}, not a DICOM series; pass source=None")
    return scan
