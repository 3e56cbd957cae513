"""Where the slices of one group lie: sorted along their normal, with every reason against a volume."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace

import numpy as np

from sr_imaging.io.dicom.frame import Frame
from sr_imaging.io.dicom.slice_positions import (
    Problem,
    allowed_deviation,
    header_rounding,
    positions_on_normal,
    rounding_notes,
    slice_normal,
    some_names,
    spacing_problems,
    tilt_problems,
)

from .repair import Repair, plan_repair
from .rescale import value_problems

__all__ = ["SAME_PLACE_MM", "Placement", "place_slices"]

SAME_PLACE_MM = 0.01  # two slices nearer than this lie at one position
COSINES = 1e-3  # deviation from unit length and right angle that header rounding can explain
AGAIN = "export the series again with its geometry"


@dataclass(frozen=True)
class Placement:
    """A stack of slices in space."""

    frames: tuple[Frame, ...]  # sorted along the normal, identical copies dropped
    matrix: np.ndarray | None = None  # (4, 4), index (z, y, x, 1) to LPS mm; None where there are problems
    spacing: tuple[float, float, float] | None = None  # along z, y, x in mm
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()  # what was noticed and dealt with
    repair: Repair | None = None  # how slices come onto the grid of `matrix`, where they are not on it

    @property
    def reason(self) -> str:
        """All problems and their remedies, in one sentence; empty where there is none."""
        if not self.problems:
            return ""
        what = ", and ".join(problem.what for problem in self.problems)
        # a policy does not help where another problem has none
        remedies = [problem.remedy for problem in self.problems if not problem.policy or self.needs]
        return f"{what}; {' and '.join(remedies)}"

    @property
    def needs(self) -> tuple[str, ...]:
        """The policies that repair all problems; none where one of them has no such policy."""
        policies = tuple(problem.policy for problem in self.problems)
        return policies if all(policies) else ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Slices, rows and columns of the volume."""
        first, repair = self.frames[0], self.repair
        if repair is None:
            return len(self.frames), first.rows, first.columns
        return repair.count, first.rows + repair.margin[0], first.columns + repair.margin[1]


def place_slices(
    frames: Sequence[Frame],
    are_same: Callable[[Frame, Frame], bool],
    *,
    policies: Collection[str] = (),
) -> Placement:
    """Sort slices of one orientation, matrix and pixel spacing into a volume.

    `are_same` tells whether two slices have the same values, and is asked only of slices at one position;
    `policies` (``on_missing``, ``on_tilt``) are what may be repaired.
    """
    refused = [*_geometry_problems(frames), *value_problems(frames)]
    if refused:
        return Placement(tuple(frames), problems=tuple(refused))
    ordered, notes, problems = _drop_copies(_sort_slices(frames), are_same)
    if problems:
        return Placement(tuple(ordered), problems=tuple(problems))
    if len(ordered) == 1:
        return _place_single(ordered[0], notes)
    problems = [*tilt_problems(ordered), *spacing_problems(ordered)]
    if not problems:
        return _place_evenly(ordered, _z_step(ordered, len(ordered) - 1), [*notes, *rounding_notes(ordered)])
    placement = Placement(tuple(ordered), problems=tuple(problems), notes=tuple(notes))
    needs = set(placement.needs)
    if needs and needs <= set(policies):
        return _place_repaired(ordered, plan_repair(ordered, needs), notes)
    return placement


def _place_repaired(ordered: list[Frame], repair: Repair, notes: list[str]) -> Placement:
    """Place the grid that slices are resampled onto; it is straight where they are tilted."""
    placed = _place_evenly(ordered, _z_step(ordered, repair.count - 1), [*notes, *repair.notes])
    matrix = placed.matrix
    if matrix is None or placed.spacing is None:
        raise ValueError("a repaired stack must have a place")
    if any(repair.margin):
        along = slice_normal(ordered[0])
        matrix[:3, 0] = (matrix[:3, 0] @ along) * along
    matrix[:3, 3] += matrix[:3, 1] * repair.origin[0] + matrix[:3, 2] * repair.origin[1]
    spacing = (float(np.linalg.norm(matrix[:3, 0])), *placed.spacing[1:])
    return replace(placed, matrix=matrix, spacing=spacing, repair=repair)


