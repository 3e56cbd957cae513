"""A DataArray becomes a derived CT or MR series: single-frame files in Explicit VR Little Endian."""

from io import BytesIO
from pathlib import Path

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
from .source import fill_value, source_slices, volume_matrix, volume_planes

__all__ = ["write_series"]


def write_series(da: xr.DataArray, folder: Path, source: Scan | None, *, deidentify: bool = False) -> None:
    """Write a volume with a ``volume_ref`` as a new DICOM series, one file a slice: ``IM_0001.dcm`` and on.

    The series keeps patient, study and acquisition of its source; without one it is minimal. `deidentify`
    leaves out what may identify the patient, dates included, and replaces identifiers. Raises WriteError if
    the array is not a volume in patient space, its modality is neither CT nor MR, or the source cannot be
    read, lies in another frame of reference, or cannot be de-identified.
    """
    matrix = volume_matrix(da)
    values = volume_planes(da)
    modality = _require_modality(da, source)
    fill = fill_value(da)
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


def _require_modality(da: xr.DataArray, source: Scan | None) -> str:
    """Return CT or MR, as the source or else the array states."""
    stated = source.modality if source is not None else da.coords["volume_ref"].attrs.get("modality")
    if stated not in ("CT", "MR"):
        raise WriteError(
            f"a DICOM series can be written for CT and MR, not {stated or 'an unknown modality'}; "
            "write a parametric map, NIfTI or Zarr instead"
        )
    return str(stated)


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
    path.write_bytes(whole.getbuffer())  # pydicom itself would lose the reason why a disk refused it
