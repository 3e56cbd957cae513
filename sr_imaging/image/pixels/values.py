"""Values as they are stored, and as a model sees them: floats in physical units, NaN where invalid."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import xarray as xr

from sr_imaging.errors import InputTypeError
from sr_imaging.image.stored_numbers import nodata_of

__all__ = ["Values", "values_of"]

log = logging.getLogger(__name__)
_UNIT = 2.0**8  # stored steps in a model's unit; a power of 2 rounds nothing


@dataclass(frozen=True)
class Values:
    """How the values of one array are stored, and how to come back to that from floats."""

    dtype: np.dtype[Any]  # in memory
    out_dtype: np.dtype[Any]  # of the result
    nodata: float | int | None = None  # as stored; NaN and infinities are always invalid
    factor: float = 1.0  # physical = stored * factor + offset, of packed integers that were not decoded
    offset: float = 0.0
    low: float = -np.inf  # range of the result in physical units, by the packing of a decoded array
    high: float = np.inf
    avoid: float = np.nan  # the nodata value of that packing in physical units
    step: float = np.nan  # one unit of that packing in physical units
    physical: bool = False  # leave the result in physical units, NaN where invalid, for a step that follows
    # shift and unit of a model's float32 input that are the same for every tile, so that no tile rounds
    # otherwise than another; None lets each tile have its own
    comfort: tuple[float, float] | None = None

    @property
    def may_be_invalid(self) -> bool:
        """Whether any pixel can be invalid."""
        return self.dtype.kind == "f" or self.nodata is not None

    @property
    def work_dtype(self) -> np.dtype[Any]:
        """Float type that holds the values: float32 up to 16 bits and any but a huge offset, else float64."""
        narrow = self.dtype in (np.float16, np.float32) or self.dtype.itemsize < 4
        return np.dtype(np.float32 if narrow and abs(self.offset) < 1e5 * abs(self.factor) else np.float64)

    def as_float(self) -> "Values":
        """Return the same values with a result that stays float, in physical units, NaN where invalid."""
        return replace(self, out_dtype=self.work_dtype, physical=True)

    def decode(self, block: np.ndarray) -> np.ndarray:
        """Return stored values as floats in physical units, NaN where they are nodata."""
        values = block.astype(self.work_dtype)
        if self.factor != 1 or self.offset != 0:
            values = values * self.work_dtype.type(self.factor) + self.work_dtype.type(self.offset)
        if self.nodata is not None and not np.isnan(self.nodata):
            values[block == self.nodata] = np.nan
        return values

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Return floats as stored values: clipped, rounded, never by accident the nodata value."""
        if self.physical:
            return values
        values = self._clip_to_packing(values)
        if self.factor != 1 or self.offset != 0:
            values = (values - self.offset) / self.factor
        if self.out_dtype.kind == "f":
            stored = self._cast_float(values)
            if self.nodata is None or np.isnan(self.nodata):
                return np.asarray(stored)
            nodata = self.out_dtype.type(self.nodata)
            beside = np.nextafter(nodata, self.out_dtype.type(0 if nodata else 1))
            stored[stored == nodata] = beside
            stored[np.isnan(stored)] = nodata
            return stored
        return self._encode_integer(values)

    def _cast_float(self, values: np.ndarray) -> np.ndarray:
        """Cast to the float type of the result; what is too large for it becomes its largest number."""
        if self.out_dtype.itemsize < values.dtype.itemsize:
            top = np.finfo(self.out_dtype).max
            values = np.where(np.isfinite(values), np.clip(values, -top, top), values)
        return values.astype(self.out_dtype)

    def _clip_to_packing(self, values: np.ndarray) -> np.ndarray:
        """Clip to the packed range, off its nodata value, and log how many values were out of range."""
        if np.isinf(self.low) and np.isinf(self.high):
            return values
        with np.errstate(invalid="ignore"):
            outside = int(np.count_nonzero((values < self.low) | (values > self.high)))
        if outside:
            log.info("clipped %d values to the packed range %g to %g", outside, self.low, self.high)
        values = np.clip(values, values.dtype.type(self.low), values.dtype.type(self.high))
        close = np.abs(values - self.avoid) < 0.51 * self.step  # 0.5 would round to nodata, or nearly
        if close.any():
            aside = np.where(values < self.avoid, self.avoid - self.step, self.avoid + self.step)
            values = np.where(close, aside.astype(values.dtype), values)
        return np.asarray(values)

    def _encode_integer(self, values: np.ndarray) -> np.ndarray:
        """Round and clip to the integer type; invalid pixels become nodata and no other does."""
        info = np.iinfo(self.out_dtype)
        invalid = ~np.isfinite(values)
        high = float(info.max)
        if high > info.max:  # the largest 64-bit integers are not floats and would wrap
            high = float(np.nextafter(high, 0))
        wide = values.astype(np.float64) if self.out_dtype.itemsize >= 4 else values
        stored = np.clip(np.rint(np.where(invalid, 0, wide)), info.min, high).astype(self.out_dtype)
        if self.nodata is not None and info.min <= self.nodata <= info.max:
            nodata = self.out_dtype.type(self.nodata)
            stored[stored == nodata] = nodata - 1 if nodata > 0 else nodata + 1
            stored[invalid] = nodata
        elif invalid.any():
            raise InputTypeError(
                f"{np.count_nonzero(invalid)} pixels are invalid and {self.out_dtype} has no nodata value; "
                "set _FillValue or ask for a float dtype"
            )
        return stored


