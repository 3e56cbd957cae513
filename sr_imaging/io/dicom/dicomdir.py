"""DICOMDIR: the index of a medium leads to the files that it names."""

from pathlib import Path

from pydicom import Dataset, dcmread

from sr_imaging.errors import ReadError

from .frame import BROKEN_FILE
from .quiet_pydicom import quiet_pydicom

__all__ = ["referenced_files"]

UNDEFINED = 0xFFFFFFFF  # length of a sequence that ends with a delimiter


def referenced_files(path: Path) -> tuple[list[Path], list[str]]:
    """Return the files that a DICOMDIR names.

    Parameters
    ----------
    path : Path
        The DICOMDIR. Names are looked for below its folder, whatever the case of their letters and with or
        without the version number that some file systems add (``;1``).

    Returns
    -------
    files : list of Path
        Those that are there, in the order of the records, each once.
    absent : list of str
        Names of the others.

    Raises
    ------
    ReadError
        If the records cannot be read, or name nothing.
    """
    try:
        with quiet_pydicom():
            named = [record.get("ReferencedFileID") for record in _records(path)]
    except BROKEN_FILE as error:
        raise ReadError(
            f"{path} is a damaged DICOMDIR ({type(error).__name__}); give the folder that holds the images"
        ) from error
    parts = [[name] if isinstance(name, str) else [str(part) for part in name] for name in named if name]
    if not parts:
        raise ReadError(f"{path} is a DICOMDIR that names no files; give the folder that holds the images")
    names: dict[Path, dict[str, Path]] = {}
    found = [(_below(path.parent, part, names), "/".join(part)) for part in parts]
    files = dict.fromkeys(file for file, _ in found if file is not None)
    return list(files), [name for file, name in found if file is None]


def _records(path: Path) -> list[Dataset]:
    """The records of a DICOMDIR; one that is cut short is damaged, not shorter."""
    dataset = dcmread(path)
    if "DirectoryRecordSequence" not in dataset:
        return []
    raw = dataset.get_item("DirectoryRecordSequence")
    length = getattr(raw, "length", 0)
    if length != UNDEFINED and length > len(raw.value or b""):
        raise EOFError("the records end early")
    return list(dataset.DirectoryRecordSequence)


def _below(folder: Path, parts: list[str], names: dict[Path, dict[str, Path]]) -> Path | None:
    """The file of a folder that these parts name, or None; only names that the folders list are followed."""
    for part in parts:
        if folder not in names:
            listed = sorted(folder.iterdir()) if folder.is_dir() else []
            names[folder] = {_plain(inner.name): inner for inner in listed}
        inner = names[folder].get(_plain(part))
        if inner is None:
            return None
        folder = inner
    return folder if folder.is_file() else None


def _plain(name: str) -> str:
    """A name without case and version number."""
    return name.casefold().split(";")[0].rstrip(".")
