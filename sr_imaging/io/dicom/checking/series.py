"""Whether a DICOM series is a sound derived one: what dciodvfy does not see, in plain words."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pydicom import Dataset, dcmread

from sr_imaging.errors import ReadError
from sr_imaging.io.dicom.frame import BROKEN_FILE, Frame
from sr_imaging.io.dicom.quiet_pydicom import quiet_pydicom
from sr_imaging.io.dicom.reading.pixels import open_pixels, stored_values
from sr_imaging.io.dicom.reading.placement import Placement
from sr_imaging.io.dicom.reading.series import load_placement
from sr_imaging.io.scan import Check, Scan

from .file_rules import derived_problems, file_problems, is_derived
from .series_rules import grid_problems, join_problems, series_problems, source_problems

__all__ = ["check_scans"]


@dataclass(frozen=True)
class _CheckedSeries:
    """A series under check."""

    placement: Placement  # with the slices in order
    headers: dict[str, Dataset]  # by the path of the file

    @property
    def uids(self) -> set[str]:
        """Return the SOPInstanceUIDs of its files."""
        return {self.uid(frame) for frame in self.placement.frames}

    def uid(self, frame: Frame) -> str:
        """Return the SOPInstanceUID of a slice, which some files state in their meta information alone."""
        meta = getattr(self.headers[str(frame.path)], "file_meta", Dataset())
        return frame.sop_instance or str(meta.get("MediaStorageSOPInstanceUID", ""))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        first = self.placement.frames[0]
        return len(self.placement.frames), first.rows, first.columns


def check_scans(scans: Sequence[Scan]) -> list[Check | None]:
    """Check DICOM series, and derived ones against those of their sources that are among them.

    Every series is checked by the rules of single files and of a series; a derived one also by those of
    derivation, references, values and place. None stands for a scan that is not a readable DICOM series.
    """
    with quiet_pydicom():
        series = [_load_series(scan) if scan.kind == "dicom" else None for scan in scans]
        return [None if item is None else _check_one(item, [s for s in series if s]) for item in series]


def _load_series(scan: Scan) -> _CheckedSeries | None:
    """Read all headers of a series; None if its slices cannot be read."""
    try:
        placement = load_placement(scan)
    except ReadError:
        return None
    paths = dict.fromkeys(frame.path for frame in placement.frames)
    return _CheckedSeries(placement, {str(path): _read_header(path) for path in paths})


def _read_header(path: Path) -> Dataset:
    """Return the header of one file; an empty one where it is damaged."""
    try:
        return dcmread(path, stop_before_pixels=True, force=True)
    except BROKEN_FILE:
        return Dataset()


def _check_one(series: _CheckedSeries, others: Sequence[_CheckedSeries]) -> Check:
    """Apply all rules that hold for a series, but not blame it for what is wrong in its source as well."""
    derived = any(is_derived(header) for header in series.headers.values())
    source = _find_source(series, others) if derived else None
    theirs = source.headers.values() if source else ()
    known = {text for header in theirs for text in _find_file_problems(header)}
    by_file = {
        name: [text for text in _find_file_problems(header, derived=derived) if text not in known]
        for name, header in series.headers.items()
    }
    problems = join_problems(by_file)
    problems += _collect_problems(lambda: series_problems(series.headers, derived=derived))
    if not derived:
        return Check(notes=("acquired, not derived", *problems))
    frames = {str(frame.path): frame for frame in series.placement.frames}
    problems += join_problems({k: _find_pixel_problems(one, series.headers[k]) for k, one in frames.items()})
    if source is None:
        return Check(tuple(problems), ("its source series was not given, so its place was not compared",))
    problems += _collect_problems(lambda: join_problems(_compare_with_source(series, source)))
    problems += grid_problems(series.placement, source.placement, (series.shape, source.shape))
    return Check(tuple(problems))


def _find_file_problems(header: Dataset, *, derived: bool = False) -> list[str]:
    """Return the problems of one header."""
    own = _collect_problems(lambda: file_problems(header))
    return own + (_collect_problems(lambda: derived_problems(header)) if derived else [])


def _collect_problems(rules: Callable[[], Iterable[str]]) -> list[str]:
    """Return the problems that rules find; a header too damaged for them is one."""
    try:
        return [*rules()]
    except BROKEN_FILE as error:
        return [f"a damaged header stops a check ({type(error).__name__})"]


def _find_pixel_problems(frame: Frame, header: Dataset) -> list[str]:
    """Return the problems of one slice's values: bits beyond those stated, extremes that are not its own."""
    allocated = frame.bits[0]
    all_bits = replace(frame, bits=(allocated, allocated, allocated - 1))  # so that none is cut off
    try:
        whole = stored_values(open_pixels(frame.path), all_bits)
    except ReadError:
        return ["its pixels cannot be decoded"]
    low, high = int(whole.min()), int(whole.max())
    bottom = -(1 << frame.bits[1] - 1) if frame.signed else 0
    problems = []
    if low < bottom or high >= bottom + (1 << frame.bits[1]):
        problems.append(f"stored values {low} to {high} do not fit {frame.bits[1]} bits")
    for name, actual in (("SmallestImagePixelValue", low), ("LargestImagePixelValue", high)):
        if isinstance(stated := header.get(name), int) and stated != actual:
            problems.append(f"{name} is {stated}, not {actual}")
    return problems


