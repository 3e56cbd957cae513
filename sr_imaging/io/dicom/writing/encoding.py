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
OVERSHOOT = 1 / 8  # of the stored range; values so far below it are clipped, not given a new intercept
ROUNDING = 1e-6  # relative; a decimal string may round a slope by so much
REMEDY = "write NIfTI, Zarr or a parametric map to keep them whole"


@dataclass(frozen=True)
class Encoding:
    """How modality values are stored: ``value = slope · stored + intercept``."""

    slope: float  # slope and intercept as their 16-character decimal strings say
    intercept: float
    bits: int  # stored of the 16 allocated
    signed: bool  # PixelRepresentation
    padding: int | None = None  # stored value of invalid pixels

    @property
    def limits(self) -> tuple[int, int]:
        """Lowest and highest stored value."""
        return _find_limits(self.bits, signed=self.signed)


def ds_text(value: float) -> DSfloat:
    """Return the decimal string of at most 16 characters that is nearest to a finite number."""
    return DSfloat(float(value) + 0.0, auto_format=True)


def choose_encoding(values: np.ndarray, fill: Any, sources: Sequence[Frame]) -> Encoding:
    """Choose one encoding for a whole volume of modality values, in the steps of its source where they fit.

    Whole numbers stay whole. The sign and, where they hold the values, the bits and the intercept are the
    source's. Values a little below what can be stored (the overshoot of an interpolation) will be clipped;
    that, and steps coarser than the source's, are reported in a warning. `fill` marks invalid pixels, as
    NaN does.
    """
    low, high, has_nan = _measure_range(values, fill)
    pairs = {(1.0, 0.0) if frame.has_lut else frame.rescale for frame in sources} or {(1.0, 0.0)}
    is_whole = len(pairs) == 1 and all(float(v).is_integer() for v in next(iter(pairs)))
    if any(frame.has_lut for frame in sources) or (not sources and values.dtype.kind == "f"):
        is_whole = _are_whole(values)
    signed = sources[0].signed if sources else low < 0
    bits = min(BITS, max(12, sources[0].bits[1])) if sources else BITS
    if is_whole or values.dtype.kind in "iu":
        encoding = _choose_whole(
            low, high, fill, bits=bits, signed=signed, intercept=_find_common_intercept(pairs)
        )
    else:
        encoding = _choose_fractional(low, high, pairs, bits=bits, signed=signed)
    encoding = _add_padding(encoding, fill, has_nan=has_nan)
    has_step = bool(sources) or values.dtype.kind in "iu"
    _warn_of_losses(encoding, low, high, min(abs(slope) for slope, _ in pairs) if has_step else 0)
    return encoding


def _warn_of_losses(encoding: Encoding, low: float, high: float, step: float) -> None:
    """Warn where values are clipped or stored in coarser steps than the source's (0 where it has none)."""
    bottom, top = sorted(encoding.intercept + encoding.slope * end for end in encoding.limits)
    slope = abs(encoding.slope)
    if low < bottom - slope / 2 or high > top + slope / 2:
        what = "values of %g to %g are clipped to %g to %g, which is what the source can store; %s"
        logger.warning(what, low, high, bottom, top, REMEDY)
    if step and slope > step * (1 + ROUNDING):
        what = "values of %g to %g are stored in steps of %g, and not of %g as in the source; %s"
        logger.warning(what, low, high, slope, step, REMEDY)


def encode(values: np.ndarray, encoding: Encoding, fill: Any) -> np.ndarray:
    """Return a slice's modality values as stored, int16 or uint16 (y, x): rounded, clipped, padding exact."""
    numbers = values.astype(np.float64)
    invalid = ~_find_valid(values, fill)
    numbers[invalid] = encoding.intercept
    low, high = encoding.limits
    stored = np.rint((numbers - encoding.intercept) / encoding.slope).clip(low, high)
    if encoding.padding is not None:
        # a valid value that rounds to the padding moves one step off it
        stored[stored == encoding.padding] = encoding.padding + (-1 if encoding.padding == high else 1)
        stored[invalid] = encoding.padding
    return stored.astype("<i2" if encoding.signed else "<u2")


