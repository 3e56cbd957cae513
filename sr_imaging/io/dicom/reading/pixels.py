"""Pixels of DICOM files: decoded, cut to the stored bits, rescaled to modality values."""

from pathlib import Path

import numpy as np
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filereader import read_partial
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGExtended12Bit,
)

from sr_imaging.errors import ReadError
from sr_imaging.io.dicom.frame import BROKEN_FILE, NATIVE, PIXEL_DATA, Frame
from sr_imaging.io.dicom.quiet_pydicom import quiet_pydicom

__all__ = [
    "are_same_slices",
    "codec_problem",
    "modality_lut",
    "native_slice",
    "open_pixels",
    "stored_values",
]


def codec_problem(frame: Frame) -> str:
    """Say which decoder is missing for a slice; empty where it can be decoded.

    Parameters
    ----------
    frame : Frame
        A slice of any transfer syntax.

    Returns
    -------
    str
        The reason with the package extra that brings the decoder, or nothing.
    """
    if frame.transfer_syntax in NATIVE:
        return ""
    try:
        is_available = get_decoder(frame.transfer_syntax).is_available
    except (NotImplementedError, ValueError):
        name = frame.transfer_syntax.name
        return f"the transfer syntax {name} has no decoder; export the series uncompressed"
    if is_available:
        return ""
    name = frame.transfer_syntax.name
    return f"the series is compressed as {name}, which needs a codec; pip install 'sr-imaging[codecs]'"


class _AfterPixels:
    """Stop condition for pydicom: the element that follows the pixel data."""

    def __init__(self) -> None:
        self.seen = False

    def __call__(self, tag: int, vr: str | None, length: int) -> bool:
        """Tell whether the pixel data has been read."""
        stop, self.seen = self.seen, self.seen or tag == PIXEL_DATA
        return stop


def open_pixels(path: Path) -> Dataset:
    """Read a file with its pixel data.

    Parameters
    ----------
    path : Path
        A DICOM file.

    Returns
    -------
    Dataset
        Everything up to the pixel data; megabytes of zeros may follow it.

    Raises
    ------
    ReadError
        If the file cannot be opened or parsed.
    """
    try:
        with quiet_pydicom(), path.open("rb") as file:
            return read_partial(file, _AfterPixels(), force=True)
    except BROKEN_FILE as error:
        raise ReadError(
            f"{path} cannot be read ({type(error).__name__}); restore the file or remove it"
        ) from error


def native_slice(frame: Frame) -> np.ndarray | None:
    """Read the uncompressed pixels of one slice from their place in the file, and nothing else of it.

    Parameters
    ----------
    frame : Frame
        A slice of any kind.

    Returns
    -------
    (rows, columns) integer ndarray or None
        Stored values, as :func:`stored_values` gives them; None where the file has to be parsed for them.

    Raises
    ------
    ReadError
        If the file ends before its pixels do, or cannot be opened.
    """
    allocated = frame.bits[0]
    easy = frame.transfer_syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
    if not (easy and frame.pixels_at and allocated in (8, 16, 32)) or frame.tiles or frame.has_lut:
        return None
    dtype = np.dtype(f"<{'i' if frame.signed else 'u'}{allocated // 8}")
    count = frame.rows * frame.columns
    try:
        with frame.path.open("rb") as file:
            file.seek(frame.pixels_at + (frame.index or 0) * count * dtype.itemsize)
            pixels = np.fromfile(file, dtype, count)
    except OSError as error:
        raise ReadError(f"{frame.path} cannot be read: {error.strerror}; restore the file") from error
    if pixels.size < count:
        raise ReadError(
            f"{frame.path} is truncated: {pixels.size} of {count} pixels of {frame.name}; restore the file"
        )
    return _cut_bits(pixels.reshape(frame.rows, frame.columns), frame)


def stored_values(dataset: Dataset, frame: Frame) -> np.ndarray:
    """Decode one file to stored values.

    Parameters
    ----------
    dataset : Dataset
        The file with its pixel data.
    frame : Frame
        What its header says.

    Returns
    -------
    (..., rows, columns) integer ndarray
        Stored values, sign-extended from the stored bits: of the frame alone, of all frames where they are
        uncompressed in a file of several, or of all tiles of a mosaic.

    Raises
    ------
    ReadError
        If pixel data is absent, truncated or damaged, or its decoder is missing; the file is named.
    """
    missing = codec_problem(frame)
    if missing:
        raise ReadError(f"{frame.path}: {missing}")
    try:
        element = dataset.get_item(PIXEL_DATA) if PIXEL_DATA in dataset else None
        if element is None or not element.value:
            raise ReadError(
                f"{frame.path} has no pixel data, or it is truncated; restore the file or remove it"
            )
        if frame.transfer_syntax in NATIVE and frame.transfer_syntax != ExplicitVRBigEndian:
            return _untiled(
                _from_bytes(element.value, frame, int(dataset.get("NumberOfFrames") or 1)), frame.tiles
            )
        with quiet_pydicom(), _PanicsAreErrors():
            if frame.transfer_syntax == JPEGExtended12Bit:
                _repair_scan_headers(dataset)
            dataset.file_meta.TransferSyntaxUID = frame.transfer_syntax  # may be absent in the file
            index = frame.index if frame.is_enhanced else None
            pixels = np.asarray(pixel_array(dataset, index=index))
            return _untiled(_cut_bits(pixels, frame), frame.tiles)
    except BROKEN_FILE as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(
            f"{frame.path}: no decoder could read its pixel data ({frame.transfer_syntax.name}), which may "
            "be truncated or damaged; restore the file or export it uncompressed"
        ) from error


