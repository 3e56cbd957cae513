"""A DataArray becomes a derived CT or MR series: single-frame files in Explicit VR Little Endian."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from sr_imaging.errors import WriteError
from sr_imaging.io.dicom.quiet_pydicom import quiet_pydicom
from sr_imaging.io.scan import Scan

from .deidentify import anonymous_array, anonymous_sources
from .encoding import choose_encoding, encode
from .series_header import SeriesFacts
from .source import source_slices, volume_matrix, volume_planes

__all__ = ["write_series"]


def write_series(da: xr.DataArray, folder: Path, source: Scan | None, *, deidentify: bool = False) -> None:
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
    deidentify : bool
        Leave out what may identify the patient, dates included, and replace identifiers.

    Raises
    ------
    WriteError
        If the array is no volume in patient space, its modality is neither CT nor MR, or the source cannot
        be read, lies in another frame of reference, or cannot be de-identified.
    """
    matrix = volume_matrix(da)
    values = volume_planes(da)
    modality = _modality(da, source)
    fill = _fill(da)
    with quiet_pydicom():
        sources = source_slices(da, source, modality)
        if deidentify:
            da, sources = anonymous_array(da), anonymous_sources(sources)
        encoding = choose_encoding(values, fill, [item.frame for item in sources])
        planes = [encode(plane, encoding, fill) for plane in values]
        facts = SeriesFacts(
            da,
            matrix=matrix,
            modality=modality,
            encoding=encoding,
            sources=sources,
            planes=planes,
            dated=not deidentify,
        )
        folder.mkdir(parents=True, exist_ok=True)
        for index, plane in enumerate(planes):
            _write_file(facts.header(index), plane, folder / f"IM_{index + 1:04d}.dcm")


def _modality(da: xr.DataArray, source: Scan | None) -> str:
    """CT or MR, of the source or else of the array."""
    stated = source.modality if source is not None else da.coords["volume_ref"].attrs.get("modality")
    if stated not in ("CT", "MR"):
        raise WriteError(
            f"a DICOM series can be written for CT and MR, not {stated or 'an unknown modality'}; "
            "write a parametric map, NIfTI or Zarr instead"
        )
    return str(stated)


def _fill(da: xr.DataArray) -> Any:
    """Value of invalid pixels, or None."""
    fill = da.attrs.get("_FillValue", da.encoding.get("_FillValue"))
    return None if fill is None or not np.isfinite(fill) else fill


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
