"""What a DICOM writer takes from an array: its grid, its voxels, the slices that it was made from."""

import numpy as np
import xarray as xr

from sr_imaging.errors import ReadError, WriteError
from sr_imaging.image.grid.axes import check_grid, spatial_dims
from sr_imaging.image.grid.volumes import affine
from sr_imaging.io.dicom.reading.series import load_placement
from sr_imaging.io.scan import Scan

from .derived_header import SourceSlice, load_sources

__all__ = ["source_slices", "volume_matrix", "volume_planes"]

SHEAR = 2e-3  # cosine between array axes (0.1 degree) beyond which single slices cannot say where they lie


def volume_matrix(da: xr.DataArray) -> np.ndarray:
    """Return the affine of an array that slices can hold.

    Parameters
    ----------
    da : (z, y, x) or (y, x) DataArray
        A volume with a ``volume_ref`` coord.

    Returns
    -------
    (4, 4) ndarray
        Index (z, y, x, 1) to LPS mm.

    Raises
    ------
    WriteError
        If it is no straight volume in patient space.
    """
    if "volume_ref" not in da.coords:
        raise WriteError(
            "DICOM needs a volume in patient space, and the array has no volume_ref coord; "
            "build it with volume or write another format"
        )
    extra = [str(dim) for dim in da.dims if dim not in spatial_dims(da).values()]
    if extra or not {"y", "x"} <= set(spatial_dims(da)):
        raise WriteError(f"DICOM holds dims z, y, x, not {tuple(da.dims)}; select one volume first")
    check_grid(da)
    matrix = affine(da)
    unit = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    worst = float(np.abs(np.triu(unit.T @ unit, 1)).max())
    if worst > SHEAR:
        degrees = float(np.degrees(np.arcsin(min(worst, 1))))
        raise WriteError(
            f"the axes are sheared by {degrees:.3g} degrees; resample onto a straight grid first"
        )
    return matrix


def volume_planes(da: xr.DataArray) -> np.ndarray:
    """Return the voxels of a volume.

    Parameters
    ----------
    da : (z, y, x) or (y, x) DataArray
        Numbers; dask arrays are computed.

    Returns
    -------
    (z, y, x) ndarray
        In the dtype of the array.

    Raises
    ------
    WriteError
        If they are no numbers.
    """
    dims = spatial_dims(da)
    values = np.asarray(da.transpose(*dims.values()).values)
    if values.dtype.kind not in "iuf":
        raise WriteError(f"DICOM holds numbers, not {values.dtype}; convert the array first")
    return values if values.ndim == 3 else values[None]


def source_slices(da: xr.DataArray, source: Scan | None, modality: str) -> list[SourceSlice]:
    """Return the source slices of a volume and their headers.

    Parameters
    ----------
    da : DataArray
        The volume.
    source : Scan, optional
        The series that it was derived from.
    modality : str
        Of the source.

    Returns
    -------
    list of SourceSlice
        Empty for a new series.

    Raises
    ------
    WriteError
        If the source cannot be read or lies in another frame of reference.
    """
    if source is None:
        return []
    if source.kind != "dicom" or not source.verdict.ok:
        raise WriteError(
            f"{source.path} is no good DICOM series to derive from; pass source=None for a new one"
        )
    try:
        sources = load_sources(load_placement(source).frames, modality)
    except ReadError as error:
        raise WriteError(f"the source cannot be read: {error}") from error
    stated = str(da.coords["volume_ref"].attrs.get("frame_of_reference_uid", ""))
    actual = sources[0].frame.frame_of_reference
    if stated and actual and stated != actual:
        raise WriteError("the array lies in another frame of reference than the source; pass its own source")
    return sources
