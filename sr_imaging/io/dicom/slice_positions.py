"""Whether slices stand straight and evenly: gaps, uneven steps and gantry tilt, each with its numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .frame import Frame

__all__ = [
    "Problem",
    "allowed_deviation",
    "header_rounding",
    "normal",
    "positions_on_normal",
    "rounding_note",
    "slots",
    "some_names",
    "tilt",
    "uneven",
]

UNEVEN_MM, UNEVEN = 0.05, 0.01  # the larger of the two (1 % of the spacing) may be a slice's deviation
ROUNDED_MM = 0.01  # off the even grid: from here on it is worth a note
TILT_DEGREES = 0.1  # below it a shift off the normal is rounding of the header
MOST_TILT_DEGREES = (
    45  # gantries go to about 30; beyond it, or beyond a slice's side, nothing is straightened
)


@dataclass(frozen=True)
class Problem:
    """Why slices are no volume.

    Parameters
    ----------
    what : str
        With its numbers and file names.
    remedy : str
        What to do.
    policy : str
        The policy of `sr_imaging.read` under which it is repaired; empty where none does.
    """

    what: str
    remedy: str
    policy: str = ""


def positions_on_normal(frames: Sequence[Frame]) -> np.ndarray:
    """Project the positions of slices on the normal of the first one.

    Parameters
    ----------
    frames : sequence of n Frame
        Slices with position and orientation.

    Returns
    -------
    (n,) float64 ndarray
        Millimetres along row direction × column direction.
    """
    return np.asarray(np.array([frame.position for frame in frames]) @ normal(frames[0]))


def normal(frame: Frame) -> np.ndarray:
    """Unit normal of a slice: row direction × column direction."""
    if frame.orientation is None:
        raise ValueError("a slice without orientation has no normal")
    cross = np.cross(frame.orientation[:3], frame.orientation[3:])
    return np.asarray(cross / np.linalg.norm(cross))


def tilt(ordered: list[Frame]) -> list[Problem]:
    """Refuse slices that shift sideways as they go along their normal.

    Parameters
    ----------
    ordered : list of Frame
        At least two slices, sorted along the normal.

    Returns
    -------
    list of Problem
        What is wrong with the angle in degrees; empty where nothing is.
    """
    shift = np.subtract(ordered[-1].position, ordered[0].position)  # type: ignore[arg-type]
    along = float(shift @ normal(ordered[0]))
    sideways = float(np.linalg.norm(shift - along * normal(ordered[0])))
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
    """How far two positions may shift in mm because they are written with one decimal or two."""
    ends = np.array([ordered[0].position, ordered[-1].position], dtype=np.float64)
    for decimals in (1, 2):
        if np.abs(ends * 10**decimals - np.rint(ends * 10**decimals)).max() < 1e-6:
            return float(np.sqrt(3) * 10.0**-decimals)  # half a last digit at both ends, in three axes
    return 0.0


def uneven(ordered: list[Frame]) -> list[Problem]:
    """Refuse gaps, and slices off the even grid that fits best, along the normal or sideways.

    Parameters
    ----------
    ordered : list of Frame
        At least two slices, sorted along the normal.

    Returns
    -------
    list of Problem
        What is wrong with its lengths in mm and file names; empty where nothing is.
    """
    along = positions_on_normal(ordered)
    steps, counts = np.diff(along), np.diff(slots(along))
    usual = float(np.median(steps))
    allowed = allowed_deviation(usual)
    gaps = np.flatnonzero((counts > 1) & (np.abs(steps - counts * usual) <= 2 * allowed))
    if gaps.size and (np.abs(np.delete(steps, gaps) - usual) <= 2 * allowed).all():
        return [_gap(ordered, along, [int(k) for k in gaps])]
    off = _off_grid(ordered, np.arange(len(ordered)))
    worst = int(off.argmax())
    if off[worst] <= allowed:
        return []
    what = (
        f"uneven slice spacing: {steps.min():.4g} to {steps.max():.4g} mm, {ordered[worst].name} is "
        f"{off[worst]:.3g} mm off the even grid of {np.mean(steps):.4g} mm (tolerance {allowed:.3g} mm)"
    )
    return [Problem(what, "resample the series to an even spacing first")]


def slots(along: np.ndarray) -> np.ndarray:
    """Number slices on the grid of their usual step; the numbers of missing slices are left out.

    Parameters
    ----------
    along : (n,) ndarray
        Ascending positions in mm, n >= 2.

    Returns
    -------
    (n,) int ndarray
        From 0, at least 1 apart.
    """
    steps = np.diff(along)
    counts = np.maximum(np.rint(steps / np.median(steps)).astype(int), 1)
    return np.concatenate([[0], np.cumsum(counts)])


def _off_grid(ordered: list[Frame], numbers: np.ndarray) -> np.ndarray:
    """Distance of each position from the even grid that fits best, in mm, over all three axes."""
    points = np.array([frame.position for frame in ordered])
    index = numbers - numbers.mean()
    step = index @ points / (index @ index)
    rest = points - points.mean(0) - index[:, None] * step
    along = rest @ normal(ordered[0])
    sideways = np.linalg.norm(rest - along[:, None] * normal(ordered[0]), axis=1)
    return np.asarray(np.maximum(np.abs(along), sideways))


def _gap(ordered: list[Frame], along: np.ndarray, gaps: list[int]) -> Problem:
    """Name each gap by its length and its neighbours."""
    places = [
        f"gap of {along[k + 1] - along[k]:.4g} mm between {ordered[k].name} at {along[k]:.4g} mm "
        f"and {ordered[k + 1].name} at {along[k + 1]:.4g} mm"
        for k in gaps
    ]
    usual = float(np.median(np.diff(along)))
    missing = int(slots(along)[-1]) + 1 - len(ordered)
    slices = "slice is" if missing == 1 else "slices are"
    what = f"{missing} {slices} missing: {some_names(places)}, where slices are {usual:.4g} mm apart"
    if missing > len(ordered) or _off_grid(ordered, slots(along)).max() > allowed_deviation(usual):
        return Problem(what, "add the missing files")
    return Problem(what, "add the missing files or ask for on_missing=resample", "on_missing")


def rounding_note(ordered: list[Frame]) -> list[str]:
    """Say where positions are so rounded that the step of the first two slices misplaces the last one.

    Parameters
    ----------
    ordered : list of Frame
        At least two slices without problems, sorted along the normal.

    Returns
    -------
    list of str
        One note, or none.
    """
    points = np.array([frame.position for frame in ordered])
    mean = (points[-1] - points[0]) / (len(points) - 1)
    missed = float(np.linalg.norm(points[1] - points[0] - mean)) * (len(points) - 1)
    off = float(_off_grid(ordered, np.arange(len(points))).max())
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
