"""Which scans a path holds: content decides what a file is, never its name."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

from sr_imaging.errors import ReadError
from sr_imaging.io.dicom.reading.find_series import find_series, with_note, with_other_folders

from .addresses import address_of
from .archive import unpack
from .content import first_bytes, image_driver, is_dicomdir, is_zarr, is_zip, kind_of, nifti_mark
from .formats import FORMATS, load_function
from .scan import Scan, Verdict

__all__ = ["find_scans"]

_FILES = [form for form in FORMATS.values() if form.name != "zarr"]  # which is a folder
_NAMED_LIKE_OURS = tuple(suffix for form in _FILES for suffix in form.suffixes + form.other_suffixes)
_NO_SCANS = ("BMP", "GIF", "HDF5", "JPEG", "netCDF", "PDF", "PNG", "WEBP")  # GDAL's names of its drivers
_SHOWN = 5  # names in a message
# Beginnings of reasons why a DICOM file is in no series: a slice may be lost, or it never was one
_DAMAGE = ("damaged", "empty or truncated", "may not be read")
_NO_IMAGE = ("not DICOM", "no image", "DICOMDIR")

_log = logging.getLogger(__name__)


def find_scans(path: str | os.PathLike[str], *, images: bool = False) -> list[Scan]:
    """Return the scans of a file, folder, DICOMDIR or zip.

    Parameters
    ----------
    path : path
        A file gives its scan, readable or not; so does what rasterio opens instead of a file: a URL, a
        ``/vsi`` path, the name of a part of a file. A folder is searched with all its subfolders; hidden
        files and folders are left out, each DICOM series is one scan, a Zarr store is one scan. A DICOMDIR
        gives the series of the files that it names. A zip is unpacked into a temporary folder that lasts as
        long as the process.
    images : bool
        Look at PNG and JPEG as well: a file that is named, and those of a folder that holds no other scan.
        Beside scans they are pictures of them, and no data.

    Returns
    -------
    list of Scan
        Sorted by path. A file that should be an image of ours but is not readable has ``verdict.ok`` False
        and the reason; files of other kinds are left out.

    Raises
    ------
    ReadError
        If `path` does not exist, or a folder or zip holds no scan.
    """
    path = Path(path)
    if address_of(path):
        return [_describe_scan(path, "raster")]
    _check_readable(path)
    if path.is_file() and is_dicomdir(path):
        return _find_in_dicomdir(path)
    if path.is_file() and path.name.upper() != "DICOMDIR":
        if is_zip(path):
            return _find_in_folder(unpack(path), path, images)
        return _find_in_file(path, images)
    return _find_in_folder(path if path.is_dir() else path.parent, path, images)


def _check_readable(path: Path) -> None:
    """Raise where a path does not exist or may not be read."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ReadError(f"no such file or folder: {path}; check the path") from error
    except OSError as error:
        remedy = "check the path and its permissions"
        raise ReadError(f"cannot read {path}: {error.strerror}; {remedy}") from error
    if not os.access(path, os.R_OK | os.X_OK if path.is_dir() else os.R_OK):
        raise ReadError(f"{path} may not be read; check its permissions")


def _find_in_dicomdir(path: Path) -> list[Scan]:
    """Return the scans of the files that a DICOMDIR names; every verdict notes what is absent."""
    from sr_imaging.io.dicom.dicomdir import referenced_files

    files, absent = referenced_files(path)
    scans = _find_in_files(files)
    names = ", ".join(absent[:_SHOWN]) + (", …" if len(absent) > _SHOWN else "")
    if not scans:
        lack = f", {len(absent)} of them absent ({names})" if absent else ""
        raise ReadError(
            f"no readable scan among the {len(files) + len(absent)} files that {path} names{lack}; "
            "copy the whole medium"
        )
    if not absent:
        return scans
    note = f"{len(absent)} of {len(files) + len(absent)} files that {path.name} names are absent: {names}"
    return [with_note(scan, note) for scan in scans]


def _find_in_file(path: Path, images: bool) -> list[Scan]:
    """Return the scans of a file that was named; at least one, with the reason if it cannot be read."""
    path = _find_header(path) or path
    kind = kind_of(path)
    if kind == "dicom":
        scans, left_out = find_series([path])
        reason = left_out[0][1] if left_out else "it holds no image"
        return scans or [Scan(path, "dicom", Verdict(False, f"{path}: {reason}"), files=(path,))]
    if not kind and images and image_driver(path):
        kind = "image"
    return [_describe_scan(path, kind) if kind else _try_as_raster(path)]


