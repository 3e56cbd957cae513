"""DICOMDIR: the index of a medium leads to the files that it names."""

from pathlib import Path

from pydicom import Dataset, dcmread

from sr_imaging.errors import ReadError

from .frame import BROKEN_FILE, UNDEFINED
from .quiet_pydicom import quiet_pydicom

__all__ = ["referenced_files"]


def referenced_files(path: Path) -> tuple[list[Path], list[str]]:
    """Return the files that a DICOMDIR names and that exist, in its order, and the names of the others.

    Names are looked up below its folder, in any case and with or without a version number (``;1``), which
    some file systems add. A DICOMDIR that cannot be read, or names nothing, is a `ReadError`.
    """
    try:
        with quiet_pydicom():
            file_ids = [record.get("ReferencedFileID") for record in _read_records(path)]
    except BROKEN_FILE as error:
        raise ReadError(
            f"{path} is a damaged DICOMDIR ({type(error).__name__}); give the folder that holds the images"
        ) from error
    parts = [[one] if isinstance(one, str) else [str(part) for part in one] for one in file_ids if one]
    if not parts:
        raise ReadError(f"{path} is a DICOMDIR that names no files; give the folder that holds the images")
    names: dict[Path, dict[str, Path]] = {}
    found = [(_find_below(path.parent, part, names), "/".join(part)) for part in parts]
    files = dict.fromkeys(file for file, _ in found if file is not None)
    return list(files), [name for file, name in found if file is None]


def _read_records(path: Path) -> list[Dataset]:
    """Return the records of a DICOMDIR; one that is cut short is damaged, not shorter."""
    dataset = dcmread(path)
    if "DirectoryRecordSequence" not in dataset:
        return []
    raw = dataset.get_item("DirectoryRecordSequence")
    length = getattr(raw, "length", 0)
    if length != UNDEFINED and length > len(raw.value or b""):
        raise EOFError("the records end early")
    return list(dataset.DirectoryRecordSequence)


def _find_below(folder: Path, parts: list[str], names: dict[Path, dict[str, Path]]) -> Path | None:
    """Return the file of a folder that the parts name, or None; only listed names are followed."""
    for part in parts:
        if folder not in names:
            listed = sorted(folder.iterdir()) if folder.is_dir() else []
            names[folder] = {_simplify_name(inner.name): inner for inner in listed}
        inner = names[folder].get(_simplify_name(part))
        if inner is None:
            return None
        folder = inner
    return folder if folder.is_file() else None


def _simplify_name(name: str) -> str:
    """Return a file name without case and version number."""
    return name.casefold().split(";")[0].rstrip(".")