def _find_valid(values: np.ndarray, fill: Any) -> np.ndarray:
    """Return a mask of the pixels that are neither NaN, infinite nor the fill value."""
    valid = np.isfinite(values) if values.dtype.kind == "f" else np.ones(values.shape, bool)
    return valid if fill is None else valid & (values != fill)


def _measure_range(values: np.ndarray, fill: Any) -> tuple[float, float, bool]:
    """Return the lowest and highest valid value, and whether any value is NaN or infinite."""
    low, high, has_nan = math.inf, -math.inf, False
    for plane in values:
        valid = _find_valid(plane, fill)
        has_nan = has_nan or bool(plane.dtype.kind == "f" and not np.isfinite(plane).all())
        if valid.any():
            low, high = min(low, float(plane[valid].min())), max(high, float(plane[valid].max()))
    return (low, high, has_nan) if low <= high else (0.0, 0.0, has_nan)


def _are_whole(values: np.ndarray) -> bool:
    """Return whether all finite values are whole numbers."""
    return values.dtype.kind in "iu" or all(
        bool((np.rint(finite) == finite).all()) for plane in values for finite in [plane[np.isfinite(plane)]]
    )


def _find_common_intercept(pairs: set[tuple[float, float]]) -> int:
    """Return the whole-numbered intercept that all source slices share, else 0."""
    intercepts = {intercept for _, intercept in pairs}
    intercept = intercepts.pop()
    return int(intercept) if not intercepts and intercept.is_integer() else 0


def _find_limits(bits: int, *, signed: bool) -> tuple[int, int]:
    """Return the lowest and highest integer of so many bits."""
    return (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)


def _choose_whole(low: float, high: float, fill: Any, *, bits: int, signed: bool, intercept: int) -> Encoding:
    """Choose slope 1 for whole numbers where 16 bits hold them."""
    bottom, top = _find_limits(bits, signed=signed)
    slack = OVERSHOOT * (top - bottom + 1)
    fills = [] if fill is None or not float(fill).is_integer() else [int(fill)]
    for width in (bits, BITS):
        bottom, top = _find_limits(width, signed=signed)
        holds_fill = all(bottom <= f - intercept <= top for f in fills)
        if holds_fill and low >= intercept + bottom - slack and high <= intercept + top:
            return Encoding(1.0, float(intercept), width, signed)
    low, high = math.floor(min([low, *fills])), math.ceil(max([high, *fills]))
    slope = max(1, math.ceil((high - low) / (top - bottom)))
    return Encoding(float(slope), float(low - bottom * slope), BITS, signed)


def _choose_fractional(
    low: float, high: float, pairs: set[tuple[float, float]], *, bits: int, signed: bool
) -> Encoding:
    """Choose 16 bits for fractions: the source's step, halved as often as fits, else a step for the range."""
    bottom, top = _find_limits(BITS, signed=signed)
    if len(pairs) == 1 and next(iter(pairs)) != (1.0, 0.0):
        step, intercept = next(iter(pairs))
        source_bottom, source_top = _find_limits(bits, signed=signed)
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


def _add_padding(encoding: Encoding, fill: Any, *, has_nan: bool) -> Encoding:
    """Add the stored value of invalid pixels: that of the fill value, or one at the end of the range."""
    if fill is None and not has_nan:
        return encoding
    bottom, top = _find_limits(BITS, signed=encoding.signed)
    at_end = bottom if encoding.signed else top
    padding = at_end if fill is None else round((float(fill) - encoding.intercept) / encoding.slope)
    if not bottom <= padding <= top:
        padding = at_end
    low, high = encoding.limits
    bits = encoding.bits if low <= padding <= high else BITS
    return Encoding(encoding.slope, encoding.intercept, bits, encoding.signed, padding)
