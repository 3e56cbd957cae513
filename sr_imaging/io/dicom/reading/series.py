"""A DICOM series with a good verdict becomes a DataArray of modality values, placed in patient space."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from pydicom import Dataset

from sr_imaging import __version__
from sr_imaging.errors import ReadError
from sr_imaging.image.grid.volumes import volume
from sr_imaging.io.dicom.frame import Frame, LeftOutError
from sr_imaging.io.dicom.quiet_pydicom import quiet_pydicom
from sr_imaging.io.scan import Scan

from .grouping import group_frames
from .headers import read_frames
from .pixels import are_same_slices, modality_values, native_slice, open_pixels, stored_values
from .placement import Placement, place_slices
from .repair import repaired_values

__all__ = ["load_placement", "read_series"]

# Candidates for whole modality values, in order of preference.
_DTYPES = tuple(np.dtype(name) for name in ("int16", "uint16", "int32", "uint32", "int64"))


def read_series(scan: Scan) -> xr.DataArray:
    """Return the (z, y, x) modality values of a scan, placed in mm; z ascends along row × column direction.

    Integers where slope and intercept are whole and the same in all slices, else float32. ``_FillValue``
    marks padding (NaN where slices have lookup tables), ``units`` are those stated or implied, ``history``
    names what was interpolated. A bad verdict, or a file that has changed since, is a `ReadError`.
    """
    if not scan.verdict.ok:
        raise ReadError(f"{scan.path}: {scan.verdict.reason}")
    placement = load_placement(scan)
    if placement.matrix is None:
        raise ReadError(f"{scan.path}: {placement.reason}")
    values, fill = _decode_slices(placement.frames)
    if placement.repair is not None:
        values, fill = repaired_values(values, fill, placement.repair)
    first = placement.frames[0]
    attrs: dict[str, Any] = {} if fill is None or np.isnan(fill) else {"_FillValue": fill}
    if placement.repair is not None:
        attrs["history"] = _history_line(placement.repair.notes)
    units = {_find_unit(frame) for frame in placement.frames}
    if len(units) == 1 and "" not in units:
        attrs["units"] = units.pop()
    return volume(
        values,
        placement.matrix,
        spacing=placement.spacing,
        name=first.modality or None,
        attrs=attrs,
        reference={
            "slice_thickness": first.thickness,
            "frame_of_reference_uid": first.frame_of_reference or None,
            "modality": first.modality or None,
        },
    )


def load_placement(scan: Scan) -> Placement:
    """Read the headers of a scan's files again and place its slices; a changed folder is a `ReadError`."""
    frames: list[Frame] = []
    with quiet_pydicom():
        for path in sorted(scan.files):  # as they were found, or slices near a tolerance group differently
            try:
                frames += read_frames(path)
            except LeftOutError as error:
                raise ReadError(f"{path}: {error}, or scan the folder again without it") from error
        split = scan.facts.get("split", "")
        groups = group_frames(frames)
        fitting = [group for group in groups if ", ".join(group.split) == split] or groups
        if len(groups) > 1 and len(fitting) != 1:
            raise ReadError(f"{scan.path} holds {len(groups)} groups of slices; scan the folder again")
        return place_slices(fitting[0].frames, are_same_slices, policies=scan.facts.get("policies", ()))


