"""Pixels of DICOM files: decoded, cut to the stored bits, rescaled to modality values."""

from pathlib import Path
from typing import Any

import numpy as np
from pydicom import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.filereader import read_partial
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.processing import apply_modality_lut
from pydicom.pixels.utils import pixel_array
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGExtended12Bit

from sr_imaging.errors import ReadError
from sr_imaging.io.dicom.frame import BROKEN_FILE, NATIVE, PIXEL_DATA, Frame
from sr_imaging.io.dicom.quiet_pydicom import quiet_pydicom

from .rescale import ALLOCATED

__all__ = [
    "are_same_slices",
    "codec_problem",
    "modality_values",
    "native_slice",
    "open_pixels",
    "stored_values",
]


def codec_problem(frame: Frame) -> str:
    """Return which decoder a slice lacks, with the remedy; empty where it can be decoded."""
    if frame.transfer_syntax in NATIVE:
        return ""
    name = frame.transfer_syntax.name
    try:
        is_available = get_decoder(frame.transfer_syntax).is_available
    except (NotImplementedError, ValueError):
        return f"the transfer syntax {name} has no decoder; export the series uncompressed"
    if is_available:
        return ""
    return f"the series is compressed as {name}, which needs a codec; pip install 'sr-imaging[codecs]'"


class _AfterPixels:
    """A stop condition for pydicom: stop at the element that follows the pixel data."""

    def __init__(self) -> None:
        self.seen = False

    def __call__(self, tag: int, vr: str | None, length: int) -> bool:
        """Tell whether the pixel data has been read."""
        stop, self.seen = self.seen, self.seen or tag == PIXEL_DATA
        return stop


def open_pixels(path: Path) -> Dataset:
    """Return a file up to its pixel data; megabytes of zeros may follow it."""
    try:
        with quiet_pydicom(), path.open("rb") as file:
            return read_partial(file, _AfterPixels(), force=True)
    except BROKEN_FILE as error:
        what = f"{path} cannot be read ({type(error).__name__})"
        raise ReadError(f"{what}; restore the file or remove it") from error


def native_slice(frame: Frame) -> np.ndarray | None:
    """Return the (rows, columns) stored values of an uncompressed slice, read from their place in the file.

    None where the file has to be parsed for them.
    """
    dtype = _native_dtype(frame)
    is_plain = frame.transfer_syntax in (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
    if dtype is None or not (is_plain and frame.pixels_at) or frame.tiles or frame.has_lut:
        return None
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
    """Decode the pixel data of a file to stored values, (..., rows, columns), sign-extended.

    They are those of the frame alone, of all frames of an uncompressed file, or of all tiles of a mosaic.
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
            stored = _view_bytes(element.value, frame, int(dataset.get("NumberOfFrames") or 1))
            return _cut_into_tiles(stored, frame.tiles)
        with quiet_pydicom(), _PanicsAreErrors():
            if frame.transfer_syntax == JPEGExtended12Bit:
                _repair_scan_headers(dataset)
            dataset.file_meta.TransferSyntaxUID = frame.transfer_syntax  # may be absent in the file
            index = frame.index if frame.is_enhanced else None
            pixels = np.asarray(pixel_array(dataset, index=index))
            return _cut_into_tiles(_cut_bits(pixels, frame), frame.tiles)
    except BROKEN_FILE as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(
            f"{frame.path}: no decoder could read its pixel data ({frame.transfer_syntax.name}), which may "
            "be truncated or damaged; restore the file or export it uncompressed"
        ) from error


class _PanicsAreErrors:
    """A decoder in Rust (pylibjpeg-rle) panics on damaged data, which PyO3 does not raise as `Exception`."""

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Turn a panic into an error."""
        if kind is not None and kind.__module__ == "pyo3_runtime":
            raise ValueError(f"the decoder gave up: {error}") from error


def _cut_into_tiles(image: np.ndarray, tiles: int) -> np.ndarray:
    """Take a mosaic apart, (tiles², rows, columns), row by row; return any other image as it is."""
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


def _view_bytes(data: bytes, frame: Frame, frames: int) -> np.ndarray:
    """View uncompressed little-endian bytes as stored values of one frame or of several."""
    dtype = _native_dtype(frame)
    if dtype is None:
        raise ReadError(
            f"{frame.path} has {frame.bits[0]} bits allocated, not 8, 16 or 32; export it with 16 bits"
        )
    rows, columns = frame.stored_shape
    count = frames * rows * columns
    if len(data) < count * dtype.itemsize:
        raise ReadError(
            f"{frame.path} is truncated: {len(data)} of {count * dtype.itemsize} bytes of pixel data; "
            "restore the file"
        )
    shape = (rows, columns) if frames == 1 else (frames, rows, columns)
    return _cut_bits(np.frombuffer(data, dtype, count).reshape(shape), frame)


def _native_dtype(frame: Frame) -> np.dtype[Any] | None:
    """Return the dtype of uncompressed little-endian pixels; None where their bits cannot be decoded."""
    if frame.bits[0] not in ALLOCATED:
        return None
    return np.dtype(f"<{'i' if frame.signed else 'u'}{frame.bits[0] // 8}")


def _cut_bits(stored: np.ndarray, frame: Frame) -> np.ndarray:
    """Drop what lies outside the stored bits (old overlays) and extend the sign.

    Padding that does not fit the stored bits shows that the other bits hold values too: nothing is cut.
    """
    _, bits, high = frame.bits
    width = stored.dtype.itemsize * 8
    if bits >= width or stored.dtype.kind not in "iu" or not 0 < bits <= high + 1 <= width:
        return stored
    if frame.padding_value is not None and not _fits_in_bits(frame.padding_value, bits, signed=frame.signed):
        return stored
    return np.asarray(np.right_shift(np.left_shift(stored, width - high - 1), width - bits))


def _fits_in_bits(value: int, bits: int, *, signed: bool) -> bool:
    """Tell whether a number can be stored in `bits` bits."""
    low = -(1 << bits - 1) if signed else 0
    return low <= value < low + (1 << bits)


def modality_values(stored: np.ndarray, dataset: Dataset, frame: Frame) -> np.ndarray:
    """Map stored values to float64 modality values: by slope and intercept, or the slice's lookup table."""
    if not frame.has_lut:
        return np.asarray(stored * np.float64(frame.rescale[0]) + frame.rescale[1])
    try:
        return np.asarray(apply_modality_lut(stored, dataset), dtype=np.float64)
    except BROKEN_FILE as error:
        raise ReadError(f"{frame.path} has a damaged ModalityLUTSequence; restore the file") from error


def are_same_slices(a: Frame, b: Frame) -> bool:
    """Tell whether two slices have the same modality values; an unreadable one never has."""
    if a.rescale != b.rescale or a.has_lut or b.has_lut:
        return False
    try:
        first, second = (_read_slice(frame) for frame in (a, b))
    except ReadError:
        return False
    return np.array_equal(first, second)


def _read_slice(frame: Frame) -> np.ndarray:
    """Return the (rows, columns) stored values of one frame."""
    native = native_slice(frame)
    if native is not None:
        return native
    values = stored_values(open_pixels(frame.path), frame)
    return values if frame.index is None or values.ndim == 2 else values[frame.index]
