"""Where the slices of one group lie: sorted along their normal, with every reason not to call it a volume."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from .dicom_header import Frame

__all__ = ["Placement", "place", "positions_on_normal"]

SAME_PLACE_MM = 0.01  # two slices nearer than this lie at one position
UNEVEN_MM, UNEVEN = 0.05, 0.01  # the larger of the two (1 % of the spacing) may be a slice's deviation
TILT_DEGREES = 0.1  # below it a shift off the normal is rounding of the header
COSINES = 1e-3  # deviation from unit length and right angle that header rounding can explain


@dataclass(frozen=True)
class Placement:
    """A stack of slices in space.

    Parameters
    ----------
    frames : tuple of Frame
        Sorted along the normal, identical copies dropped.
    matrix : (4, 4) ndarray, optional
        Index (z, y, x, 1) to LPS mm; None where `problems` says why.
    spacing : (float, float, float), optional
        Along z, y, x in mm.
    problems : tuple of (str, str)
        What is wrong, and the remedy.
    notes : tuple of str
        What was noticed and dealt with.
    """

    frames: tuple[Frame, ...]
    matrix: np.ndarray | None = None
    spacing: tuple[float, float, float] | None = None
    problems: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = field(default=())

    @property
    def reason(self) -> str:
        """All problems and the first one's remedy, in one sentence; empty where there is none."""
        if not self.problems:
            return ""
        return f"{', and '.join(what for what, _ in self.problems)}; {self.problems[0][1]}"


def place(frames: Sequence[Frame], are_same: Callable[[Frame, Frame], bool]) -> Placement:
    """Sort slices of one orientation, matrix and pixel spacing into a volume.

    Parameters
    ----------
    frames : sequence of Frame
        The slices in any order.
    are_same : callable
        Tells whether two slices hold the same modality values; asked only of slices at one position.

    Returns
    -------
    Placement
        With `matrix` and `spacing` where there are no problems.
    """
    problem = _missing_geometry(frames) or _bad_cosines(frames[0])
    if problem:
        return Placement(tuple(frames), problems=(problem,))
    ordered, notes, problems = _drop_copies(_sort(frames), are_same)
    if problems:
        return Placement(tuple(ordered), problems=tuple(problems))
    if len(ordered) == 1:
        return _single(ordered[0], notes)
    problems = [*_tilt(ordered), *_uneven(ordered)]
    if problems:
        return Placement(tuple(ordered), problems=tuple(problems), notes=tuple(notes))
    return _placed(ordered, _z_step(ordered), notes)


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


def _missing_geometry(frames: Sequence[Frame]) -> tuple[str, str] | None:
    """Name the first geometry attribute that some slices lack."""
    for attribute, tag in (
        ("position", "ImagePositionPatient"),
        ("orientation", "ImageOrientationPatient"),
        ("pixel_spacing", "PixelSpacing"),
    ):
        lacking = [frame.name for frame in frames if getattr(frame, attribute) is None]
        if lacking:
            return (
                f"{len(lacking)} of {len(frames)} slices have no {tag} ({_names(lacking)})",
                "export the series again with its geometry",
            )
    return None


def _bad_cosines(frame: Frame) -> tuple[str, str] | None:
    """Refuse row and column directions that are no right-angled unit vectors."""
    if frame.orientation is None:
        return None
    row, column = frame.orientation[:3], frame.orientation[3:]
    off = max(
        abs(float(np.linalg.norm(row)) - 1), abs(float(np.linalg.norm(column)) - 1), abs(float(row @ column))
    )
    if off <= COSINES:
        return None
    return (
        f"ImageOrientationPatient of {frame.name} is not two right-angled unit vectors (off by {off:.3g})",
        "export the series again with its geometry",
    )


def _sort(frames: Sequence[Frame]) -> list[Frame]:
    """Sort along the normal; at one place by instance number and name: copies have an order."""
    along = positions_on_normal(frames)
    order = sorted(
        range(len(frames)),
        key=lambda i: (along[i], frames[i].instance_number, frames[i].path, frames[i].index),
    )
    return [frames[i] for i in order]


