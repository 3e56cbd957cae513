"""Turn the arguments of a batch into scans: files, folders, patterns, lists, DICOMDIR and zip."""

import glob
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from pathlib import Path

from sr_imaging.errors import ConfigError, ReadError, ResourceError
from sr_imaging.io.addresses import address_of, name_of
from sr_imaging.io.content import is_dicom, is_dicomdir
from sr_imaging.io.dicom.reading.find_series import find_series
from sr_imaging.io.find import find_scans
from sr_imaging.io.scan import Scan, Verdict, under_policies

__all__ = ["Found", "drop_label", "find_inputs", "find_one_scan"]

_MAGIC = frozenset("*?[")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """A scan, the name that a user knows it by, and its place in the tree of its input."""

    scan: Scan  # one with a bad verdict stands for a path that cannot be read
    label: str  # path as the user would write it; within a zip, after the path of the zip
    place: Path  # relative path, of a file or of the folder of a series, that outputs mirror
    root: Path  # folder that `place` is relative to


def find_inputs(
    arguments: Sequence[str | os.PathLike[str]], *, on_missing: str = "raise", on_tilt: str = "raise"
) -> list[Found]:
    """Return the scans that the arguments of a batch stand for, in their order, each scan once.

    Arguments are files, folders (searched with their subfolders), patterns with ``*``, ``?``, ``**``, lists
    ``@list.txt`` (one path per line, ``#`` for comments), DICOMDIR files and zips. Single DICOM files form
    series. What cannot be read is among the scans, with its reason; ConfigError is for unreadable lists.
    """
    found: list[Found] = []
    slices: dict[Path, list[Path]] = {}
    for path, root in _expand_arguments(arguments):
        if os.path.isfile(path) and is_dicom(path) and not is_dicomdir(path):
            slices.setdefault(path.parent, []).append(path)
        else:
            found += _find_at(path, root)
    for folder, files in slices.items():
        found += _group_named_slices(folder, files)
    once: dict[tuple[object, ...], Found] = {}
    for item in found:
        once.setdefault(_identify(item.scan), item)
    scans = under_policies([item.scan for item in once.values()], on_missing=on_missing, on_tilt=on_tilt)
    return [replace(item, scan=scan) for item, scan in zip(once.values(), scans, strict=True)]


def find_one_scan(path: Path) -> Scan:
    """Return the one scan that a file or folder holds; raises ConfigError unless there is just one."""
    scans = find_scans(path) if path.exists() else []
    good = [scan for scan in scans if scan.verdict.ok]
    if len(good) == 1:
        return good[0]
    reason = f"; {scans[0].verdict.reason}" if len(scans) == 1 else ""
    raise ConfigError(f"{path} holds {len(good)} readable scans where one is wanted{reason}; name its file")


def _identify(scan: Scan) -> tuple[object, ...]:
    """Return what makes two findings the same scan."""
    return scan.path.resolve(), scan.series_uid, scan.facts.get("split")


def _expand_arguments(arguments: Iterable[str | os.PathLike[str]]) -> Iterator[tuple[Path, Path]]:
    """Yield paths and the folders that their outputs mirror, with lists and patterns resolved."""
    for argument in arguments:
        text = os.fspath(argument)
        path = Path(text)
        if address_of(text):
            yield path, path.parent
        elif text.startswith("@") and not os.path.exists(path):
            yield from _expand_arguments(_read_list(Path(text[1:])))
        elif os.path.exists(path) or not _MAGIC & set(text):
            yield path, path if os.path.isdir(path) else path.parent
        else:
            matches = sorted(glob.glob(text, recursive=True))
            root = Path(*takewhile(lambda part: not _MAGIC & set(part), path.parts[:-1]))
            yield from ((Path(match), root) for match in matches or [text])


def _read_list(path: Path) -> list[str]:
    """Return the paths in a list file."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"cannot read the list {path}: {error}; give a text file with one path per line"
        ) from error
    lines = (line.strip() for line in text.splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def _find_at(path: Path, root: Path) -> list[Found]:
    """Return the scans of one path; where there is none, one with the reason."""
    try:
        scans = find_scans(path)
    except (ReadError, ResourceError) as error:
        bad = Scan(path, "unknown", Verdict(False, str(error)), files=(path,))
        return [Found(bad, str(path), Path(path.name), root)]
    if path.is_file() and scans and not scans[0].path.is_relative_to(path.parent):
        return [_place_in_zip(scan, path) for scan in scans]
    return [
        Found(scan, address_of(scan.path) or str(scan.path), _find_place(scan, root), root) for scan in scans
    ]


def _place_in_zip(scan: Scan, path: Path) -> Found:
    """Return a scan of an unpacked zip under the name of the zip."""
    from sr_imaging.io.archive import unpack

    inner = scan.path.relative_to(unpack(path))
    label = str(path / inner)
    reason = scan.verdict.reason.replace(str(scan.path), label)
    scan = replace(scan, verdict=replace(scan.verdict, reason=reason))
    return Found(scan, label, inner if inner.parts else Path(path.stem), path.parent)


def _find_place(scan: Scan, root: Path) -> Path:
    """Return the place in the tree of the input; a series that fills the whole input takes its name."""
    if not scan.path.is_relative_to(root):
        return Path(scan.path.name)
    if address := address_of(scan.path):
        return Path(name_of(address))
    inner = scan.path.relative_to(root)
    return inner if inner.parts else Path(root.resolve().name or "series")


def _group_named_slices(folder: Path, files: list[Path]) -> list[Found]:
    """Return the series of DICOM files of one folder that were named one by one."""
    scans, left_out = find_series(files)
    name = folder.resolve().name or "series"
    places = [Path(scan.path.name if scan.path.is_file() else name) for scan in scans]
    found = [Found(scan, str(scan.path), place, folder) for scan, place in zip(scans, places, strict=True)]
    for path, reason in left_out:
        bad = Scan(path, "dicom", Verdict(False, f"{path}: {reason}"), files=(path,))
        found.append(Found(bad, str(path), Path(path.name), folder))
    return found


def drop_label(cause: str, label: str) -> str:
    """Return a reason in one line, without the path before it, which is shown already."""
    for lead in (f"{label}: ", f"{label} ", f"cannot read {label}: "):
        cause = cause.removeprefix(lead)
    return " ".join(cause.split())
