"""Siemens mosaics: one image holds the slices of a volume as tiles, which its private header describes.

The format is described in nibabel's documentation of the Siemens mosaic and CSA formats (M. Brett et al.):
``ImagePositionPatient`` places the corner of the whole mosaic as if it were one large slice around the centre
of the first one, and ``SliceNormalVector`` of the CSA header says which way the tiles go.
"""

import struct
from dataclasses import replace
from math import ceil, sqrt
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread

from sr_imaging.io.dicom.frame import BROKEN_FILE, Frame, LeftOutError
from sr_imaging.io.dicom.slice_positions import slice_normal

__all__ = ["mosaic_frames"]

PARALLEL = 1e-3  # deviation of the stated slice normal from the one of the rows and columns
CSA_CREATOR, CSA_IMAGE = "SIEMENS CSA HEADER", 0x10


def mosaic_frames(path: Path, base: Frame) -> list[Frame]:
    """Return the frames of a mosaic's tiles in their order; `base` is the header of the whole mosaic.

    A header that does not say for certain how many tiles there are, or where they lie, is a `LeftOutError`.
    """
    try:
        csa = _parse_csa(_read_csa(dcmread(path, stop_before_pixels=True, force=True)))
    except BROKEN_FILE:
        csa = {}
    count = int(csa.get("NumberOfImagesInMosaic", [0])[0])
    along = np.array(csa.get("SliceNormalVector", []))
    tiles = ceil(sqrt(max(count, 1)))
    doubt = _explain_doubt(base, count, tiles, along)
    if doubt:
        what = f"Siemens mosaic of {base.rows} by {base.columns} pixels{doubt}"
        raise LeftOutError(f"{what}; convert it to single slices or NIfTI first", base.series_uid)
    normal = slice_normal(base)
    step = np.copysign(abs(base.slice_gap or 0), along @ normal) * normal
    return _make_tiles(base, count, tiles, step)


def _explain_doubt(base: Frame, count: int, tiles: int, along: np.ndarray) -> str:
    """Return why the place of the tiles is not certain; empty where it is."""
    if count < 1 or along.shape != (3,):
        return " whose private header does not say how many slices it tiles, and which way they go"
    if base.rows % tiles or base.columns % tiles:
        return f", which {tiles} by {tiles} tiles of {count} slices do not divide"
    if base.position is None or base.orientation is None or base.pixel_spacing is None or not base.slice_gap:
        return " without position, orientation, PixelSpacing or SpacingBetweenSlices"
    off = np.linalg.norm(np.cross(along, slice_normal(base)))
    if off > PARALLEL or abs(np.linalg.norm(along) - 1) > PARALLEL:
        return f" whose slices go along {along.round(3).tolist()}, off the normal of its rows"
    return ""


def _make_tiles(base: Frame, count: int, tiles: int, step: np.ndarray) -> list[Frame]:
    """Return a frame for each tile; the first lies in the middle of the stated place of the mosaic."""
    if base.position is None or base.orientation is None or base.pixel_spacing is None:
        raise ValueError("a mosaic without geometry cannot be taken apart")
    rows, columns = base.rows // tiles, base.columns // tiles
    down = base.orientation[3:] * base.pixel_spacing[0] * (base.rows - rows) / 2
    right = base.orientation[:3] * base.pixel_spacing[1] * (base.columns - columns) / 2
    first = base.position + down + right
    return [
        replace(base, rows=rows, columns=columns, index=k, tiles=tiles, position=first + k * step)
        for k in range(count)
    ]


def _read_csa(dataset: Dataset) -> bytes:
    """Return the CSA image header of a file; empty where it has none."""
    try:
        value = dataset.private_block(0x0029, CSA_CREATOR)[CSA_IMAGE].value
    except KeyError:
        return b""
    return value if isinstance(value, bytes) else b""


def _parse_csa(data: bytes) -> dict[str, list[float]]:
    """Return the numeric elements of a CSA header of the second version, ``SV10``; none of others."""
    if data[:4] != b"SV10":
        return {}
    (count,) = struct.unpack_from("<I", data, 8)
    found: dict[str, list[float]] = {}
    at = 16
    for _ in range(min(count, 1000)):  # real headers have about a hundred
        name, vr, items = struct.unpack_from("<64s4x4s4xi4x", data, at)
        at += 84
        values = []
        for _ in range(max(0, items)):
            (length,) = struct.unpack_from("<4xi8x", data, at)
            if length < 0 or at + 16 + length > len(data):
                raise ValueError("a CSA header is cut short")
            values.append(data[at + 16 : at + 16 + length].split(b"\0")[0].strip())
            at += 16 + -(-length // 4) * 4
        if vr[:2] in (b"US", b"FD", b"IS", b"DS", b"UL", b"SL"):
            key = name.split(b"\0")[0].decode("latin-1")
            found[key] = [float(value) for value in values if value]
    return found
