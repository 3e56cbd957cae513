"""Which scans a path holds: content decides what a file is, never its name."""

import logging
import os
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

from sr_imaging.errors import ReadError
from sr_imaging.io.dicom.reading.find_series import with_note, with_other_folders

from .addresses import address_of
from .content import is_dicomdir, is_image_file, is_zip, kind_of
from .scan import Scan, Verdict

__all__ = ["find_scans"]

_NAMED_LIKE_OURS = (".tif", ".tiff", ".gtif", ".gtiff", ".nii", ".nii.gz", ".dcm", ".dicom")
_NO_SCANS = ("BMP", "GIF", "HDF5", "JPEG", "netCDF", "PDF", "PNG", "WEBP")  # GDAL's names
_SHOWN = 5  # names in a message
_SCANNERS = {
    "geotiff": ("raster.read", "scan_geotiff"),
    "image": ("raster.png_jpeg", "scan_image"),
    "netcdf": ("stores.netcdf", "scan_netcdf"),
    "nifti": ("nifti.read", "scan_nifti"),
    "raster": ("raster.read", "scan_raster"),
    "zarr": ("stores.zarr", "scan_zarr"),
}

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
        return [_scan(path, "raster")]
    _check_there(path)
    if path.is_file() and is_dicomdir(path):
        return _in_dicomdir(path)
    if path.is_file() and path.name.upper() != "DICOMDIR":
        if is_zip(path):
            from .archive import unpacked

            return _in_folder(unpacked(path), path, images)
        return _in_file(path, images)
    return _in_folder(path if path.is_dir() else path.parent, path, images)