def values_of(da: xr.DataArray, dtype: Any = None) -> Values:
    """Return how the values of an array are stored, by its attrs or, where it is decoded, its encoding.

    `dtype` is that of the result, by default that of `da`. An InputTypeError is raised for what are no
    numbers.
    """
    if da.dtype.kind not in "iufb":
        raise InputTypeError(
            f"values of dtype {da.dtype} cannot be super-resolved; convert them to real numbers"
        )
    out = np.dtype(da.dtype if dtype is None else dtype)
    if out.kind not in "iuf":
        raise InputTypeError(f"the result cannot have dtype {out}; ask for an integer or float dtype")
    nodata = next(iter(nodata_of(da.attrs, da.dtype)), None)
    if da.dtype.kind in "iu":
        factor, offset = _read_packing(da.attrs)
        # float32 has digits enough for 16 bits without a shift and a unit that fit the tile
        comfort = (offset, abs(factor) * _UNIT) if da.dtype.itemsize < 4 else None
        return Values(da.dtype, out, nodata, factor=factor, offset=offset, comfort=comfort)
    return _limit_to_packing(Values(da.dtype, out, nodata), da.encoding)


def _read_packing(attrs: Mapping[Any, Any]) -> tuple[float, float]:
    """Return factor and offset of packed integers; (1, 0) where there are none, or one per band."""
    numbers = [
        np.asarray(attrs.get(key, default), float)
        for key, default in (("scale_factor", 1), ("add_offset", 0))
    ]
    if any(n.size != 1 for n in numbers) or numbers[0] == 0:
        return 1.0, 0.0
    return float(numbers[0].item()), float(numbers[1].item())


def _limit_to_packing(values: Values, encoding: Mapping[Any, Any]) -> Values:
    """Return the values of a decoded array with what the integers that it was decoded from can hold."""
    packed = np.dtype(encoding.get("dtype") or encoding.get("rasterio_dtype") or np.float32)
    if packed.kind not in "iu":
        return values
    low, high = int(np.iinfo(packed).min), int(np.iinfo(packed).max)
    nodata = next(iter(nodata_of(encoding, packed)), None)
    factor, offset = _read_packing(encoding)
    ends = sorted(v * factor + offset for v in (low + (nodata == low), high - (nodata == high)))
    inside = nodata is not None and low < nodata < high
    avoid = nodata * factor + offset if nodata is not None and inside else np.nan
    return replace(values, low=ends[0], high=ends[1], avoid=avoid, step=abs(factor))
