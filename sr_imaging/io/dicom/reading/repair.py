"""Tilted slices, and slices with gaps, resampled linearly onto a straight and even grid; only on request."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np

from sr_imaging.io.dicom.frame import Frame
from sr_imaging.io.dicom.slice_positions import positions_on_normal, slots, some_names

__all__ = ["Repair", "plan_repair", "repaired_values"]

STRAIGHT = 0.01  # of a pixel: a shift below it is rounding of the header


@dataclass(frozen=True)
class Repair:
    """How slices come onto a straight and even grid.

    Parameters
    ----------
    numbers : tuple of int
        Number of each slice on the new grid; the others are missing.
    shifts : (n, 2) ndarray
        Rows and columns, in pixels, from the first pixel of the grid to that of each slice; >= 0.
    margin : (int, int)
        Rows and columns that the grid has more than a slice.
    origin : (int, int)
        Row and column of the first slice, in its own pixels, where the grid begins; <= 0.
    notes : tuple of str
        What is interpolated.
    """

    numbers: tuple[int, ...]
    shifts: np.ndarray
    margin: tuple[int, int]
    origin: tuple[int, int]
    notes: tuple[str, ...]

    @property
    def count(self) -> int:
        """Slices of the new grid."""
        return self.numbers[-1] + 1


def plan_repair(ordered: list[Frame], policies: Collection[str]) -> Repair:
    """Plan how slices become straight and even.

    Parameters
    ----------
    ordered : list of Frame
        At least two slices, sorted along the normal.
    policies : collection of str
        ``on_missing`` to fill gaps, ``on_tilt`` to straighten.

    Returns
    -------
    Repair
        The grid keeps the pixels of the first slice, and holds all pixels of all slices.
    """
    along = positions_on_normal(ordered)
    numbers = slots(along) if "on_missing" in policies else np.arange(len(ordered))
    shifts = _shifts(ordered) if "on_tilt" in policies else np.zeros((len(ordered), 2))
    low, high = np.floor(shifts.min(0) + 1e-6), np.ceil(shifts.max(0) - 1e-6)
    notes = []
    if "on_tilt" in policies:
        total = np.linalg.norm(np.ptp(shifts, axis=0) * np.array(ordered[0].pixel_spacing))
        degrees = np.degrees(np.arctan2(total, along[-1] - along[0]))
        notes.append(
            f"gantry tilt of {degrees:.3g} degrees removed: slices are interpolated linearly in their plane, "
            f"and what none of them covers is padding"
        )
    if missing := sorted(set(range(int(numbers[-1]) + 1)) - set(numbers.tolist())):
        many = (
            f"slices {some_names([str(k) for k in missing])} are"
            if len(missing) > 1
            else f"slice {missing[0]} is"
        )
        notes.append(f"{many} missing and interpolated linearly from the neighbours (numbers from 0)")
    return Repair(
        tuple(int(k) for k in numbers),
        shifts - low,
        (int(high[0] - low[0]), int(high[1] - low[1])),
        (int(low[0]), int(low[1])),
        tuple(notes),
    )


def _shifts(ordered: list[Frame]) -> np.ndarray:
    """Rows and columns in pixels by which each slice lies beside the first one; an axis of rounding is 0."""
    first = ordered[0]
    if first.orientation is None or first.pixel_spacing is None:
        raise ValueError("slices without geometry cannot be straightened")
    offsets = np.array([frame.position for frame in ordered]) - first.position
    row, column = first.orientation[:3], first.orientation[3:]
    shifts = np.stack([offsets @ column / first.pixel_spacing[0], offsets @ row / first.pixel_spacing[1]], 1)
    return np.asarray(np.where(np.abs(shifts).max(0) > STRAIGHT, shifts, 0.0))


def repaired_values(values: np.ndarray, fill: Any, repair: Repair) -> tuple[np.ndarray, Any]:
    """Resample slices onto the new grid.

    Parameters
    ----------
    values : (n, y, x) ndarray
        Modality values of the given slices.
    fill : number, optional
        Value of invalid pixels, which are not mixed with others.
    repair : Repair
        Planned for these slices.

    Returns
    -------
    (z, y, x) ndarray, number or None
        The new volume, of a wider dtype where it must hold a new value for pixels that no slice covers, and
        the value of invalid pixels: `fill`, else NaN of floats and one below the lowest integer.
    """
    if any(repair.margin):
        values, fill = _with_fill(values, fill)
    values = _filled(values, fill, repair)
    return (_straight(values, fill, repair) if any(repair.margin) else values), fill


def _filled(values: np.ndarray, fill: Any, repair: Repair) -> np.ndarray:
    """Interpolate missing slices, before any is moved: margins that no slice covers mix with nothing."""
    if len(values) == repair.count:
        return values
    out: np.ndarray = np.empty((repair.count, *values.shape[1:]), values.dtype)
    out[list(repair.numbers)] = values
    for before, after in zip(repair.numbers, repair.numbers[1:], strict=False):
        for number in range(before + 1, after):
            out[number] = _mix(out[before], out[after], (number - before) / (after - before), fill)
    return out


def _straight(values: np.ndarray, fill: Any, repair: Repair) -> np.ndarray:
    """Move each slice to its place in the plane; a filled one lies between its neighbours."""
    _, rows, columns = values.shape
    out: np.ndarray = np.empty(
        (repair.count, rows + repair.margin[0], columns + repair.margin[1]), values.dtype
    )
    for number, plane in enumerate(values):
        down, right = (float(np.interp(number, repair.numbers, shifts)) for shifts in repair.shifts.T)
        moved = _shifted(plane, fill, down, repair.margin[0], axis=0)
        out[number] = _shifted(moved, fill, right, repair.margin[1], axis=1)
    return out


def _with_fill(values: np.ndarray, fill: Any) -> tuple[np.ndarray, Any]:
    """A value for pixels that no slice covers, and a dtype that holds it."""
    if fill is not None:
        return values, fill
    if values.dtype.kind == "f":
        return values, values.dtype.type(np.nan)
    below = int(values.min()) - 1
    dtype = values.dtype if below >= np.iinfo(values.dtype).min else np.result_type(values.dtype, np.int8)
    return values.astype(dtype, copy=False), np.dtype(dtype).type(below)


def _shifted(plane: np.ndarray, fill: Any, shift: float, margin: int, *, axis: int) -> np.ndarray:
    """Move a slice by so many pixels along an axis that is `margin` longer afterwards."""
    if not margin:
        return plane
    plane = np.moveaxis(plane, axis, 0)
    position = np.arange(len(plane) + margin) - shift
    low = np.floor(position).astype(int)
    last = len(plane) - 1
    taps = [plane[np.clip(low + k, 0, last)] for k in (0, 1)]
    weight = (position - low).reshape(-1, 1)
    moved = _mix(taps[0], taps[1], weight, fill)
    moved[(position < -0.5) | (position > last + 0.5)] = fill  # beyond the edges of the slice
    return np.moveaxis(moved, 0, axis)


def _mix(first: np.ndarray, second: np.ndarray, weight: Any, fill: Any) -> np.ndarray:
    """Linear between two planes, `weight` of the second; next to an invalid pixel the nearer of the two."""
    mixed = first * (1.0 - weight) + second * weight
    if first.dtype.kind in "iu":
        mixed = np.rint(mixed)
    if fill is not None:
        nearer = np.where(np.asarray(weight) <= 0.5, first, second)
        mixed = np.where(_is(first, fill) | _is(second, fill), nearer, mixed)
    return np.asarray(mixed.astype(first.dtype))


def _is(values: np.ndarray, fill: Any) -> np.ndarray:
    """Which pixels are invalid."""
    return np.asarray(np.isnan(values) if np.isnan(fill) else values == fill)