def _find_source(series: _CheckedSeries, others: Iterable[_CheckedSeries]) -> _CheckedSeries | None:
    """Return the series that holds most of the sources which the slices name."""
    named = _list_named_sources(series.headers.values())
    found = [(len(named & other.uids), k) for k, other in enumerate(others) if other is not series]
    count, best = max(found, default=(0, 0))
    return list(others)[best] if count else None


def _list_named_sources(headers: Iterable[Dataset]) -> set[str]:
    """Return the SOPInstanceUIDs of all sources that headers name."""
    return {
        str(item.get("ReferencedSOPInstanceUID", ""))
        for header in headers
        for item in header.get("SourceImageSequence") or []
    } - {""}


def _compare_with_source(series: _CheckedSeries, source: _CheckedSeries) -> Mapping[str, list[str]]:
    """Return the problems of each slice beside the nearest of its sources, by the path of the file."""
    spacing = source.placement.spacing
    step_mm = spacing[0] if spacing else np.inf
    found: dict[str, list[str]] = {}
    for name, header in series.headers.items():
        lacking = _list_named_sources([header]) - source.uids
        found[name] = ["a source that is not a slice of the source series"] if lacking else []
        near = _find_nearest(header, _list_referenced_frames(header, source))
        if near is not None:
            theirs = source.headers[str(near.path)]
            found[name] += source_problems(header, theirs, is_enhanced=near.is_enhanced)
            if abs(_measure_offset(header, near)) > step_mm:
                found[name].append("the nearest slice of the source is not among its sources")
    return found


def _list_referenced_frames(header: Dataset, source: _CheckedSeries) -> list[Frame]:
    """Return the frames that a slice names as sources; all frames of a file where it names no numbers."""
    wanted: dict[str, list[int]] = {}
    for item in header.get("SourceImageSequence") or []:
        numbers = item.get("ReferencedFrameNumber") or []
        wanted[str(item.get("ReferencedSOPInstanceUID", ""))] = list(np.atleast_1d(numbers).astype(int))
    found = [(frame, wanted.get(source.uid(frame))) for frame in source.placement.frames]
    return [
        frame
        for frame, numbers in found
        if numbers is not None and (not numbers or frame.index is None or frame.index + 1 in numbers)
    ]


def _find_nearest(header: Dataset, frames: Sequence[Frame]) -> Frame | None:
    """Return the frame that lies nearest along the normal."""
    placed = [frame for frame in frames if frame.position is not None and frame.orientation is not None]
    return min(placed, key=lambda frame: abs(_measure_offset(header, frame)), default=None)


def _measure_offset(header: Dataset, frame: Frame) -> float:
    """Return the signed distance of a slice from a frame along the frame's normal in mm."""
    position = header.get("ImagePositionPatient")
    if position is None or frame.orientation is None or frame.position is None:
        return 0.0
    normal = np.cross(frame.orientation[:3], frame.orientation[3:])
    return float((np.array([float(v) for v in position]) - frame.position) @ normal)
