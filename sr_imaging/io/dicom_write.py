"""A DataArray becomes a derived CT or MR series: single-frame files in Explicit VR Little Endian."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from .. import geometry
from ..errors import ReadError, WriteError
from .dicom_derive import SourceSlice, load_sources
from .dicom_encode import choose_encoding, encode
from .dicom_facts import SeriesFacts
from .dicom_quiet import quiet_pydicom
from .dicom_read import load_placement
from .scan import Scan

__all__ = ["write_series"]

SHEAR = 2e-3  # cosine between array axes (0.1 degree) beyond which single slices cannot say where they lie


def write_series(da: xr.DataArray, folder: Path, source: Scan | None) -> None:
    """Write a volume as a new DICOM series, one file a slice, named ``IM_0001.dcm`` and so on.

    Parameters
    ----------
    da : (z, y, x) or (y, x) DataArray
        Modality values with a ``volume_ref`` coord. ``attrs["_FillValue"]`` marks padding; the ``sr_`` attrs
        say which model made it.
    folder : Path
        Folder to write into; made where it is absent.
    source : Scan, optional
        The series that the volume was derived from, whose patient, study and acquisition it keeps. Without
        it a new minimal series is written.

    Raises
    ------
    WriteError
        If the array is no volume in patient space, its modality is neither CT nor MR, or the source cannot
        be read or lies in another frame of reference.
    """
    matrix = _matrix(da)
    values = _planes(da)
    modality = _modality(da, source)
    fill = _fill(da)
    with quiet_pydicom():
        sources = _sources(da, source, modality)
        encoding = choose_encoding(values, fill, [item.frame for item in sources])
        planes = [encode(plane, encoding, fill) for plane in values]
        facts = SeriesFacts(
            da, matrix=matrix, modality=modality, encoding=encoding, sources=sources, planes=planes
        )
        folder.mkdir(parents=True, exist_ok=True)
        for index, plane in enumerate(planes):
            _write_file(facts.header(index), plane, folder / f"IM_{index + 1:04d}.dcm")


def _matrix(da: xr.DataArray) -> np.ndarray:
    """Affine of the array; refuses what is no straight volume in patient space."""
    if "volume_ref" not in da.coords:
        raise WriteError(
            "DICOM needs a volume in patient space, and the array has no volume_ref coord; "
            "build it with geometry.volume or write another format"
        )
    extra = [str(dim) for dim in da.dims if dim not in geometry.spatial_dims(da).values()]
    if extra or not {"y", "x"} <= set(geometry.spatial_dims(da)):
        raise WriteError(f"DICOM holds dims z, y, x, not {tuple(da.dims)}; select one volume first")
    geometry.check_grid(da)
    matrix = geometry.affine(da)
    unit = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    worst = float(np.abs(np.triu(unit.T @ unit, 1)).max())
    if worst > SHEAR:
        degrees = float(np.degrees(np.arcsin(min(worst, 1))))
        raise WriteError(
            f"the axes are sheared by {degrees:.3g} degrees; resample onto a straight grid first"
        )
    return matrix


def _planes(da: xr.DataArray) -> np.ndarray:
    """Voxels as (z, y, x)."""
    dims = geometry.spatial_dims(da)
    values = np.asarray(da.transpose(*dims.values()).values)
    if values.dtype.kind not in "iuf":
        raise WriteError(f"DICOM holds numbers, not {values.dtype}; convert the array first")
    return values if values.ndim == 3 else values[None]


def _modality(da: xr.DataArray, source: Scan | None) -> str:
    """CT or MR, of the source or else of the array."""
    stated = source.modality if source is not None else da.coords["volume_ref"].attrs.get("modality")
    if stated not in ("CT", "MR"):
        raise WriteError(
            f"a DICOM series can be written for CT and MR, not {stated or 'an unknown modality'}; "
            "write NIfTI or Zarr instead"
        )
    return str(stated)


def _fill(da: xr.DataArray) -> Any:
    """Value of invalid pixels, or None."""
    fill = da.attrs.get("_FillValue", da.encoding.get("_FillValue"))
    return None if fill is None or not np.isfinite(fill) else fill


def _sources(da: xr.DataArray, source: Scan | None, modality: str) -> list[SourceSlice]:
    """Source slices and their headers; none for a new series."""
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


def _write_file(header: Dataset, plane: np.ndarray, path: Path) -> None:
    """Write one slice with its file meta information."""
    header.Rows, header.Columns = plane.shape
    header.add_new(0x7FE00010, "OW", plane.tobytes())
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = header.SOPClassUID
    meta.MediaStorageSOPInstanceUID = header.SOPInstanceUID
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta = meta
    whole = BytesIO()
    dcmwrite(whole, header, enforce_file_format=True)
    path.write_bytes(whole.getbuffer())  # pydicom itself would lose the reason why a disk refuses
