"""Modality values back to stored 16-bit pixels: one slope and intercept for a whole series."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydicom.valuerep import DSfloat

from sr_imaging.io.dicom.frame import Frame

__all__ = ["Encoding", "choose_encoding", "ds_text", "encode"]

logger = logging.getLogger(__name__)

BITS = 16  # CT and MR images are stored in 16 bits
# Of the stored range: how far below it values are clipped rather than given a new intercept.
OVERSHOOT = 1 / 8
ROUNDING = 1e-6  # of a slope, as its decimal string may round it
WHOLE = "write NIfTI, Zarr or a parametric map to keep them whole"


@dataclass(frozen=True)
class Encoding:
    """How modality values are stored: ``value = slope · stored + intercept``.

    Parameters
    ----------
    slope, intercept : float
        As their 16-character decimal strings say.
    bits : int
        Stored bits of the 16 allocated.
    signed : bool
        PixelRepresentation.
    padding : int, optional
        Stored value of invalid pixels.
    """

    slope: float
    intercept: float
    bits: int
    signed: bool
    padding: int | None = None

    @property
    def limits(self) -> tuple[int, int]:
        """Lowest and highest stored value."""
        return _limits(self.bits, signed=self.signed)


def ds_text(value: float) -> DSfloat:
    """Return a number as a decimal string of at most 16 characters.

    Parameters
    ----------
    value : float
        Any finite number.

    Returns
    -------
    DSfloat
        The nearest number that 16 characters can hold.
    """
    return DSfloat(float(value) + 0.0, auto_format=True)


def choose_encoding(values: np.ndarray, fill: Any, sources: Sequence[Frame]) -> Encoding:
    """Choose slope, intercept and bits that hold a whole volume, with the steps of its source where they fit.

    Whole numbers stay whole. The sign and, where they hold the values, the bits and the intercept are the
    source's. Values a little below what can be stored (the overshoot of an interpolation) will be clipped;
    that, and steps coarser than the source's, are told in a warning.

    Parameters
    ----------
    values : (z, y, x) ndarray
        Modality values, integer or float; NaN is invalid.
    fill : number, optional
        Modality value of invalid pixels.
    sources : sequence of Frame
        The source slices; empty for a new series.

    Returns
    -------
    Encoding
        One for all slices.
    """
    low, high, has_nan = _range(values, fill)
    pairs = {(1.0, 0.0) if frame.has_lut else frame.rescale for frame in sources} or {(1.0, 0.0)}
    is_whole = len(pairs) == 1 and all(float(v).is_integer() for v in next(iter(pairs)))
    if any(frame.has_lut for frame in sources) or (not sources and values.dtype.kind == "f"):
        is_whole = _are_whole(values)
    signed = sources[0].signed if sources else low < 0
    bits = min(BITS, max(12, sources[0].bits[1])) if sources else BITS
    if is_whole or values.dtype.kind in "iu":
        encoding = _whole(low, high, fill, bits=bits, signed=signed, intercept=_common_intercept(pairs))
    else:
        encoding = _fractional(low, high, pairs, bits=bits, signed=signed)
    encoding = _with_padding(encoding, fill, has_nan=has_nan)
    has_step = bool(sources) or values.dtype.kind in "iu"
    _tell_losses(encoding, low, high, min(abs(slope) for slope, _ in pairs) if has_step else 0)
    return encoding


def _tell_losses(encoding: Encoding, low: float, high: float, step: float) -> None:
    """Warn where values will not come back to within half a step of the source; 0 where that is unknown."""
    bottom, top = sorted(encoding.intercept + encoding.slope * end for end in encoding.limits)
    slope = abs(encoding.slope)
    if low < bottom - slope / 2 or high > top + slope / 2:
        what = "values of %g to %g are clipped to %g to %g, which is what the source can store; %s"
        logger.warning(what, low, high, bottom, top, WHOLE)
    if step and slope > step * (1 + ROUNDING):
        what = "values of %g to %g are stored in steps of %g, and not of %g as in the source; %s"
        logger.warning(what, low, high, slope, step, WHOLE)


def encode(values: np.ndarray, encoding: Encoding, fill: Any) -> np.ndarray:
    """Store the modality values of a slice: rounded, clipped, padding exact.

    Parameters
    ----------
    values : (y, x) ndarray
        Modality values.
    encoding : Encoding
        Of the series.
    fill : number, optional
        Modality value of invalid pixels.

    Returns
    -------
    (y, x) int16 or uint16 ndarray
        Stored values, little endian.
    """
    numbers = values.astype(np.float64)
    invalid = ~_valid(values, fill)
    numbers[invalid] = encoding.intercept
    low, high = encoding.limits
    stored = np.rint((numbers - encoding.intercept) / encoding.slope).clip(low, high)
    if encoding.padding is not None:
        # a valid value that rounds to the padding moves one step off it
        stored[stored == encoding.padding] = encoding.padding + (-1 if encoding.padding == high else 1)
        stored[invalid] = encoding.padding
    return stored.astype("<i2" if encoding.signed else "<u2")


def _valid(values: np.ndarray, fill: Any) -> np.ndarray:
    """Tell which pixels are neither NaN, infinite nor padding."""
    valid = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    return valid if fill is None else valid & (values != fill)


def _range(values: np.ndarray, fill: Any) -> tuple[float, float, bool]:
    """Lowest and highest valid value, and whether there are invalid ones besides the fill value."""
    low, high, has_nan = math.inf, -math.inf, False
    for plane in values:
        valid = _valid(plane, fill)
        has_nan = has_nan or bool(plane.dtype.kind == "f" and not np.isfinite(plane).all())
        if valid.any():
            low, high = min(low, float(plane[valid].min())), max(high, float(plane[valid].max()))
    return (low, high, has_nan) if low <= high else (0.0, 0.0, has_nan)


def _are_whole(values: np.ndarray) -> bool:
    """Tell whether all finite values are whole numbers."""
    return values.dtype.kind in "iu" or all(
        bool((np.rint(finite) == finite).all()) for plane in values for finite in [plane[np.isfinite(plane)]]
    )


def _common_intercept(pairs: set[tuple[float, float]]) -> int:
    """The whole intercept that all source slices share, else 0."""
    intercepts = {intercept for _, intercept in pairs}
    intercept = intercepts.pop()
    return int(intercept) if not intercepts and intercept.is_integer() else 0


def _limits(bits: int, *, signed: bool) -> tuple[int, int]:
    """Lowest and highest number of so many bits."""
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def _whole(low: float, high: float, fill: Any, *, bits: int, signed: bool, intercept: int) -> Encoding:
    """Store whole numbers with slope 1 where 16 bits hold them."""
    bottom, top = _limits(bits, signed=signed)
    slack = OVERSHOOT * (top - bottom + 1)
    fills = [] if fill is None or not float(fill).is_integer() else [int(fill)]
    for width in (bits, BITS):
        bottom, top = _limits(width, signed=signed)
        holds_fill = all(bottom <= f - intercept <= top for f in fills)
        if holds_fill and low >= intercept + bottom - slack and high <= intercept + top:
            return Encoding(1.0, float(intercept), width, signed)
    low, high = math.floor(min([low, *fills])), math.ceil(max([high, *fills]))
    slope = max(1, math.ceil((high - low) / (top - bottom)))
    return Encoding(float(slope), float(low - bottom * slope), BITS, signed)


def _fractional(
    low: float, high: float, pairs: set[tuple[float, float]], *, bits: int, signed: bool
) -> Encoding:
    """Store fractions in 16 bits: the source's step, halved as often as fits, else the range."""
    bottom, top = _limits(BITS, signed=signed)
    if len(pairs) == 1 and next(iter(pairs)) != (1.0, 0.0):
        step, intercept = next(iter(pairs))
        source_bottom, source_top = _limits(bits, signed=signed)
        slack = OVERSHOOT * abs(step) * (source_top - source_bottom + 1)
        for power in range(BITS - bits, -1, -1):
            slope = float(ds_text(step / 2**power))
            ends = sorted((intercept + slope * bottom, intercept + slope * top))
            if ends[0] - slack <= low and high <= ends[1]:
                return Encoding(slope, intercept, BITS, signed)
    if bottom == 0 and low >= 0:
        low = 0.0
    # one value at either end stays free for padding; the slope is rounded up so that all values fit
    slope = float(ds_text(max((high - low) / (top - bottom - 2), 1e-30) * (1 + 1e-9)))
    offset = 0.0 if bottom == 0 and low == 0 else float(ds_text(low - slope * (bottom + 1)))
    return Encoding(slope, offset, BITS, signed)


def _with_padding(encoding: Encoding, fill: Any, *, has_nan: bool) -> Encoding:
    """Add the stored value of invalid pixels: the fill value's own, or one at the end of the range."""
    if fill is None and not has_nan:
        return encoding
    bottom, top = _limits(BITS, signed=encoding.signed)
    at_end = bottom if encoding.signed else top
    padding = at_end if fill is None else round((float(fill) - encoding.intercept) / encoding.slope)
    if not bottom <= padding <= top:
        padding = at_end
    low, high = encoding.limits
    bits = encoding.bits if low <= padding <= high else BITS
    return Encoding(encoding.slope, encoding.intercept, bits, encoding.signed, padding)