def _check_there(path: Path) -> None:
    """Raise where a path is not there or may not be read."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ReadError(f"no such file or folder: {path}; check the path") from error
    except OSError as error:
        raise ReadError(
            f"cannot read {path}: {error.strerror}; check the path and its permissions"
        ) from error
    if not os.access(path, os.R_OK | os.X_OK if path.is_dir() else os.R_OK):
        raise ReadError(f"{path} may not be read; check its permissions")


def _in_dicomdir(path: Path) -> list[Scan]:
    """Scans of the files that a DICOMDIR names; what is absent is told in every verdict."""
    from sr_imaging.io.dicom.dicomdir import referenced_files

    files, absent = referenced_files(path)
    scans = _series(files)
    told = ", ".join(absent[:_SHOWN]) + (", …" if len(absent) > _SHOWN else "")
    if not scans:
        lack = f", {len(absent)} of them absent ({told})" if absent else ""
        raise ReadError(
            f"no readable scan among the {len(files) + len(absent)} files that {path} names{lack}; "
            "copy the whole medium"
        )
    if not absent:
        return scans
    note = f"{len(absent)} of {len(files) + len(absent)} files that {path.name} names are absent: {told}"
    return [with_note(scan, note) for scan in scans]


def _in_file(path: Path, images: bool) -> list[Scan]:
    """Scans of one file that was named; at least one, with the reason if it cannot be read."""
    header = _paired_header(path)
    if header is not None:
        path = header
    kind = kind_of(path)
    if kind == "dicom":
        scans, left_out = _find_series([path])
        reason = left_out[0][1] if left_out else "it holds no image"
        return scans or [Scan(path, "dicom", Verdict(False, f"{path}: {reason}"), files=(path,))]
    if not kind and images and is_image_file(path):
        kind = "image"
    return [_scan(path, kind) if kind else _raster_or_unreadable(path)]


def _in_folder(folder: Path, named: Path, images: bool) -> list[Scan]:
    """Scans of a folder and its subfolders."""
    scans: list[Scan] = []
    others: list[Path] = []
    for here, files in _folders(folder):
        if not files:  # a Zarr store, which is not entered
            scans.append(_scan(here, "zarr"))
            continue
        dicom = []
        for path in files:
            kind = kind_of(path)
            if kind == "dicom":
                dicom.append(path)
            elif kind:
                scans.append(_scan(path, kind))
            elif path.name.lower().endswith(_NAMED_LIKE_OURS):
                scans.append(_unreadable(path))
            else:
                others.append(path)
                _log.debug("left out, no scan: %s", path)
        if dicom:
            scans += _series(dicom)
    if not scans and images:
        scans = [_scan(path, "image") for path in others if is_image_file(path)]
    if not scans:
        seen = ", ".join(path.name for path in others[:_SHOWN]) + (", …" if len(others) > _SHOWN else "")
        raise ReadError(
            f"no readable scan in {named}: {len(others)} other files{f' ({seen})' if seen else ''}; "
            "DICOM, GeoTIFF, NIfTI and Zarr are read"
        )
    return sorted(with_other_folders(scans), key=lambda scan: (scan.path, scan.series_uid or ""))


def _folders(folder: Path) -> Iterator[tuple[Path, list[Path]]]:
    """Folders and their visible files; a Zarr store comes without files and is not entered."""
    from .content import is_zarr

    for name, subfolders, files in os.walk(folder, onerror=lambda error: _log.warning("left out: %s", error)):
        here = Path(name)
        subfolders[:] = sorted(sub for sub in subfolders if not sub.startswith("."))
        if is_zarr(here):
            subfolders.clear()
            yield here, []
        elif visible := [here / file for file in sorted(files) if not file.startswith(".")]:
            yield here, [path for path in visible if path.is_file()]


def _raster_or_unreadable(path: Path) -> Scan:
    """A file of no kind that is known here, where GDAL knows it; pictures and documents are left out."""
    scan = _scan(path, "raster")
    unknown = "driver" not in scan.facts or scan.facts["driver"] in _NO_SCANS
    return _unreadable(path) if unknown else scan


def _scan(path: Path, kind: str) -> Scan:
    """Describe a file or store of a kind that stands alone."""
    module, function = _SCANNERS[kind]
    try:
        scan: Scan = getattr(import_module(f".{module}", __package__), function)(path)
    except UnicodeEncodeError:  # GDAL takes names in UTF-8 alone
        shown = os.fsencode(path).decode("utf-8", "backslashreplace")
        reason = f"{shown} has a name that is not in UTF-8; rename it"
        return Scan(path, kind, Verdict(False, reason), files=(path,))
    return scan


def _find_series(files: list[Path]) -> tuple[list[Scan], list[tuple[Path, str]]]:
    """Import pydicom only for DICOM."""
    from sr_imaging.io.dicom.reading.find_series import find_series

    return find_series(files)


def _series(files: list[Path]) -> list[Scan]:
    """Series of one folder; files that belong to none are reported where the folder has no series at all."""
    scans, left_out = _find_series(files)
    for path, reason in left_out:
        _log.log(logging.WARNING if _is_damage(reason) else logging.INFO, "left out: %s: %s", path, reason)
    if scans:
        return scans
    dull = ("not DICOM", "no image", "DICOMDIR")
    of_interest = [(path, why) for path, why in left_out if not why.startswith(dull)]
    return [Scan(path, "dicom", Verdict(False, f"{path}: {why}"), files=(path,)) for path, why in of_interest]


def _is_damage(reason: str) -> bool:
    """Whether a file beside a series may have been a slice of it that is lost."""
    return reason.startswith(("damaged", "empty or truncated", "may not be read"))


def _paired_header(path: Path) -> Path | None:
    """The NIfTI header beside an .img that was named."""
    from .content import first_bytes, is_nifti

    if not path.name.lower().endswith((".img", ".img.gz")):
        return None
    stem = path.name[: path.name.lower().rindex(".img")]
    for suffix in (".hdr", ".hdr.gz"):
        header = path.with_name(stem + suffix)
        if header.is_file() and is_nifti(first_bytes(header)):
            return header
    return None


def _unreadable(path: Path) -> Scan:
    """A file that should be an image of ours, or was named, and is none."""
    try:
        with path.open("rb") as file:
            start = file.read(12)
    except OSError as error:
        reason = f"{path} cannot be read: {error.strerror}; check its permissions"
        return Scan(path, "unknown", Verdict(False, reason), files=(path,))
    what = f"starts with {start!r}" if start else "is empty"
    reason = (
        f"{path} {what} and is no DICOM, GeoTIFF, NIfTI or Zarr; convert it to one of them or fetch it again"
    )
    return Scan(path, "unknown", Verdict(False, reason), files=(path,))
