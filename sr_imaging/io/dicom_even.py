"""Whether slices stand straight and evenly: gaps, uneven steps and gantry tilt, each with its numbers."""

from collections.abc import Sequence

import numpy as np

from .dicom_frame import Frame

__all__ = ["allowed_deviation", "normal", "positions_on_normal", "some_names", "tilt", "uneven"]

UNEVEN_MM, UNEVEN = 0.05, 0.01  # the larger of the two (1 % of the spacing) may be a slice's deviation
TILT_DEGREES = 0.1  # below it a shift off the normal is rounding of the header


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


def tilt(ordered: list[Frame]) -> list[tuple[str, str]]:
    """Refuse slices that shift sideways as they go along their normal.

    Parameters
    ----------
    ordered : list of Frame
        At least two slices, sorted along the normal.

    Returns
    -------
    list of (str, str)
        What is wrong with the angle in degrees, and the remedy; empty where nothing is.
    """
    shift = np.subtract(ordered[-1].position, ordered[0].position)  # type: ignore[arg-type]
    along = float(shift @ normal(ordered[0]))
    sideways = float(np.linalg.norm(shift - along * normal(ordered[0])))
    degrees = float(np.degrees(np.arctan2(sideways, abs(along))))
    if degrees <= TILT_DEGREES or sideways <= UNEVEN_MM:
        return []
    what = (
        f"gantry tilt: the slices shift {degrees:.3g} degrees off their normal, "
        f"{sideways:.3g} mm over the stack"
    )
    return [(what, "resample the series to straight slices first")]


def uneven(ordered: list[Frame]) -> list[tuple[str, str]]:
    """Refuse gaps, and slices off the even grid that fits best, along the normal or sideways.

    Parameters
    ----------
    ordered : list of Frame
        At least two slices, sorted along the normal.

    Returns
    -------
    list of (str, str)
        What is wrong with its lengths in mm and file names, and the remedy; empty where nothing is.
    """
    along = positions_on_normal(ordered)
    steps = np.diff(along)
    usual = float(np.median(steps))
    allowed = allowed_deviation(usual)
    gaps = np.flatnonzero(
        (np.round(steps / usual) > 1) & (np.abs(steps - np.round(steps / usual) * usual) <= 2 * allowed)
    )
    if gaps.size and (np.abs(np.delete(steps, gaps) - usual) <= 2 * allowed).all():
        return [_gap(ordered, along, [int(k) for k in gaps], usual)]
    off = _off_grid(ordered)
    worst = int(off.argmax())
    if off[worst] <= allowed:
        return []
    what = (
        f"uneven slice spacing: {steps.min():.4g} to {steps.max():.4g} mm, {ordered[worst].name} is "
        f"{off[worst]:.3g} mm off the even grid of {np.mean(steps):.4g} mm (tolerance {allowed:.3g} mm)"
    )
    return [(what, "resample the series to an even spacing first")]


def _off_grid(ordered: list[Frame]) -> np.ndarray:
    """Distance of each position from the even grid that fits best, in mm, over all three axes."""
    points = np.array([frame.position for frame in ordered])
    index = np.arange(len(points)) - (len(points) - 1) / 2
    step = index @ points / (index @ index)
    rest = points - points.mean(0) - index[:, None] * step
    along = rest @ normal(ordered[0])
    sideways = np.linalg.norm(rest - along[:, None] * normal(ordered[0]), axis=1)
    return np.asarray(np.maximum(np.abs(along), sideways))


def _gap(ordered: list[Frame], along: np.ndarray, gaps: list[int], usual: float) -> tuple[str, str]:
    """Name each gap by its length and its neighbours."""
    places = [
        f"gap of {along[k + 1] - along[k]:.4g} mm between {ordered[k].name} at {along[k]:.4g} mm "
        f"and {ordered[k + 1].name} at {along[k + 1]:.4g} mm"
        for k in gaps
    ]
    missing = int(sum(round((along[k + 1] - along[k]) / usual) - 1 for k in gaps))
    slices = "slice is" if missing == 1 else "slices are"
    what = f"{missing} {slices} missing: {some_names(places)}, where slices are {usual:.4g} mm apart"
    return what, "add the missing files"


def allowed_deviation(spacing: float) -> float:
    """Return the deviation of a slice in mm that counts as rounding, for a slice spacing in mm."""
    return max(UNEVEN_MM, UNEVEN * spacing)


def some_names(names: list[str]) -> str:
    """Return at most three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