def _find_in_folder(folder: Path, named: Path, images: bool) -> list[Scan]:
    """Return the scans of a folder and its subfolders, sorted by path."""
    scans: list[Scan] = []
    others: list[Path] = []
    for here, files in _walk_folders(folder):
        if not files:  # a Zarr store, which is not entered
            scans.append(_describe_scan(here, "zarr"))
            continue
        dicom = []
        for path in files:
            kind = kind_of(path)
            if kind == "dicom":
                dicom.append(path)
            elif kind:
                scans.append(_describe_scan(path, kind))
            elif path.name.lower().endswith(_NAMED_LIKE_OURS):
                scans.append(_refuse_file(path))
            else:
                others.append(path)
                _log.debug("left out, no scan: %s", path)
        if dicom:
            scans += _find_in_files(dicom)
    if not scans and images:
        scans = [_describe_scan(path, "image") for path in others if image_driver(path)]
    if not scans:
        seen = ", ".join(path.name for path in others[:_SHOWN]) + (", …" if len(others) > _SHOWN else "")
        raise ReadError(
            f"no readable scan in {named}: {len(others)} other files{f' ({seen})' if seen else ''}; "
            "DICOM, GeoTIFF, NIfTI and Zarr are read"
        )
    return sorted(with_other_folders(scans), key=lambda scan: (scan.path, scan.series_uid or ""))


def _walk_folders(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Yield folders and their visible files; a Zarr store comes without files and is not entered."""
    for name, subfolders, files in os.walk(folder, onerror=lambda error: _log.warning("left out: %s", error)):
        here = Path(name)
        subfolders[:] = sorted(sub for sub in subfolders if not sub.startswith("."))
        if is_zarr(here):
            subfolders.clear()
            yield here, []
        elif visible := [here / file for file in sorted(files) if not file.startswith(".")]:
            yield here, [path for path in visible if path.is_file()]


def _try_as_raster(path: Path) -> Scan:
    """Return the scan of a file that GDAL alone may know; pictures and documents are refused."""
    scan = _describe_scan(path, "raster")
    unknown = "driver" not in scan.facts or scan.facts["driver"] in _NO_SCANS
    return _refuse_file(path) if unknown else scan


def _describe_scan(path: Path, kind: str) -> Scan:
    """Return the scan of a file or store of a kind that stands alone."""
    try:
        scan: Scan = load_function(FORMATS[kind].scan)(path)
    except UnicodeEncodeError:  # GDAL takes names in UTF-8 alone
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        reason = f"{shown} has a name that is not in UTF-8; rename it"
        return Scan(path, kind, Verdict(False, reason), files=(path,))
    return scan


def _find_in_files(files: list[Path]) -> list[Scan]:
    """Return the series of one folder, or the files left out with their reasons where it has none."""
    scans, left_out = find_series(files)
    for path, reason in left_out:
        level = logging.WARNING if reason.startswith(_DAMAGE) else logging.INFO
        _log.log(level, "left out: %s: %s", path, reason)
    if scans:
        return scans
    return [
        Scan(path, "dicom", Verdict(False, f"{path}: {why}"), files=(path,))
        for path, why in left_out
        if not why.startswith(_NO_IMAGE)
    ]


def _find_header(path: Path) -> Path | None:
    """Return the NIfTI header beside an .img that was named."""
    if not path.name.lower().endswith((".img", ".img.gz")):
        return None
    stem = path.name[: path.name.lower().rindex(".img")]
    for suffix in (".hdr", ".hdr.gz"):
        header = path.with_name(stem + suffix)
        if header.is_file() and nifti_mark(first_bytes(header)):
            return header
    return None


def _refuse_file(path: Path) -> Scan:
    """Return the scan of a file that was named, or should be an image of ours, and is none."""
    try:
        with path.open("rb") as file:
            start = file.read(12)
        what = f"starts with {start!r}" if start else "is empty"
        remedy = "convert it to one of them or fetch it again"
        reason = f"{path} {what} and is not DICOM, GeoTIFF, NIfTI or Zarr; {remedy}"
    except OSError as error:
        reason = f"{path} cannot be read: {error.strerror}; check its permissions"
    return Scan(path, "unknown", Verdict(False, reason), files=(path,))
