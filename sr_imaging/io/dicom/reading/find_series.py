"""DICOM files of a folder: which series they form, and whether each is one good volume."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sr_imaging.io.dicom.tags import PHASE
from sr_imaging.io.scan import Scan, Verdict

__all__ = ["find_series", "with_note", "with_other_folders"]


def find_series(files: Iterable[Path]) -> tuple[list[Scan], list[tuple[Path, str]]]:
    """Sort the files of one folder into series with their verdicts, and those of none with their reasons.

    Only headers are read, and pixels where two slices share a position. Several scans have one
    SeriesInstanceUID where it holds echoes, orientations or matrices; ``facts["split"]`` tells them apart.
    """
    from sr_imaging.io.dicom.frame import Frame, LeftOutError
    from sr_imaging.io.dicom.quiet_pydicom import quiet_pydicom

    from .grouping import group_frames
    from .headers import read_frames

    frames: list[Frame] = []
    left_out: list[tuple[Path, str, str]] = []  # with the SeriesInstanceUID, where it is known
    with quiet_pydicom():
        for path in sorted({Path(file) for file in files}):
            try:
                frames += [] if path.is_dir() else read_frames(path)
            except LeftOutError as error:
                left_out.append((path, str(error), error.series_uid))
        scans = []
        for group in group_frames(frames):
            left_out += [(frame.path, reason, frame.series_uid) for frame, reason in group.strays]
            scans.append(_judge_group(group, left_out))
    return scans, [(path, reason) for path, reason, _ in left_out]


def with_other_folders(scans: list[Scan]) -> list[Scan]:
    """Return the scans with a note where one SeriesInstanceUID forms an even volume over several folders.

    Copies of a series in another folder are not such parts.
    """
    parts: dict[str, list[Scan]] = {}
    for scan in scans:
        if scan.kind == "dicom" and scan.series_uid:
            parts.setdefault(scan.series_uid, []).append(scan)
    notes: dict[int, str] = {}
    for same in parts.values():
        if len({scan.files[0].parent for scan in same}) > 1:
            notes.update(_note_parts(same))
    return [with_note(scan, notes[id(scan)]) if id(scan) in notes else scan for scan in scans]


def with_note(scan: Scan, note: str) -> Scan:
    """Return a scan with one more note in its verdict, repaired or not."""
    verdict = replace(scan.verdict, notes=(*scan.verdict.notes, note))
    return replace(scan, verdict=verdict, repaired=scan.repaired and with_note(scan.repaired, note))


def _note_parts(same: list[Scan]) -> dict[int, str]:
    """Return notes by the id of the scan, for scans of one series whose slices together lie evenly."""
    from sr_imaging.io.dicom.frame import LeftOutError
    from sr_imaging.io.dicom.quiet_pydicom import quiet_pydicom

    from .grouping import group_frames
    from .headers import read_frames
    from .placement import place_slices

    with quiet_pydicom():
        try:
            frames = [frame for scan in same for path in scan.files for frame in read_frames(path)]
        except LeftOutError:
            return {}
        found = {}
        for group in group_frames(frames):
            paths = {frame.path for frame in group.frames}
            own = [scan for scan in same if paths & set(scan.files)]
            folders = {path.parent for path in paths}
            if len(folders) < 2 or place_slices(group.frames, lambda a, b: False).problems:
                continue
            for scan in own:
                others = len(paths - set(scan.files))
                found[id(scan)] = (
                    f"one part of a series that lies in {len(folders)} folders: {others} more slices fit; "
                    "put all its files into one folder to read them as one volume"
                )
    return found


def _judge_group(group: Any, left_out: list[tuple[Path, str, str]]) -> Scan:
    """Return the scan of a group of frames with its verdict."""
    from .pixels import are_same_slices, codec_problem
    from .placement import place_slices

    placement = place_slices(group.frames, are_same_slices)
    first = placement.frames[0]
    notes = _collect_notes(group, left_out)
    no_codec = codec_problem(first)
    verdict = Verdict(
        not (placement.reason or no_codec),
        placement.reason or no_codec,
        (*placement.notes, *notes),
        () if no_codec else placement.needs,
    )
    scan = _make_scan(placement, verdict, group.split)
    if not verdict.needs:
        return scan
    repaired = place_slices(group.frames, are_same_slices, policies=verdict.needs)
    facts = {**scan.facts, "policies": list(verdict.needs)}
    fixed = _make_scan(repaired, Verdict(True, notes=(*repaired.notes, *notes)), group.split)
    return replace(scan, repaired=replace(fixed, facts=facts))


def _collect_notes(group: Any, left_out: list[tuple[Path, str, str]]) -> list[str]:
    """Return what is odd about a series that does not keep it from being read."""
    from .rescale import value_notes

    first = group.frames[0]
    notes = value_notes(group.frames)
    if group.split:
        notes.append(f"one part of SeriesInstanceUID {first.series_uid or 'none'}: {', '.join(group.split)}")
    if not first.series_uid:
        notes.append("no SeriesInstanceUID; its files were taken as one series")
    if not first.frame_of_reference:
        notes.append("no FrameOfReferenceUID")
    if PHASE & {*first.image_type[2:], *first.keys.get("component", "").split("\\")}:
        notes.append(
            "a phase image: its values wrap around, and next to a wrap neither interpolation nor a model "
            "gives a true phase; refine the real and the imaginary part where they exist"
        )
    mine = [f"{path.name} left out: {why}" for path, why, uid in left_out if uid and uid == first.series_uid]
    more = [f"{len(mine) - 5} more files left out"] if len(mine) > 5 else []
    return [*notes, *mine[:5], *more]


def _make_scan(placement: Any, verdict: Verdict, split: list[str]) -> Scan:
    """Return the scan of placed slices."""
    first = placement.frames[0]
    paths = tuple(dict.fromkeys(frame.path for frame in placement.frames))
    return Scan(
        path=paths[0] if len(paths) == 1 else paths[0].parent,
        kind="dicom",
        verdict=verdict,
        series_uid=first.series_uid or None,
        files=paths,
        shape=placement.shape,
        spacing=placement.spacing or (),
        modality=first.modality or None,
        facts=_collect_facts(first, split),
    )


def _collect_facts(frame: Any, split: list[str]) -> dict[str, Any]:
    """Return what a table may show of a series; no patient data."""
    facts = {
        "series_number": frame.series_number,
        "matrix": f"{frame.rows}x{frame.columns}",
        "transfer_syntax": frame.transfer_syntax.name,
        "bits_stored": frame.bits[1],
        "slice_thickness": frame.thickness,
        "image_type": "\\".join(frame.image_type),
        "photometric": frame.photometric,
        "split": ", ".join(split),
    }
    return {key: value for key, value in facts.items() if value not in (None, "")}
