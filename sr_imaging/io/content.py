"""What a file is by its first bytes, never by its name."""

import logging
import zlib
from pathlib import Path

# First bytes: JPEG 2000 as a file and as a bare stream, a virtual raster of GDAL; netCDF 3, and 4 in HDF5
_STARTS = {
    "raster": (b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51", b"<VRTDataset"),
    "netcdf": (b"CDF\1", b"CDF\2", b"CDF\5", b"\x89HDF\r\n\x1a\n"),
}
_log = logging.getLogger(__name__)
GZIP = b"\x1f\x8b"
_HEAD_BYTES = 540  # of a NIfTI-2 header, the longer one
# First elements of a data set without preamble: file meta information, or group 0008.
_FIRST_GROUPS = (b"\x02\x00", b"\x08\x00", b"\x00\x02", b"\x00\x08")
_DICOMDIR_CLASS = b"1.2.840.10008.1.3.10"  # Media Storage Directory Storage
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF, little and big endian
IMAGE_DRIVERS = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG"}  # of GDAL, by the first bytes
_MARKS = ("zarr.json", ".zgroup", ".zattrs", ".zmetadata")  # Zarr 3 and 2


def is_zip(path: Path) -> bool:
    """Tell a zip by its first bytes."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\3\4"


def kind_of(path: Path) -> str | None:
    """What a file is by its first bytes, or None."""
    try:
        head = first_bytes(path)
    except OSError as error:
        _log.warning("left out: %s", error)
        return None
    if head[128:132] == b"DICM":  # before TIFF: the preamble of a DICOM file may be a TIFF header
        return "dicom"
    if is_tiff(head):
        return "geotiff"
    if known := next((kind for kind, starts in _STARTS.items() if head.startswith(starts)), None):
        return known
    if is_nifti(head) or path.name.lower().endswith((".nii", ".nii.gz")):
        return "nifti"
    return "dicom" if is_dicom(path) else None


def is_image_file(path: Path) -> bool:
    """Tell a PNG or JPEG by its first bytes."""
    return is_image(first_bytes(path))


def is_nifti(head: bytes) -> bool:
    """Tell whether a file whose (decompressed) content starts with `head` is NIfTI-1 or NIfTI-2."""
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def first_bytes(path: Path) -> bytes:
    """The first bytes of a file's content, decompressed where it is gzip.

    Parameters
    ----------
    path : Path
        Any file.

    Returns
    -------
    bytes
        At most 540; what could be decompressed, where the file is damaged.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    if head[:2] != GZIP:
        return head[:_HEAD_BYTES]
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _HEAD_BYTES)
    except zlib.error:
        return b""


def is_dicom(path: Path) -> bool:
    """Tell by its content whether a file may be DICOM, without loading pydicom.

    Parameters
    ----------
    path : Path
        Any path; what cannot be opened is no DICOM.

    Returns
    -------
    bool
        True for the mark ``DICM`` after 128 bytes, or a data set that starts in group 0002 or 0008.
    """
    try:
        with Path(path).open("rb") as file:
            start = file.read(132)
    except OSError:
        return False
    return start[128:] == b"DICM" or _is_bare_dataset(start)


def is_dicomdir(path: Path) -> bool:
    """Tell an index of DICOM files by the class in its file meta information, without loading pydicom.

    Parameters
    ----------
    path : Path
        A file; what cannot be opened is none.

    Returns
    -------
    bool
        Whether its first bytes state the class Media Storage Directory.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(512)
    except OSError:
        return False
    return head[128:132] == b"DICM" and _DICOMDIR_CLASS in head


def _is_bare_dataset(start: bytes) -> bool:
    """Tell whether the bytes can be the first element of a data set without preamble."""
    if len(start) < 132 or start[:2] not in _FIRST_GROUPS:
        return False
    if start[4:6].isalpha() and start[4:6].isupper():
        return True
    # implicit VR: a short first element, followed by an element of the same group
    length = int.from_bytes(start[4:8], "little")
    return length <= 120 and length % 2 == 0 and start[8 + length : 10 + length] in (b"", start[:2])


def is_tiff(head: bytes) -> bool:
    """Tell whether a file that starts with `head` is a TIFF."""
    return head[:4] in _MAGIC


def is_image(head: bytes) -> bool:
    """Tell whether a file that starts with `head` is a PNG or JPEG."""
    return head.startswith(tuple(IMAGE_DRIVERS))


def is_zarr(path: Path) -> bool:
    """Tell whether a folder is the root of a Zarr store."""
    return any((path / mark).is_file() for mark in _MARKS)
