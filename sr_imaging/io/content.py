"""What a file is by its first bytes, never by its name."""

import logging
import zlib
from pathlib import Path

from .formats import FORMATS

_STARTS = {
    "geotiff": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),  # TIFF and BigTIFF, little and big endian
    # JPEG 2000 as a file and as a bare stream, a virtual raster of GDAL
    "raster": (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"<VRTDataset"),
    "netcdf": (b"CDF\1", b"CDF\2", b"CDF\5", b"\x89HDF\r\n\x1a\n"),  # 3, and 4 in HDF5
}
_IMAGE_DRIVERS = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG"}  # of GDAL
_GZIP = b"\x1f\x8b"
_HEAD_BYTES = 540  # of a NIfTI-2 header, the longer one
# First elements of a data set without preamble: file meta information, or group 0008
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")
_DICOMDIR_CLASS = b"1.2.840.10008.1.3.10"  # Media Storage Directory Storage
_ZARR_FILES = ("zarr.json", ".zgroup", ".zattrs", ".zmetadata")  # Zarr 3 and 2

_log = logging.getLogger(__name__)


def kind_of(path: Path) -> str | None:
    """Return the format of a file; None for other files, and for PNG and JPEG, which must be asked for."""
    try:
        head = first_bytes(path)
    except OSError as error:
        _log.warning("left out: %s", error)
        return None
    if head[128:132] == b"DICM":  # before TIFF: the preamble of a DICOM file may be a TIFF header
        return "dicom"
    if known := next((kind for kind, starts in _STARTS.items() if head.startswith(starts)), None):
        return known
    if nifti_mark(head) or path.name.lower().endswith(FORMATS["nifti"].suffixes):
        return "nifti"
    return "dicom" if is_dicom(path) else None


def first_bytes(path: Path) -> bytes:
    """Return at most 540 bytes, decompressed where the file is gzip; fewer where it is damaged."""
    with path.open("rb") as file:
        head = file.read(4096)
    if not head.startswith(_GZIP):
        return head[:_HEAD_BYTES]
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _HEAD_BYTES)
    except zlib.error:
        return b""


def image_driver(path: Path) -> str | None:
    """Return GDAL's driver of a PNG or JPEG; None for other files."""
    head = first_bytes(path)
    return next((name for start, name in _IMAGE_DRIVERS.items() if head.startswith(start)), None)


def nifti_mark(head: bytes) -> bytes:
    """Return NIfTI's mark in (decompressed) content: ``n+`` of one file or ``ni`` of a pair, and 1 or 2."""
    if head[4:8] in (b"n+2\0", b"ni2\0"):
        return head[4:8]
    return head[344:348] if head[344:348] in (b"n+1\0", b"ni1\0") else b""


def is_dicom(path: Path) -> bool:
    """Return whether a file may be DICOM: marked ``DICM``, or starting in group 0002 or 0008."""
    start = _read_start(path, 132)
    return start[128:] == b"DICM" or _is_bare_dataset(start)


def _is_bare_dataset(start: bytes) -> bool:
    """Return whether the bytes can be the first element of a data set without preamble."""
    if len(start) < 132 or start[:2] not in _FIRST_GROUPS:
        return False
    if start[4:6].isalpha() and start[4:6].isupper():
        return True
    # implicit VR: a short first element, followed by an element of the same group
    length = int.from_bytes(start[4:8], "little")
    return length <= 120 and length % 2 == 0 and start[8 + length : 10 + length] in (b"", start[:2])


def is_dicomdir(path: Path) -> bool:
    """Return whether a file is an index of DICOM files, by the class in its file meta information."""
    head = _read_start(path, 512)
    return head[128:132] == b"DICM" and _DICOMDIR_CLASS in head


def is_zip(path: Path) -> bool:
    """Return whether a file is a zip."""
    return _read_start(path, 4) == b"PK\3\4"


def is_gzip(path: Path) -> bool:
    """Return whether a file is compressed by gzip."""
    with path.open("rb") as file:
        return file.read(2) == _GZIP


def _read_start(path: Path, count: int) -> bytes:
    """Return the first bytes as they stand in the file; none where it cannot be opened."""
    try:
        with Path(path).open("rb") as file:
            return file.read(count)
    except OSError:
        return b""


def is_zarr(path: Path) -> bool:
    """Return whether a folder is the root of a Zarr store."""
    return any((path / name).is_file() for name in _ZARR_FILES)
