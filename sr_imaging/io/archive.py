"""Zip files of scans, unpacked into a temporary folder that is removed when the process ends."""

import atexit
import shutil
import tempfile
import zipfile
import zlib
from pathlib import Path

from sr_imaging.errors import ReadError, ResourceError

__all__ = ["unpack"]

_unpacked: dict[tuple[Path, int, int], Path] = {}  # by path, mtime in ns, size in bytes


def unpack(path: Path) -> Path:
    """Return a temporary folder with the content of a zip; the same one when asked again.

    A damaged or encrypted zip is a ReadError, more than half of the free temporary space a ResourceError.
    """
    stat = path.stat()
    key = (path.resolve(), stat.st_mtime_ns, stat.st_size)
    if key not in _unpacked:
        _unpacked[key] = _unpack_anew(path)
    return _unpacked[key]


def _unpack_anew(path: Path) -> Path:
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
    except ResourceError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError) as error:
        raise ReadError(f"cannot unpack {path}: {error}; unpack it yourself or fetch it again") from error
    return folder