def _geometry_problems(frames: Sequence[Frame]) -> list[Problem]:
    """Return the first geometry attribute that some slices lack, or what is wrong with the directions."""
    for attribute, tag in (
        ("position", "ImagePositionPatient"),
        ("orientation", "ImageOrientationPatient"),
        ("pixel_spacing", "PixelSpacing"),
    ):
        lacking = [frame.name for frame in frames if getattr(frame, attribute) is None]
        if lacking:
            what = f"{len(lacking)} of {len(frames)} slices have no {tag} ({some_names(lacking)})"
            return [Problem(what, AGAIN)]
    return _cosine_problems(frames[0])


def _cosine_problems(frame: Frame) -> list[Problem]:
    """Return what is wrong where row and column directions are not unit vectors at right angles."""
    row, column = np.split(np.asarray(frame.orientation), 2)
    off = max(
        abs(float(np.linalg.norm(row)) - 1), abs(float(np.linalg.norm(column)) - 1), abs(float(row @ column))
    )
    if off <= COSINES:
        return []
    what = f"ImageOrientationPatient of {frame.name} is not two right-angled unit vectors (off by {off:.3g})"
    return [Problem(what, AGAIN)]


def _sort_slices(frames: Sequence[Frame]) -> list[Frame]:
    """Sort slices along the normal; at one position by instance number and name: copies have an order."""
    along = positions_on_normal(frames)
    order = sorted(
        range(len(frames)),
        key=lambda i: (along[i], frames[i].instance_number, frames[i].path, frames[i].index),
    )
    return [frames[i] for i in order]


def _drop_copies(
    ordered: list[Frame], are_same: Callable[[Frame, Frame], bool]
) -> tuple[list[Frame], list[str], list[Problem]]:
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
        what = f"{len(clashes)} positions hold duplicate slices with different pixels ({some_names(clashes)})"
        problems.append(Problem(what, "keep one slice a position"))
    return [ordered[i] for i in kept], notes, problems


def _z_step(ordered: list[Frame], steps: int) -> np.ndarray:
    """Return the (3,) mm from slice to slice: along the normal, unless that misplaces the last of `steps`.

    Rounded positions drift off the normal by less than the tolerance; other readers straighten them, too.
    """
    points = np.array([frame.position for frame in ordered])
    step = (points[-1] - points[0]) / steps
    straight = (step @ slice_normal(ordered[0])) * slice_normal(ordered[0])
    drift = float(np.linalg.norm(step - straight)) * steps
    allowed = max(allowed_deviation(float(np.linalg.norm(step))), header_rounding(ordered))
    return np.asarray(straight if drift <= allowed else step)


def _place_single(frame: Frame, notes: list[str]) -> Placement:
    """Place one slice; its file's distance to the next slice, or its thickness, is its spacing."""
    depth = abs(frame.slice_gap or 0) or abs(frame.thickness or 0)
    if not depth:
        what = f"{frame.name} is a single slice without SliceThickness or SpacingBetweenSlices"
        return Placement((frame,), problems=(Problem(what, "add the other slices of its series"),))
    return _place_evenly([frame], slice_normal(frame) * depth, notes)


def _place_evenly(ordered: list[Frame], z_step: np.ndarray, notes: list[str]) -> Placement:
    """Build the affine; directions are normalised, so that the spacing is exactly the stated one."""
    first = ordered[0]
    if first.orientation is None or first.position is None or first.pixel_spacing is None:
        raise ValueError("a slice without geometry cannot be placed")
    row, column = first.orientation[:3], first.orientation[3:]
    off = max(abs(float(np.linalg.norm(v)) - 1) for v in (row, column))
    row, column = row / np.linalg.norm(row), column / np.linalg.norm(column)
    if off > 5e-7:  # more than rounding to six digits
        notes = [*notes, f"ImageOrientationPatient is rounded (off unit length by {off:.1g}); normalised"]
    matrix = np.eye(4)
    matrix[:3, 0] = z_step
    matrix[:3, 1] = column * first.pixel_spacing[0]
    matrix[:3, 2] = row * first.pixel_spacing[1]
    matrix[:3, 3] = first.position
    spacing = (float(np.linalg.norm(z_step)), *first.pixel_spacing)
    return Placement(tuple(ordered), matrix, spacing, notes=tuple(notes))
