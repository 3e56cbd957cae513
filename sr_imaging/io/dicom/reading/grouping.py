"""The frames of one folder, split into groups that could each be one volume."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from sr_imaging.io.dicom.frame import Frame
from sr_imaging.io.dicom.slice_positions import positions_on_normal
from sr_imaging.io.dicom.tags import SPLIT_ALWAYS, SPLIT_IF_REPEATED

from .placement import SAME_PLACE_MM

__all__ = ["Group", "group_frames"]

SAME_DIRECTION = 1e-4  # of a cosine: 0.03 mm over a head
SAME_SPACING = 1e-5  # relative; scanners write PixelSpacing with six digits or more
# In what slices of one SeriesInstanceUID must agree to be one series: the field of a frame by its tag.
SERIES_FIELDS = {
    "PatientID": "patient",
    "StudyInstanceUID": "study_uid",
    "SeriesNumber": "series_number",
    "Modality": "modality",
}
NOT_SHOWN = ("PatientID", "StudyInstanceUID")
STRAY_OF = 3  # a single odd slice beside this many is a stray, not a series


@dataclass
class Group:
    """Frames that share series, orientation, matrix, pixel spacing and contrast."""

    frames: list[Frame]  # in the order they were found
    split: list[str] = field(default_factory=list)  # how it differs from others of its UID: EchoNumbers 2, …
    strays: list[tuple[Frame, str]] = field(default_factory=list)  # single slices that fit no group, and why


def group_frames(frames: Sequence[Frame]) -> list[Group]:
    """Split the frames of one folder into groups that could each be one volume, in the order of files."""
    by_series: dict[tuple[str, ...], list[Frame]] = defaultdict(list)
    for frame in _share_series_number(frames):
        facts = (getattr(frame, name) for name in SERIES_FIELDS.values())
        by_series[(frame.series_uid, *facts)].append(frame)
    groups = [group for members in by_series.values() for group in _split_series(members)]
    for group in groups:
        group.split[:0] = _describe_series(group.frames[0], [other.frames[0] for other in groups])
    return groups


def _share_series_number(frames: Sequence[Frame]) -> list[Frame]:
    """Give slices without a series number the one of their UID, if it has exactly one."""
    stated: dict[str, set[str]] = defaultdict(set)
    for frame in frames:
        stated[frame.series_uid] |= {frame.series_number} - {""}
    return [
        replace(frame, series_number=min(numbers))
        if frame.series_uid and not frame.series_number and len(numbers) == 1
        else frame
        for frame, numbers in ((frame, stated[frame.series_uid]) for frame in frames)
    ]


def _describe_series(frame: Frame, others: Sequence[Frame]) -> list[str]:
    """Return how a series differs from others of its UID; patients and studies are counted, not named."""
    differences = []
    for name, field_name in SERIES_FIELDS.items():
        stated = [getattr(other, field_name) for other in others if other.series_uid == frame.series_uid]
        values, own = list(dict.fromkeys(stated)), getattr(frame, field_name)
        if len(values) > 1:
            count = f"differs ({values.index(own) + 1} of {len(values)})"
            differences.append(f"{name} {count if name in NOT_SHOWN else own or 'none'}")
    return differences


def _split_series(frames: list[Frame]) -> list[Group]:
    """Split the frames of one series by geometry, then by contrast."""
    by_geometry = _split_geometry(frames)
    strays: list[tuple[Frame, str]] = []
    if len(by_geometry) > 1:
        main = max(by_geometry, key=lambda part: len(part.frames))
        if len(main.frames) >= STRAY_OF:
            for part in [part for part in by_geometry if len(part.frames) == 1]:
                why = f"a single slice of {part.split[0]} in a series of {main.split[0]}; read its file alone"
                strays.append((part.frames[0], why))
                by_geometry.remove(part)
    if len(by_geometry) == 1:
        by_geometry[0].split = []
    groups = [group for part in by_geometry for group in _split_contrast(part)]
    groups[0].strays = strays
    return groups


def _split_geometry(frames: list[Frame]) -> list[Group]:
    """Group by matrix, orientation and pixel spacing, each within its tolerance."""
    groups: list[Group] = []
    for frame in frames:
        for group in groups:
            if _is_same_grid(group.frames[0], frame):
                group.frames.append(frame)
                break
        else:
            groups.append(Group([frame], [_describe_grid(frame)]))
    return groups


def _is_same_grid(a: Frame, b: Frame) -> bool:
    """Tell whether two slices have one matrix, orientation, pixel spacing and frame of reference."""
    if (a.rows, a.columns, a.frame_of_reference) != (b.rows, b.columns, b.frame_of_reference):
        return False
    return _are_close(a.orientation, b.orientation, 0, SAME_DIRECTION) and _are_close(
        a.pixel_spacing, b.pixel_spacing, SAME_SPACING, 0
    )


def _are_close(
    a: Sequence[float] | np.ndarray | None, b: Sequence[float] | np.ndarray | None, rtol: float, atol: float
) -> bool:
    """Compare two vectors; an absent one agrees with any, and is refused later."""
    if a is None or b is None:
        return True
    return all(abs(p - q) <= atol + rtol * abs(q) for p, q in zip(a, b, strict=True))


def _describe_grid(frame: Frame) -> str:
    """Return matrix, pixel spacing, orientation and frame of reference of a slice as text."""
    cosines = (
        "unknown" if frame.orientation is None else "\\".join(f"{c + 0.0:.3g}" for c in frame.orientation)
    )
    pixel = "unknown" if frame.pixel_spacing is None else "x".join(f"{d:g}" for d in frame.pixel_spacing)
    grid = f"matrix {frame.rows}x{frame.columns}, pixels {pixel} mm, orientation {cosines}"
    return f"{grid}, frame of reference {frame.frame_of_reference or 'none'}"


def _split_contrast(group: Group) -> list[Group]:
    """Split by the contrast keys that differ, then by one that resolves repeated positions."""
    parts = [group]
    for key in SPLIT_ALWAYS:
        parts = [piece for part in parts for piece in _split_by(part, key)]
    return [piece for part in parts for piece in _split_repeats(part)]


def _split_by(group: Group, key: str) -> list[Group]:
    """Split by one key, unless it only counts the slices."""
    values: dict[str, list[Frame]] = defaultdict(list)
    for frame in group.frames:
        values[frame.keys.get(key, "")].append(frame)
    counts_slices = len(values) > 1 and all(len(members) == 1 for members in values.values())
    if len(values) == 1 or (counts_slices and not _has_repeats(group.frames)):
        return [group]
    return [
        Group(members, [*group.split, _describe_value(key, value, values)], group.strays if n == 0 else [])
        for n, (value, members) in enumerate(values.items())
    ]


def _describe_value(key: str, value: str, values: Collection[str]) -> str:
    """Return a key with its value; a time, which may lead to a patient, is counted, not shown."""
    if key == "AcquisitionTime" and value:
        return f"{key} {sorted(values).index(value) + 1} of {len(values)}"
    return f"{key} {value or 'none'}"


def _split_repeats(group: Group) -> list[Group]:
    """Where positions repeat, split by the first key that gives stacks without repeats, all of one length."""
    if not _has_repeats(group.frames):
        return [group]
    length = _count_positions(group.frames)
    for key in SPLIT_IF_REPEATED:
        parts = _split_by(group, key)
        if len(parts) > 1 and all(
            len(part.frames) == length == _count_positions(part.frames) for part in parts
        ):
            return parts
    return [group]


def _has_repeats(frames: list[Frame]) -> bool:
    """Tell whether two slices share a position."""
    return 0 < _count_positions(frames) < len(frames)


def _count_positions(frames: list[Frame]) -> int:
    """Count the different positions along the normal; 0 where a slice has none."""
    if any(frame.position is None or frame.orientation is None for frame in frames):
        return 0
    along = np.sort(positions_on_normal(frames))
    return 1 + int((np.diff(along) > SAME_PLACE_MM).sum())
