"""What the slices of a derived series must agree in, and how they must lie on those of their source."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath

import numpy as np
from pydicom import Dataset

from sr_imaging.io.dicom.reading.placement import Placement
from sr_imaging.io.dicom.slice_positions import some_names

__all__ = ["grid_problems", "join_problems", "series_problems", "source_problems"]

# What identifies a series and its patient: equal in all slices of any series.
SAME_ALWAYS = (
    *("StudyInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "SeriesNumber", "Modality"),
    *("SOPClassUID", "PatientID", "PatientName", "PatientBirthDate", "PatientSex"),
    *("StudyDate", "StudyTime", "AccessionNumber", "PatientIdentityRemoved"),
)
# What a derived series has once for all slices.
SAME_DERIVED = (
    *("ImageType", "Rows", "Columns", "PixelSpacing", "ImageOrientationPatient", "SliceThickness"),
    *("SpacingBetweenSlices", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PhotometricInterpretation", "PixelPaddingValue", "RescaleSlope", "RescaleIntercept", "RescaleType"),
    *("DerivationDescription", "LossyImageCompression"),
)
# What a derived series keeps of its source; patient and study are new where the identity was removed.
KEPT = ("FrameOfReferenceUID", "StudyInstanceUID", "PatientID", "PatientName", "AccessionNumber")
STEP_MM = 1e-4  # decimal strings of 16 characters are far finer
COSINE = 1e-3  # sideways component of an axis beyond which the grids are turned against each other
PHASE = 0.01  # of a fine voxel


def series_problems(datasets: Mapping[str, Dataset], *, derived: bool) -> Iterator[str]:
    """Yield what slices, sorted along or against their normal, disagree in; without values of the patient.

    `datasets` are headers by the path of their file; if `derived`, the rules of derived series hold as well.
    """
    slices = list(datasets.values())
    for name in (*SAME_ALWAYS, *SAME_DERIVED) if derived else SAME_ALWAYS:
        if len({str(ds.get(name)) for ds in slices}) > 1:
            yield f"{name} differs between slices"
    uids = [str(ds.SOPInstanceUID) for ds in slices if ds.get("SOPInstanceUID")]
    if len(set(uids)) < len(uids):
        yield f"{len(uids)} slices share {len(set(uids))} SOPInstanceUIDs"
    if derived:
        yield from _check_order(datasets)


def _check_order(datasets: Mapping[str, Dataset]) -> Iterator[str]:
    """Yield where numbers, locations and stated spacing do not follow the positions."""
    slices = list(datasets.values())
    numbers = [ds.get("InstanceNumber") for ds in slices]
    if None in numbers or (len(slices) > 1 and {*np.diff(np.array(numbers, int))} not in ({1}, {-1})):
        yield "InstanceNumber does not count the slices along their normal"
    if any(ds.get("ImagePositionPatient") is None for ds in slices):
        return
    points = np.array([[float(v) for v in ds.ImagePositionPatient] for ds in slices])
    steps_mm = np.linalg.norm(np.diff(points, axis=0), axis=1)
    stated = slices[0].get("SpacingBetweenSlices")
    if stated is None:
        yield "no SpacingBetweenSlices"
    elif steps_mm.size and np.abs(steps_mm - float(stated)).max() > STEP_MM:
        worst = float(steps_mm[np.abs(steps_mm - float(stated)).argmax()])
        yield f"SpacingBetweenSlices is {float(stated):g} mm, and slices lie {worst:g} mm apart"
    places = [ds.get("SliceLocation") for ds in slices]
    if None in places:
        yield "no SliceLocation"
    elif np.abs(np.abs(np.diff([float(v) for v in places])) - steps_mm).max(initial=0) > STEP_MM:
        yield "SliceLocation does not follow ImagePositionPatient"


def source_problems(derived: Dataset, source: Dataset, *, is_enhanced: bool) -> Iterator[str]:
    """Yield what a derived slice should have kept of one of its sources; without values of the patient.

    A frame of an enhanced file has a class that a single-frame slice cannot keep.
    """
    if derived.get("SeriesInstanceUID") == source.get("SeriesInstanceUID"):
        yield "SeriesInstanceUID is that of the source"
    for name in KEPT if is_enhanced else ("SOPClassUID", *KEPT):
        if source.get(name) and derived.get(name) != source.get(name):
            yield f"{name} is not that of the source"
    if source.get("LossyImageCompression") == "01" and derived.get("LossyImageCompression") != "01":
        yield "LossyImageCompression of the source is lost"
    thin, thick = derived.get("SliceThickness"), source.get("SliceThickness")
    if thin and thick and float(thin) > float(thick) * (1 + 1e-6):
        yield f"slices of {float(thin):g} mm are thicker than those of the source, {float(thick):g} mm"


def grid_problems(
    derived: Placement, source: Placement, shapes: Sequence[tuple[int, int, int]]
) -> Iterator[str]:
    """Yield how a refined grid does not lie on its source: a shift, a turn, or edges beyond it.

    A grid refined s times has its outer edges on those of the source; one that was cropped afterwards starts
    a whole number of fine voxels later. Anything else is a shift, most often by half a voxel. `shapes` are
    the voxels along z, y, x of both.
    """
    if derived.matrix is None or source.matrix is None:
        return
    mapping = np.linalg.solve(source.matrix, derived.matrix)
    steps = np.diag(mapping)[:3]
    sideways = np.abs(mapping[:3, :3] - np.diag(steps)).max()
    if sideways > COSINE * np.abs(steps).min():
        yield "the axes are turned against those of the source"
        return
    spacing = np.linalg.norm(source.matrix[:3, :3], axis=0)
    for axis, (name, step) in enumerate(zip("zyx", steps, strict=True)):
        ends = mapping[axis, 3] + step * (np.array([0, shapes[0][axis]]) - 0.5) + 0.5  # from the edge
        low, high = sorted(ends)
        fine = abs(float(step))
        before = low / fine
        shift = float(before - np.rint(before)) * fine * spacing[axis]
        if abs(shift) > PHASE * fine * spacing[axis]:
            yield f"along {name} the grid is shifted by {shift:.4g} mm against that of the source"
        beyond = max(-low, high - shapes[1][axis] - fine / 2)  # half a voxel off: not a whole fraction
        if beyond > PHASE * fine:
            yield f"along {name} the grid ends {beyond * spacing[axis]:.4g} mm beyond the source"


def join_problems(problems: Mapping[str, Sequence[str]]) -> list[str]:
    """Return each problem once, with the names of the files that have it, from the problems by path.

    >>> join_problems({"a.dcm": ["no B"], "b.dcm": ["no B", "no C"]})
    ['no B (2 of 2 files: a.dcm, b.dcm)', 'no C (1 of 2 files: b.dcm)']
    """
    files: dict[str, list[str]] = {}
    for name, found in problems.items():
        for problem in dict.fromkeys(found):
            files.setdefault(problem, []).append(name)
    total = len(problems)
    return [
        f"{problem} ({len(names)} of {total} files: {some_names([PurePath(name).name for name in names])})"
        for problem, names in files.items()
    ]