def _history_line(notes: Sequence[str]) -> str:
    """Return a line after the CF conventions, as `sr_imaging.upscale` adds them."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    return f"{now} sr_imaging {__version__}: read; {'; '.join(notes)}"


def _decode_slices(frames: Sequence[Frame]) -> tuple[np.ndarray, Any]:
    """Return the (z, y, x) modality values of all slices, and the value of padding or None."""
    frames = _share_padding(frames)
    pairs = {frame.rescale for frame in frames}
    is_whole = len(pairs) == 1 and all(float(v).is_integer() for v in frames[0].rescale)
    if is_whole and not any(frame.has_lut for frame in frames):
        return _read_integers(frames)
    return _read_floats(frames)


def _share_padding(frames: Sequence[Frame]) -> list[Frame]:
    """Let slices without padding take it from the first that has it; a value no pixel can have is none."""
    value = next((frame.padding_value for frame in frames if _has_padding(frame)), None)
    pair = None if value is None else (value, value)
    return [
        frame if _has_padding(frame) else replace(frame, padding=pair, padding_value=value)
        for frame in frames
    ]


def _read_integers(frames: Sequence[Frame]) -> tuple[np.ndarray, Any]:
    """Return modality values as integers, rescaled in place, and the value of padding."""
    slope, intercept = (int(v) for v in frames[0].rescale)
    stored: np.ndarray | None = None
    padding = frames[0].padding_value
    for k, (frame, _, pixels) in enumerate(_iterate_slices(frames)):
        plane = _unify_padding(pixels, frame, padding)
        if stored is None:
            stored = np.empty((len(frames), frame.rows, frame.columns), plane.dtype)
        if not np.can_cast(plane.dtype, stored.dtype, "safe"):
            stored = stored.astype(np.result_type(stored, plane))
        stored[k] = plane
    if stored is None:
        raise ReadError("the series has no slices; scan the folder again")
    ends = sorted(int(v) * slope + intercept for v in (stored.min(), stored.max()))
    fill = None if padding is None else padding * slope + intercept
    dtype = _smallest_integer(ends if fill is None else [*ends, fill], frames[0])
    values = _rescale_in_place(stored, slope, intercept, dtype)
    return values, None if fill is None else dtype.type(fill)


def _has_padding(frame: Frame) -> bool:
    """Tell whether a slice has padding that one of its pixels can equal."""
    info = np.iinfo(f"{'i' if frame.signed else 'u'}{max(frame.bits[0], 8) // 8}")
    return frame.padding_value is not None and int(info.min) <= frame.padding_value <= int(info.max)


def _smallest_integer(values: list[int], frame: Frame) -> np.dtype[Any]:
    """Return the smallest integer type for the values; eight bits only for files of eight bits."""
    small = (np.dtype("uint8"), np.dtype("int8")) if frame.bits[0] == 8 and frame.rescale == (1, 0) else ()
    for dtype in (*small, *_DTYPES):
        if np.iinfo(dtype).min <= min(values) and max(values) <= np.iinfo(dtype).max:
            return dtype
    raise ReadError(f"{frame.path} has modality values beyond 64 bits; check its RescaleSlope")


def _rescale_in_place(stored: np.ndarray, slope: int, intercept: int, dtype: np.dtype[Any]) -> np.ndarray:
    """Rescale without a second volume where sizes agree: modulo 2^16 is exact where the result fits."""
    if (slope, intercept) == (1, 0):
        return stored.astype(dtype, copy=False)
    if stored.itemsize != dtype.itemsize:
        stored = stored.astype(dtype)
    unsigned = stored.view(f"u{dtype.itemsize}")
    modulus = 1 << 8 * dtype.itemsize
    np.multiply(unsigned, unsigned.dtype.type(slope % modulus), out=unsigned)
    np.add(unsigned, unsigned.dtype.type(intercept % modulus), out=unsigned)
    return unsigned.view(dtype)


def _read_floats(frames: Sequence[Frame]) -> tuple[np.ndarray, Any]:
    """Return modality values as float32, each slice by its own scaling or lookup table, and the padding.

    Padding is NaN where a table could map a pixel to the same value.
    """
    values = np.empty((len(frames), frames[0].rows, frames[0].columns), np.float32)
    padding = frames[0].padding_value
    fill: Any = None
    if padding is not None:
        has_lut = any(frame.has_lut for frame in frames)
        fill = np.float32(np.nan if has_lut else padding * frames[0].rescale[0] + frames[0].rescale[1])
    for k, (frame, dataset, pixels) in enumerate(_iterate_slices(frames)):
        values[k] = modality_values(pixels, dataset, frame)
        if fill is not None and frame.padding is not None:
            values[k][(pixels >= frame.padding[0]) & (pixels <= frame.padding[1])] = fill
    return values, fill


def _iterate_slices(frames: Sequence[Frame]) -> Iterator[tuple[Frame, Dataset, np.ndarray]]:
    """Yield frame, file and stored pixels of every slice, holding no more than one file or slice."""
    held: tuple[Path, Dataset, np.ndarray | None] | None = None
    for frame in frames:
        dataset, pixels = Dataset(), native_slice(frame)
        if pixels is None:
            if held is None or held[0] != frame.path:
                held = (frame.path, open_pixels(frame.path), None)
            _, dataset, pixels = held
            if pixels is None:
                pixels = stored_values(dataset, frame)
            if pixels.ndim == 3:
                held = (frame.path, dataset, pixels)
                pixels = pixels[frame.index or 0]
        if pixels.shape != (frame.rows, frame.columns):
            raise ReadError(f"{frame.path} decodes to {pixels.shape}, not {(frame.rows, frame.columns)}")
        yield frame, dataset, pixels


def _unify_padding(pixels: np.ndarray, frame: Frame, padding: int | None) -> np.ndarray:
    """Set a range of padding values, or another slice's padding, to the one value of the series."""
    if frame.padding is None or padding is None or frame.padding == (padding, padding):
        return pixels
    pixels = pixels.astype(np.result_type(pixels, np.min_scalar_type(padding)))
    pixels[(pixels >= frame.padding[0]) & (pixels <= frame.padding[1])] = padding
    return pixels


def _find_unit(frame: Frame) -> str:
    """Return the unit of modality values as stated; rescaled CT without one is in Hounsfield units."""
    if frame.units:
        return frame.units
    if frame.modality == "CT" and frame.has_rescale and frame.rescale_type in ("", "HU"):
        return "HU"
    return ""