class _PanicsAreErrors:
    """A decoder in Rust (pylibjpeg-rle) panics on damaged data; PyO3 makes that no `Exception`."""

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Turn a panic into an error."""
        if kind is not None and kind.__module__ == "pyo3_runtime":
            raise ValueError(f"the decoder gave up: {error}") from error


def _untiled(image: np.ndarray, tiles: int) -> np.ndarray:
    """Take a mosaic apart: (tiles², rows, columns), row by row; any other image is left as it is."""
    if not tiles:
        return image
    rows, columns = (size // tiles for size in image.shape)
    cut = image.reshape(tiles, rows, tiles, columns).swapaxes(1, 2)
    return cut.reshape(tiles * tiles, rows, columns)


def _repair_scan_headers(dataset: Dataset) -> None:
    """Set the spectral selection of sequential JPEG scans, which some writers leave 0 and libjpeg refuses.

    A scan of the sequential mode always covers the coefficients 0 to 63 (ISO 10918-1 table B.3).
    """
    frames = []
    for data in generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1)):
        start = data.find(b"\xff\xda")
        end = start + 2 + int.from_bytes(data[start + 2 : start + 4], "big")
        is_wrong = start >= 0 and data[end - 3 : end] == b"\0\0\0"
        frames.append(data[: end - 3] + b"\x00\x3f\x00" + data[end:] if is_wrong else data)
    dataset.PixelData = encapsulate(frames)


def _from_bytes(data: bytes, frame: Frame, frames: int) -> np.ndarray:
    """View uncompressed little-endian bytes as pixels."""
    allocated = frame.bits[0]
    if allocated not in (8, 16, 32):
        raise ReadError(
            f"{frame.path} has {allocated} bits allocated, not 8, 16 or 32; export it with 16 bits"
        )
    dtype = np.dtype(f"<{'i' if frame.signed else 'u'}{allocated // 8}")
    rows, columns = frame.stored_shape
    count = frames * rows * columns
    if len(data) < count * dtype.itemsize:
        raise ReadError(
            f"{frame.path} is truncated: {len(data)} of {count * dtype.itemsize} bytes of pixel data; "
            "restore the file"
        )
    shape = (rows, columns) if frames == 1 else (frames, rows, columns)
    return _cut_bits(np.frombuffer(data, dtype, count).reshape(shape), frame)


def _cut_bits(stored: np.ndarray, frame: Frame) -> np.ndarray:
    """Drop what lies outside the stored bits (old overlays) and extend the sign.

    Padding that does not fit the stored bits says that the other bits are values as well: nothing is cut.
    """
    _, bits, high = frame.bits
    width = stored.dtype.itemsize * 8
    if bits >= width or stored.dtype.kind not in "iu" or not 0 < bits <= high + 1 <= width:
        return stored
    if frame.padding_value is not None and not _fits(frame.padding_value, bits, signed=frame.signed):
        return stored
    return np.asarray(np.right_shift(np.left_shift(stored, width - high - 1), width - bits))


def _fits(value: int, bits: int, *, signed: bool) -> bool:
    """Tell whether a number can be stored in so many bits."""
    low = -(1 << bits - 1) if signed else 0
    return low <= value < low + (1 << bits)


def modality_lut(stored: np.ndarray, dataset: Dataset, frame: Frame) -> np.ndarray:
    """Map stored values to modality values in float: rescale, or the slice's lookup table.

    Parameters
    ----------
    stored : (rows, columns) integer ndarray
        Stored values.
    dataset : Dataset
        The file, for its lookup table.
    frame : Frame
        What its header says.

    Returns
    -------
    (rows, columns) float64 ndarray
        Modality values.

    Raises
    ------
    ReadError
        If the lookup table is damaged.
    """
    if not frame.has_lut:
        return np.asarray(stored * np.float64(frame.rescale[0]) + frame.rescale[1])
    try:
        return np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)
    except BROKEN_FILE as error:
        raise ReadError(f"{frame.path} has a damaged ModalityLUTSequence; restore the file") from error


def are_same_slices(a: Frame, b: Frame) -> bool:
    """Tell whether two slices hold the same modality values; unreadable ones do not.

    Parameters
    ----------
    a, b : Frame
        Two slices at one position.

    Returns
    -------
    bool
        True where scaling and all pixels are equal.
    """
    if a.rescale != b.rescale or a.has_lut or b.has_lut:
        return False
    try:
        first, second = (_one(frame) for frame in (a, b))
    except ReadError:
        return False
    return np.array_equal(first, second)


def _one(frame: Frame) -> np.ndarray:
    """Decode the slice of one frame."""
    native = native_slice(frame)
    if native is not None:
        return native
    values = stored_values(open_pixels(frame.path), frame)
    return values if frame.index is None or values.ndim == 2 else values[frame.index]
