"""What is known of one slice: numbers and texts of its header, and no patient data."""

import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import numpy as np
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

__all__ = ["BROKEN_FILE", "NATIVE", "PIXEL_DATA", "UNDEFINED", "Frame", "LeftOutError", "StopAfter"]

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)

PIXEL_DATA = 0x7FE00010
UNDEFINED = 0xFFFFFFFF  # length of an element or a sequence that ends with a delimiter

# What pydicom raises on junk, depending on where the junk is.
BROKEN_FILE = (
    ArithmeticError,
    AttributeError,
    BytesLengthException,
    EOFError,
    InvalidDicomError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


class LeftOutError(Exception):
    """A file that is not a slice of any series: the reason with its remedy, and its series where known."""

    def __init__(self, reason: str, series_uid: str = "") -> None:
        super().__init__(reason)
        self.series_uid = series_uid


class StopAfter:
    """A stop condition for pydicom: stop at the first element after the tag `last`."""

    def __init__(self, file: BinaryIO, last: int) -> None:
        self._file, self._last = file, last
        self._pixels_at, self._length = 0, 0

    def __call__(self, tag: int, vr: str | None, length: int) -> bool:
        """Tell whether to stop; where pixels come next, remember the byte at which they begin."""
        stop = tag > self._last
        if stop and tag == PIXEL_DATA:
            self._pixels_at, self._length = self._file.tell(), length
        return stop

    def pixels_at(self, frame: "Frame", count: int = 1) -> int:
        """Return the byte at which the uncompressed pixels of `count` frames begin; 0 if they may be cut."""
        needed = frame.rows * frame.columns * frame.bits[0] // 8 * count
        return self._pixels_at if needed <= self._length < UNDEFINED else 0


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One slice: a single-frame file, or one frame of an enhanced file. Lengths in mm, directions in LPS."""

    path: Path
    rows: int
    columns: int
    position: np.ndarray | None  # (3,) ImagePositionPatient: centre of the first pixel
    orientation: np.ndarray | None  # (6,) ImageOrientationPatient: along a row (x), then down a column (y)
    pixel_spacing: tuple[float, float] | None  # between rows (y), between columns (x)
    thickness: float | None
    slice_gap: float | None  # SpacingBetweenSlices
    rescale: tuple[float, float]  # slope and intercept to modality values; (1, 0) where absent or faulty
    has_lut: bool
    padding: tuple[int, int] | None  # lowest and highest stored value that means no data
    padding_value: int | None  # PixelPaddingValue as stored
    bits: tuple[int, int, int]  # allocated, stored, high bit
    signed: bool
    transfer_syntax: UID
    sop_class: str
    sop_instance: str
    patient: str  # hash of PatientID, shown nowhere; empty where it is absent
    study_uid: str
    series_uid: str
    series_number: str
    instance_number: str
    frame_of_reference: str
    modality: str
    image_type: tuple[str, ...]
    photometric: str
    rescale_type: str
    units: str
    index: int | None = None  # of the frame in its file, from 0; None in a single-frame file
    pixels_at: int = 0  # byte of the file where uncompressed pixels of all its frames begin; 0 if unknown
    has_rescale: bool = True  # whether the file has a slope or an intercept
    rescale_fault: str = ""  # what is wrong with them, without their values
    tiles: int = 0  # tiles along a side of the mosaic that holds the slice; 0 outside a mosaic
    keys: dict[str, str] = field(default_factory=dict)  # attributes that may tell contrasts apart

    @property
    def name(self) -> str:
        """The file name, with the frame's number where the file has several."""
        return self.path.name if self.index is None else f"{self.path.name} frame {self.index + 1}"

    @property
    def is_enhanced(self) -> bool:
        """Whether the frame is one of many in an enhanced file."""
        return self.index is not None and not self.tiles

    @property
    def stored_shape(self) -> tuple[int, int]:
        """Rows and columns of the image as stored: of the whole mosaic where the slice is a tile."""
        return self.rows * max(self.tiles, 1), self.columns * max(self.tiles, 1)