def _drop_copies(
    ordered: list[Frame], are_same: Callable[[Frame, Frame], bool]
) -> tuple[list[Frame], list[str], list[tuple[str, str]]]:
    """Keep one of identical slices at one position; different ones are a problem."""
    along = positions_on_normal(ordered)
    kept, notes, clashes = [0], [], []
    for i in range(1, len(ordered)):
        if along[i] - along[kept[-1]] > SAME_PLACE_MM:
            kept.append(i)
        elif are_same(ordered[kept[-1]], ordered[i]):
            notes.append(f"{ordered[i].name} dropped, an identical copy of {ordered[kept[-1]].name}")
        else:
            clashes.append(f"{ordered[kept[-1]].name} and {ordered[i].name} at {along[i]:g} mm")
    problems = []
    if clashes:
        what = f"{len(clashes)} positions hold duplicate slices with different pixels ({_names(clashes)})"
        problems.append((what, "keep one slice a position"))
    return [ordered[i] for i in kept], notes, problems


def _tilt(ordered: list[Frame]) -> list[tuple[str, str]]:
    """Refuse slices that shift sideways as they go along their normal."""
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


def _uneven(ordered: list[Frame]) -> list[tuple[str, str]]:
    """Refuse gaps and slices off the even grid that fits best, along the normal or sideways."""
    along = positions_on_normal(ordered)
    steps = np.diff(along)
    usual = float(np.median(steps))
    allowed = _allowed(usual)
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
    what = f"{missing} {slices} missing: {_names(places)}, where slices are {usual:.4g} mm apart"
    return what, "add the missing files"


def _z_step(ordered: list[Frame]) -> np.ndarray:
    """Vector from slice to slice: along the normal, unless that would misplace the last slice.

    Rounded positions drift off the normal by less than the tolerance; the straight axes agree with what
    other readers make of them.
    """
    points = np.array([frame.position for frame in ordered])
    step = (points[-1] - points[0]) / (len(points) - 1)
    straight = (step @ normal(ordered[0])) * normal(ordered[0])
    drift = float(np.linalg.norm(step - straight)) * (len(points) - 1)
    return np.asarray(straight if drift <= _allowed(float(np.linalg.norm(step))) else step)


def _allowed(spacing: float) -> float:
    """Deviation of a slice in mm that counts as rounding."""
    return max(UNEVEN_MM, UNEVEN * spacing)


def _single(frame: Frame, notes: list[str]) -> Placement:
    """Place one slice; what its file says of the distance to the next one stands for the spacing."""
    depth = abs(frame.slice_gap or 0) or abs(frame.thickness or 0)
    if not depth:
        what = f"{frame.name} is a single slice without SliceThickness or SpacingBetweenSlices"
        return Placement((frame,), problems=((what, "add the other slices of its series"),))
    return _placed([frame], normal(frame) * depth, notes)


def _placed(ordered: list[Frame], z_step: np.ndarray, notes: list[str]) -> Placement:
    """Build the affine; cosines rounded beyond a millionth are brought to unit length."""
    first = ordered[0]
    if first.orientation is None or first.position is None or first.pixel_spacing is None:
        raise ValueError("a slice without geometry cannot be placed")
    row, column = first.orientation[:3], first.orientation[3:]
    off = max(abs(float(np.linalg.norm(v)) - 1) for v in (row, column))
    if off > 5e-7:
        row, column = row / np.linalg.norm(row), column / np.linalg.norm(column)
        notes = [*notes, f"ImageOrientationPatient is rounded (off unit length by {off:.1g}); normalised"]
    matrix = np.eye(4)
    matrix[:3, 0] = z_step
    matrix[:3, 1] = column * first.pixel_spacing[0]
    matrix[:3, 2] = row * first.pixel_spacing[1]
    matrix[:3, 3] = first.position
    spacing = (float(np.linalg.norm(z_step)), *first.pixel_spacing)
    return Placement(tuple(ordered), matrix, spacing, notes=tuple(notes))


def _names(names: list[str]) -> str:
    """At most three names, and how many more."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
