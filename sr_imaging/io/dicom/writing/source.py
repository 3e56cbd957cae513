"""What a DICOM writer takes from an array: grid, voxels, and the slices that it was made from."""

from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import ReadError, WriteError
from sr_imaging.image.grid.axes import check_grid, spatial_dims
from sr_imaging.image.grid.volumes import affine
from sr_imaging.io.dicom.reading.series import load_placement
from sr_imaging.io.scan import Scan

from .derived_header import SourceSlice, load_sources

__all__ = ["fill_value", "source_slices", "volume_matrix", "volume_planes"]

SHEAR = 2e-3  # cosine between array axes (0.1 degree) beyond which single slices cannot say where they lie


def volume_matrix(da: xr.DataArray) -> np.ndarray:
    """Return the affine of a volume that slices can hold: (4, 4), index (z, y, x, 1) to LPS mm.

    Raises WriteError if the array is not one straight volume in patient space.
    """
    if "volume_ref" not in da.coords:
        raise WriteError(
            "DICOM needs a volume in patient space, and the array has no volume_ref coord; "
            "build it with sr_imaging.image.grid.volumes.volume, or write another format"
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
    """Return the voxels of a volume or slice, (z, y, x) in its dtype; raise WriteError if not numbers."""
    dims = spatial_dims(da)
    values = np.asarray(da.transpose(*dims.values()).values)
    if values.dtype.kind not in "iuf":
        raise WriteError(f"DICOM holds numbers, not {values.dtype}; convert the array first")
    return values if values.ndim == 3 else values[None]


def fill_value(da: xr.DataArray) -> Any:
    """Return the finite value that marks invalid pixels of a volume, or None."""
    fill = da.attrs.get("_FillValue", da.encoding.get("_FillValue"))
    return None if fill is None or not np.isfinite(fill) else fill


def source_slices(da: xr.DataArray, source: Scan | None, modality: str) -> list[SourceSlice]:
    """Return the slices that a volume was derived from, with their headers; empty without a source.

    Raises WriteError if the source cannot be read or lies in another frame of reference.
    """
    if source is None:
        return []
    if source.kind != "dicom" or not source.verdict.ok:
        raise WriteError(f"{source.path} is not a readable DICOM series; pass source=None for a new one")
    try:
        sources = load_sources(load_placement(source).frames, modality)
    except ReadError as error:
        raise WriteError(f"the source cannot be read: {error}") from error
    stated = str(da.coords["volume_ref"].attrs.get("frame_of_reference_uid", ""))
    actual = sources[0].frame.frame_of_reference
    if stated and actual and stated != actual:
        raise WriteError("the array lies in another frame of reference than the source; pass its own source")
    return sources
