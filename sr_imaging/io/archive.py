"""Zip files of scans, unpacked into a temporary folder that is removed when the process ends."""

import atexit
import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path

from sr_imaging.errors import ReadError, ResourceError

__all__ = ["unpacked"]

_unpacked: dict[tuple[Path, int, int], Path] = {}  # by path, mtime in ns, size in bytes


def unpacked(path: Path) -> Path:
    """Return a temporary folder with the content of a zip; the same one when asked again.

    Parameters
    ----------
    path : Path
        A zip file.

    Returns
    -------
    Path
        Folder that lasts as long as the process.

    Raises
    ------
    ReadError
        If the zip is damaged or encrypted.
    ResourceError
        If its content is larger than half of the free temporary space.
    """
    stat = path.stat()
    key = (path.resolve(), stat.st_mtime_ns, stat.st_size)
    if key not in _unpacked:
        _unpacked[key] = _unpack(path)
    return _unpacked[key]


def _unpack(path: Path) -> Path:
    """Unpack into a new temporary folder; zipfile itself keeps names inside it and makes no links."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            free = shutil.disk_usage(tempfile.gettempdir()).free
            if size > free / 2:
                raise ResourceError(
                    f"{path} unpacks to {size} bytes, {tempfile.gettempdir()} has {free} free; "
                    "unpack it yourself or set TMPDIR"
                )
            folder = Path(tempfile.mkdtemp(prefix="sr_imaging-"))
            atexit.register(shutil.rmtree, folder, ignore_errors=True)
            archive.extractall(folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        if isinstance(error, ResourceError):
            raise
        raise ReadError(f"cannot unpack {path}: {error}; unpack it yourself or fetch it again") from error
    return folder
