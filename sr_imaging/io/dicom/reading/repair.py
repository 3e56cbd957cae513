"""Tilted slices, and slices with gaps, resampled linearly onto a straight and even grid on request."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from sr_imaging.io.dicom.frame import Frame
from sr_imaging.io.dicom.slice_positions import positions_on_normal, slot_numbers, some_names

__all__ = ["Repair", "plan_repair", "repaired_values"]

STRAIGHT = 0.01  # of a pixel: a shift below it is rounding of the header


@dataclass(frozen=True)
class Repair:
    """How slices come onto a straight and even grid."""

    numbers: tuple[int, ...]  # of each slice on the new grid; the others are missing
    shifts: np.ndarray  # (n, 2) rows and columns in pixels from the grid's first pixel to the slice's, >= 0
    margin: tuple[int, int]  # rows and columns that the grid has more than a slice
    origin: tuple[int, int]  # row and column of the first slice, <= 0, where the grid begins
    notes: tuple[str, ...]  # what is interpolated

    @property
    def count(self) -> int:
        """The number of slices of the new grid."""
        return self.numbers[-1] + 1


def plan_repair(ordered: list[Frame], policies: Collection[str]) -> Repair:
    """Plan how sorted slices become even (``on_missing`` fills gaps) and straight (``on_tilt``).

    The grid keeps the pixels of the first slice, and holds all pixels of all slices.
    """
    along = positions_on_normal(ordered)
    numbers = slot_numbers(along) if "on_missing" in policies else np.arange(len(ordered))
    shifts = _measure_shifts(ordered) if "on_tilt" in policies else np.zeros((len(ordered), 2))
    low, high = np.floor(shifts.min(0) + 1e-6), np.ceil(shifts.max(0) - 1e-6)
    notes = []
    if "on_tilt" in policies:
        total = np.linalg.norm(np.ptp(shifts, axis=0) * np.array(ordered[0].pixel_spacing))
        degrees = np.degrees(np.arctan2(total, along[-1] - along[0]))
        notes.append(
            f"gantry tilt of {degrees:.3g} degrees removed: slices are interpolated linearly in their plane, "
            "and what none of them covers is padding"
        )
    if missing := sorted(set(range(int(numbers[-1]) + 1)) - set(numbers.tolist())):
        names = some_names([str(k) for k in missing])
        which = f"slices {names} are" if len(missing) > 1 else f"slice {names} is"
        notes.append(f"{which} missing and interpolated linearly from the neighbours (numbers from 0)")
    return Repair(
        tuple(int(k) for k in numbers),
        shifts - low,
        (int(high[0] - low[0]), int(high[1] - low[1])),
        (int(low[0]), int(low[1])),
        tuple(notes),
    )


def _measure_shifts(ordered: list[Frame]) -> np.ndarray:
    """Return the (n, 2) rows and columns from the first slice to each; an axis with only rounding is 0."""
    first = ordered[0]
    if first.orientation is None or first.pixel_spacing is None:
        raise ValueError("slices without geometry cannot be straightened")
    offsets = np.array([frame.position for frame in ordered]) - first.position
    row, column = first.orientation[:3], first.orientation[3:]
    shifts = np.stack([offsets @ column / first.pixel_spacing[0], offsets @ row / first.pixel_spacing[1]], 1)
    return np.asarray(np.where(np.abs(shifts).max(0) > STRAIGHT, shifts, 0.0))


def repaired_values(values: np.ndarray, fill: Any, repair: Repair) -> tuple[np.ndarray, Any]:
    """Resample (n, y, x) slices onto the new (z, y, x) grid; return also the value of invalid pixels.

    That is `fill`, which is not mixed with valid pixels; if there is none but one is needed, NaN for floats
    and for integers one below the lowest, in a wider dtype where necessary.
    """
    if any(repair.margin):
        values, fill = _choose_fill(values, fill)
    values = _fill_gaps(values, fill, repair)
    return (_straighten(values, fill, repair) if any(repair.margin) else values), fill


def _fill_gaps(values: np.ndarray, fill: Any, repair: Repair) -> np.ndarray:
    """Interpolate missing slices, before any is moved, so that uncovered margins do not mix in."""
    if len(values) == repair.count:
        return values
    out: np.ndarray = np.empty((repair.count, *values.shape[1:]), values.dtype)
    out[list(repair.numbers)] = values
    for before, after in zip(repair.numbers, repair.numbers[1:], strict=False):
        for number in range(before + 1, after):
            out[number] = _mix_planes(out[before], out[after], (number - before) / (after - before), fill)
    return out


def _straighten(values: np.ndarray, fill: Any, repair: Repair) -> np.ndarray:
    """Move each slice to its place in the plane; an interpolated one lies between its neighbours."""
    _, rows, columns = values.shape
    out: np.ndarray = np.empty(
        (repair.count, rows + repair.margin[0], columns + repair.margin[1]), values.dtype
    )
    for number, plane in enumerate(values):
        down, right = (float(np.interp(number, repair.numbers, shifts)) for shifts in repair.shifts.T)
        moved = _shift_plane(plane, fill, down, repair.margin[0], axis=0)
        out[number] = _shift_plane(moved, fill, right, repair.margin[1], axis=1)
    return out


def _choose_fill(values: np.ndarray, fill: Any) -> tuple[np.ndarray, Any]:
    """Return the values in a dtype that holds a value for pixels that no slice covers, and that value."""
    if fill is not None:
        return values, fill
    if values.dtype.kind == "f":
        return values, values.dtype.type(np.nan)
    below = int(values.min()) - 1
    dtype = values.dtype if below >= np.iinfo(values.dtype).min else np.result_type(values.dtype, np.int8)
    return values.astype(dtype, copy=False), np.dtype(dtype).type(below)


def _shift_plane(plane: np.ndarray, fill: Any, shift: float, margin: int, *, axis: int) -> np.ndarray:
    """Move a slice by `shift` pixels along an axis, which becomes `margin` pixels longer."""
    if not margin:
        return plane
    plane = np.moveaxis(plane, axis, 0)
    position = np.arange(len(plane) + margin) - shift
    low = np.floor(position).astype(int)
    last = len(plane) - 1
    taps = [plane[np.clip(low + k, 0, last)] for k in (0, 1)]
    weight = (position - low).reshape(-1, 1)
    moved = _mix_planes(taps[0], taps[1], weight, fill)
    moved[(position < -0.5) | (position > last + 0.5)] = fill  # beyond the edges of the slice
    return np.moveaxis(moved, 0, axis)


def _mix_planes(first: np.ndarray, second: np.ndarray, weight: Any, fill: Any) -> np.ndarray:
    """Interpolate linearly, `weight` of the second plane; beside an invalid pixel take the nearer one."""
    mixed = first * (1.0 - weight) + second * weight
    if first.dtype.kind in "iu":
        mixed = np.rint(mixed)
    if fill is not None:
        nearer = np.where(np.asarray(weight) <= 0.5, first, second)
        mixed = np.where(_is_invalid(first, fill) | _is_invalid(second, fill), nearer, mixed)
    return np.asarray(mixed.astype(first.dtype))


def _is_invalid(values: np.ndarray, fill: Any) -> np.ndarray:
    """Return which pixels are invalid."""
    return np.asarray(np.isnan(values) if np.isnan(fill) else values == fill)
