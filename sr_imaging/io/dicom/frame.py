"""What is known of one slice: plain numbers and texts of its header, and no patient data."""

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

__all__ = ["BROKEN_FILE", "NATIVE", "PIXEL_DATA", "Frame", "LeftOutError", "StopAfter"]

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)

PIXEL_DATA = 0x7FE00010
UNDEFINED = 0xFFFFFFFF  # length of an element that ends with a delimiter

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
    """A file that is no slice of any series; the message is the reason.

    Parameters
    ----------
    reason : str
        Why, and after a semicolon the remedy.
    series_uid : str
        SeriesInstanceUID of the file where it could be read.
    """

    def __init__(self, reason: str, series_uid: str = "") -> None:
        super().__init__(reason)
        self.series_uid = series_uid


class StopAfter:
    """Stop condition for pydicom: the first element after a tag, whose place in the file it keeps.

    Parameters
    ----------
    file : binary file
        The file that pydicom reads.
    last : int
        The last tag to read.
    """

    def __init__(self, file: BinaryIO, last: int) -> None:
        self._file, self._last = file, last
        self._pixels_at, self._length = 0, 0

    def __call__(self, tag: int, vr: str | None, length: int) -> bool:
        """Tell whether to stop; where the pixels are next, keep the byte at which they begin."""
        stop = tag > self._last
        if stop and tag == PIXEL_DATA:
            self._pixels_at, self._length = self._file.tell(), length
        return stop

    def pixels_at(self, frame: "Frame", count: int = 1) -> int:
        """Where the uncompressed pixels of `count` frames begin; 0 where they are not known to be whole."""
        needed = frame.rows * frame.columns * frame.bits[0] // 8 * count
        return self._pixels_at if needed <= self._length < UNDEFINED else 0


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One slice: a single-frame file, or one frame of an enhanced file. Lengths in mm, axes in LPS.

    Parameters
    ----------
    path : Path
        The file.
    rows, columns : int
        Matrix.
    position : (3,) ndarray, optional
        ImagePositionPatient: centre of the first pixel.
    orientation : (6,) ndarray, optional
        ImageOrientationPatient: direction along a row (x), then down a column (y).
    pixel_spacing : (float, float), optional
        Between rows (y), between columns (x).
    rescale : (float, float)
        Slope and intercept to modality values; (1, 0) where they are absent or faulty.
    padding : (int, int), optional
        Lowest and highest stored value that means no data.
    padding_value : int, optional
        PixelPaddingValue as stored.
    has_rescale : bool
        Whether slope or intercept are stated.
    rescale_fault : str
        What is wrong with them, without their values; empty where nothing is.
    patient : str
        Hash of PatientID, which tells patients apart and is shown nowhere; empty where it is absent.
    keys : dict
        Texts of the attributes that may tell contrasts apart.
    """

    path: Path
    rows: int
    columns: int
    position: np.ndarray | None
    orientation: np.ndarray | None
    pixel_spacing: tuple[float, float] | None
    thickness: float | None
    slice_gap: float | None
    rescale: tuple[float, float]
    has_lut: bool
    padding: tuple[int, int] | None
    padding_value: int | None
    bits: tuple[int, int, int]  # allocated, stored, high bit
    signed: bool
    transfer_syntax: UID
    sop_class: str
    sop_instance: str
    patient: str
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
    index: int | None = None
    pixels_at: int = 0  # byte of the file where uncompressed pixels of all its frames begin; 0 if unknown
    has_rescale: bool = True
    rescale_fault: str = ""
    tiles: int = 0  # a side of the mosaic that the slice is a tile of; 0 where it is none
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """File name, with the frame's number where the file has several."""
        return self.path.name if self.index is None else f"{self.path.name} frame {self.index + 1}"

    @property
    def is_enhanced(self) -> bool:
        """Whether the frame is one of many in an enhanced file."""
        return self.index is not None and not self.tiles

    @property
    def stored_shape(self) -> tuple[int, int]:
        """Rows and columns of the image as stored: of the whole mosaic where the slice is a tile."""
        return self.rows * max(self.tiles, 1), self.columns * max(self.tiles, 1)
