"""Whether a DICOM series can stand as a derived one: what dciodvfy does not see, in plain words."""

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
from .series_rules import grid_problems, joined, series_problems, source_problems

__all__ = ["check_scans", "check_series"]


@dataclass(frozen=True)
class _Series:
    """A series under check: its slices in order, and their headers by the path of their files."""

    placement: Placement
    headers: dict[str, Dataset]

    @property
    def uids(self) -> set[str]:
        """SOPInstanceUIDs of its files."""
        return {self.uid(frame) for frame in self.placement.frames}

    def uid(self, frame: Frame) -> str:
        """SOPInstanceUID of a slice, which some files state in their meta information alone."""
        meta = getattr(self.headers[str(frame.path)], "file_meta", Dataset())
        return frame.sop_instance or str(meta.get("MediaStorageSOPInstanceUID", ""))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along z, y, x."""
        first = self.placement.frames[0]
        return len(self.placement.frames), first.rows, first.columns


def check_series(scans: Sequence[Scan]) -> list[Check | None]:
    """Check DICOM series; see :func:`sr_imaging.io.check.check_scans`.

    Parameters
    ----------
    scans : sequence of Scan
        Scans of any kind.

    Returns
    -------
    list of Check or None
        In the order of the scans; None where a scan is no DICOM series of readable slices.
    """
    with quiet_pydicom():
        series = [_load(scan) if scan.kind == "dicom" else None for scan in scans]
        return [None if item is None else _check(item, [s for s in series if s]) for item in series]


def _load(scan: Scan) -> _Series | None:
    """Read all headers of a series; None where it has none."""
    try:
        placement = load_placement(scan)
    except ReadError:
        return None
    paths = dict.fromkeys(frame.path for frame in placement.frames)
    return _Series(placement, {str(path): _header(path) for path in paths})


def _header(path: Path) -> Dataset:
    """The header of one file; an empty one where it is damaged."""
    try:
        return dcmread(path, stop_before_pixels=True, force=True)
    except BROKEN_FILE:
        return Dataset()


def _check(series: _Series, others: Sequence[_Series]) -> Check:
    """Apply all rules that hold for a series; what its source has wrong as well is not its fault."""
    derived = any(is_derived(header) for header in series.headers.values())
    source = _source(series, others) if derived else None
    known = {text for header in source.headers.values() for text in _of_file(header)} if source else set()
    by_file = {
        name: [text for text in _of_file(header, derived=derived) if text not in known]
        for name, header in series.headers.items()
    }
    problems = joined(by_file)
    problems += _tried(lambda: series_problems(series.headers, derived=derived))
    if not derived:
        return Check(notes=("acquired, not derived", *problems))
    problems += joined(_of_pixels(series))
    if source is None:
        return Check(tuple(problems), ("its source series was not given, so its place was not compared",))
    problems += _tried(lambda: joined(_against_source(series, source)))
    problems += grid_problems(series.placement, source.placement, (series.shape, source.shape))
    return Check(tuple(problems))


def _of_file(header: Dataset, *, derived: bool = False) -> list[str]:
    """Problems of one header."""
    own = _tried(lambda: file_problems(header))
    return own + (_tried(lambda: derived_problems(header)) if derived else [])


def _tried(rules: Callable[[], Iterable[str]]) -> list[str]:
    """Problems that rules find; a header too damaged for them is one."""
    try:
        return [*rules()]
    except BROKEN_FILE as error:
        return [f"a damaged header stops a rule ({type(error).__name__})"]


def _of_pixels(series: _Series) -> dict[str, list[str]]:
    """Problems of stored values: bits beyond those stated, extremes that are not those of the pixels."""
    return {
        str(frame.path): _of_plane(frame, series.headers[str(frame.path)])
        for frame in series.placement.frames
    }


def _of_plane(frame: Frame, header: Dataset) -> list[str]:
    """Problems of the stored values of one slice."""
    try:
        whole = stored_values(open_pixels(frame.path), _all_bits(frame))
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


def _all_bits(frame: Frame) -> Frame:
    """The same slice, said to store all its bits, so that none is cut off."""
    return replace(frame, bits=(frame.bits[0], frame.bits[0], frame.bits[0] - 1))


def _source(series: _Series, others: Iterable[_Series]) -> _Series | None:
    """The series that holds most of the sources which the slices name."""
    named = _named(series.headers.values())
    found = [(len(named & other.uids), k) for k, other in enumerate(others) if other is not series]
    count, best = max(found, default=(0, 0))
    return list(others)[best] if count else None


def _named(headers: Iterable[Dataset]) -> set[str]:
    """SOPInstanceUIDs of all sources that headers name."""
    return {
        str(item.get("ReferencedSOPInstanceUID", ""))
        for header in headers
        for item in header.get("SourceImageSequence") or []
    } - {""}


def _against_source(series: _Series, source: _Series) -> Mapping[str, list[str]]:
    """Problems of each slice beside the nearest of its sources; sources that the series lacks."""
    found: dict[str, list[str]] = {}
    for name, header in series.headers.items():
        lacking = _named([header]) - source.uids
        found[name] = ["a source that is no slice of the source series"] if lacking else []
        near = _nearest(header, _referenced(header, source))
        if near is not None:
            theirs = source.headers[str(near.path)]
            found[name] += source_problems(header, theirs, is_enhanced=near.is_enhanced)
            if abs(_offset(header, near)) > _step(source):
                found[name].append("the nearest slice of the source is not among its sources")
    return found


def _referenced(header: Dataset, source: _Series) -> list[Frame]:
    """The frames that a slice names as its sources; all of a file where it names no numbers."""
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


def _nearest(header: Dataset, frames: Sequence[Frame]) -> Frame | None:
    """The frame that lies nearest along the normal."""
    placed = [frame for frame in frames if frame.position is not None and frame.orientation is not None]
    return min(placed, key=lambda frame: abs(_offset(header, frame)), default=None)


def _offset(header: Dataset, frame: Frame) -> float:
    """Distance of a slice from a frame along the normal in mm."""
    position = header.get("ImagePositionPatient")
    if position is None or frame.orientation is None or frame.position is None:
        return 0.0
    normal = np.cross(frame.orientation[:3], frame.orientation[3:])
    return float((np.array([float(v) for v in position]) - frame.position) @ normal)


def _step(series: _Series) -> float:
    """Distance of slices in mm."""
    return float(series.placement.spacing[0]) if series.placement.spacing else float("inf")


def check_scans(scans: Sequence[Scan]) -> list[Check | None]:
    """Check DICOM series, and derived ones against those of their sources that are among them.

    Every series is held to the rules of single files and of a series; a derived one also to those of
    derivation, references, values and place.

    Parameters
    ----------
    scans : sequence of Scan
        Scans of any kind.

    Returns
    -------
    list of Check or None
        In the order of the scans; None where a scan is no DICOM series of readable slices.
    """
    if not any(scan.kind == "dicom" for scan in scans):
        return [None] * len(scans)
    pass  # IMPORT GONE

    return check_series(scans)
