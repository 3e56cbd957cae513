"""Whether slices are straight and even: gaps, uneven steps and gantry tilt, each with its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .frame import Frame

__all__ = [
    "Problem",
    "allowed_deviation",
    "header_rounding",
    "positions_on_normal",
    "rounding_notes",
    "slice_normal",
    "slot_numbers",
    "some_names",
    "spacing_problems",
    "tilt_problems",
]

UNEVEN_MM, UNEVEN = 0.05, 0.01  # a slice may deviate by the larger of the two (1 % of the spacing)
ROUNDED_MM = 0.01  # off the even grid; more is worth a note
TILT_DEGREES = 0.1  # below it a shift off the normal is rounding of the header
MOST_TILT_DEGREES = 45  # gantries tilt to about 30; more, or a shift beyond a slice, is not straightened


@dataclass(frozen=True)
class Problem:
    """Why slices do not form a volume."""

    what: str  # with its numbers and file names
    remedy: str
    policy: str = ""  # of `sr_imaging.read`, which repairs it; empty where none does


def positions_on_normal(frames: Sequence[Frame]) -> np.ndarray:
    """Return the (n,) positions of slices in mm along the normal of the first one."""
    return np.asarray(np.array([frame.position for frame in frames]) @ slice_normal(frames[0]))


def slice_normal(frame: Frame) -> np.ndarray:
    """Return the (3,) unit normal of a slice: row direction × column direction."""
    if frame.orientation is None:
        raise ValueError("a slice without orientation has no normal")
    cross = np.cross(frame.orientation[:3], frame.orientation[3:])
    return np.asarray(cross / np.linalg.norm(cross))


def tilt_problems(ordered: list[Frame]) -> list[Problem]:
    """Return what is wrong with sorted slices that shift sideways along their normal; at most one problem."""
    shift = np.subtract(ordered[-1].position, ordered[0].position)  # type: ignore[arg-type]
    along = float(shift @ slice_normal(ordered[0]))
    sideways = float(np.linalg.norm(shift - along * slice_normal(ordered[0])))
    degrees = float(np.degrees(np.arctan2(sideways, abs(along))))
    if degrees <= TILT_DEGREES or sideways <= max(UNEVEN_MM, header_rounding(ordered)):
        return []
    what = (
        f"gantry tilt: the slices shift {degrees:.3g} degrees off their normal, "
        f"{sideways:.3g} mm over the stack"
    )
    first = ordered[0]
    sides = np.multiply((first.rows, first.columns), first.pixel_spacing or (1, 1))
    if degrees > MOST_TILT_DEGREES or sideways > sides.min():
        return [Problem(what, "export the series again with its geometry")]
    return [Problem(what, "ask for on_tilt=resample", "on_tilt")]


def header_rounding(ordered: list[Frame]) -> float:
    """Return the shift in mm that rounding explains where positions have one or two decimals, else 0."""
    ends = np.array([ordered[0].position, ordered[-1].position], dtype=np.float64)
    for decimals in (1, 2):
        if np.abs(ends * 10**decimals - np.rint(ends * 10**decimals)).max() < 1e-6:
            return float(np.sqrt(3) * 10.0**-decimals)  # half a last digit at both ends, in three axes
    return 0.0


def spacing_problems(ordered: list[Frame]) -> list[Problem]:
    """Return what is wrong with sorted slices that have gaps or lie off the even grid that fits best."""
    along = positions_on_normal(ordered)
    steps, counts = np.diff(along), np.diff(slot_numbers(along))
    usual = float(np.median(steps))
    allowed = allowed_deviation(usual)
    gaps = np.flatnonzero((counts > 1) & (np.abs(steps - counts * usual) <= 2 * allowed))
    if gaps.size and (np.abs(np.delete(steps, gaps) - usual) <= 2 * allowed).all():
        return [_describe_gaps(ordered, along, [int(k) for k in gaps])]
    off = _distances_off_grid(ordered, np.arange(len(ordered)))
    worst = int(off.argmax())
    if off[worst] <= allowed:
        return []
    what = (
        f"uneven slice spacing: {steps.min():.4g} to {steps.max():.4g} mm, {ordered[worst].name} is "
        f"{off[worst]:.3g} mm off the even grid of {np.mean(steps):.4g} mm (tolerance {allowed:.3g} mm)"
    )
    return [Problem(what, "resample the series to an even spacing first")]


def slot_numbers(along: np.ndarray) -> np.ndarray:
    """Number slices, (n,) int from 0, by ascending positions in mm on the grid of their usual step.

    The numbers of missing slices are skipped.
    """
    steps = np.diff(along)
    counts = np.maximum(np.rint(steps / np.median(steps)).astype(int), 1)
    return np.concatenate([[0], np.cumsum(counts)])


def _distances_off_grid(ordered: list[Frame], numbers: np.ndarray) -> np.ndarray:
    """Return the (n,) distances in mm of positions from the even grid that fits best."""
    points = np.array([frame.position for frame in ordered])
    index = numbers - numbers.mean()
    step = index @ points / (index @ index)
    rest = points - points.mean(0) - index[:, None] * step
    along = rest @ slice_normal(ordered[0])
    sideways = np.linalg.norm(rest - along[:, None] * slice_normal(ordered[0]), axis=1)
    return np.asarray(np.maximum(np.abs(along), sideways))


def _describe_gaps(ordered: list[Frame], along: np.ndarray, gaps: list[int]) -> Problem:
    """Describe each gap by its length and its neighbours."""
    places = [
        f"gap of {along[k + 1] - along[k]:.4g} mm between {ordered[k].name} at {along[k]:.4g} mm "
        f"and {ordered[k + 1].name} at {along[k + 1]:.4g} mm"
        for k in gaps
    ]
    usual = float(np.median(np.diff(along)))
    missing = int(slot_numbers(along)[-1]) + 1 - len(ordered)
    slices = "slice is" if missing == 1 else "slices are"
    what = f"{missing} {slices} missing: {some_names(places)}, where slices are {usual:.4g} mm apart"
    if missing > len(ordered) or _distances_off_grid(ordered, slot_numbers(along)).max() > allowed_deviation(
        usual
    ):
        return Problem(what, "add the missing files")
    return Problem(what, "add the missing files or ask for on_missing=resample", "on_missing")


def rounding_notes(ordered: list[Frame]) -> list[str]:
    """Return a note where rounding makes the step of the first two sorted slices misplace the last one."""
    points = np.array([frame.position for frame in ordered])
    mean = (points[-1] - points[0]) / (len(points) - 1)
    missed = float(np.linalg.norm(points[1] - points[0] - mean)) * (len(points) - 1)
    off = float(_distances_off_grid(ordered, np.arange(len(points))).max())
    if off <= ROUNDED_MM or missed <= allowed_deviation(float(np.linalg.norm(mean))):
        return []
    return [
        f"slices lie up to {off:.2g} mm off the even grid of {np.linalg.norm(mean):.5g} mm, in tolerance; "
        f"the step of the first two alone would misplace the last one by {missed:.2g} mm"
    ]


def allowed_deviation(spacing: float) -> float:
    """Return the deviation of a slice in mm that counts as rounding, for a slice spacing in mm."""
    return max(UNEVEN_MM, UNEVEN * spacing)


def some_names(names: list[str]) -> str:
    """Return at most three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
