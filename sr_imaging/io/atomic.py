"""Outputs appear whole or not at all: written under a temporary name beside the target, then renamed."""

import errno
import os
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sr_imaging.errors import ResourceError, WriteError

__all__ = ["clear_leftovers", "whole_output"]

_REMEDY = {
    errno.EACCES: "choose a folder you may write to",
    errno.EPERM: "choose a folder you may write to",
    errno.EROFS: "choose a folder that is not read-only",
    errno.ENOSPC: "free some disk space",
    errno.EDQUOT: "free some disk space",
    errno.EFBIG: "choose a disk that holds larger files",
    errno.EEXIST: "a part of the path is a file; choose another folder",
    errno.ENOTDIR: "a part of the path is a file; choose another folder",
    errno.ENAMETOOLONG: "choose a shorter name",
}
_TRIES, _PAUSE_S = 100, 0.05  # to remove what others still write to


@contextmanager
def whole_output(path: str | os.PathLike[str], *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path` and rename it to `path` when the block succeeds.

    The block creates a file or a folder there; parent folders are made. An existing output is refused
    (WriteError) or, with `overwrite`, stays until the new one is complete. After an error nothing is left
    behind; a full disk is a ResourceError.
    """
    path = Path(path)
    if not overwrite:
        _refuse_existing(path)
    temporary = _name_temporary(path, os.getpid())
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        if not overwrite:  # another run may have made it meanwhile
            _refuse_existing(path)
        _put_in_place(temporary, path)
    except (WriteError, ResourceError) as error:
        message = str(error).replace(str(temporary), str(path))
        raise type(error)(message) from (error.__cause__ or error)
    except OSError as error:
        if error.errno not in _REMEDY:
            raise
        kind = ResourceError if error.errno in (errno.ENOSPC, errno.EDQUOT) else WriteError
        raise kind(f"cannot write {path}: {error.strerror}; {_REMEDY[error.errno]}") from error
    finally:
        _remove_output(temporary)


def _refuse_existing(path: Path) -> None:
    """Raise where something has the final name."""
    if os.path.lexists(path):
        raise WriteError(f"{path} exists; pass overwrite=True or choose another name")


def _put_in_place(temporary: Path, path: Path) -> None:
    """Give the finished output its name; where one is a folder the old one is moved aside first."""
    if os.path.exists(path) and (_is_folder(path) or _is_folder(temporary)):
        aside = path.with_name(f".{os.getpid()}-old-{path.name}")
        path.rename(aside)
        try:
            temporary.rename(path)
        except OSError:
            aside.rename(path)
            raise
        _remove_output(aside)
    else:
        os.replace(temporary, path)


def clear_leftovers(path: Path, processes: Iterable[int]) -> None:
    """Remove what processes that were killed while they wrote `path` have left beside it."""
    for process in processes:
        _remove_output(_name_temporary(path, process))


def _name_temporary(path: Path, process: int) -> Path:
    """Return the name under which a process writes `path`."""
    return path.with_name(f".{process}-part-{path.name}")


def _remove_output(path: Path) -> None:
    """Remove a file or folder if it is there; raise nothing, which would hide the error that led here."""
    for _ in range(_TRIES):
        if _is_folder(path):
            shutil.rmtree(path, ignore_errors=True)
        else:
            with suppress(OSError):
                path.unlink()
        if not os.path.lexists(path):
            return
        time.sleep(_PAUSE_S)  # threads that do not know of the error yet may still write


def _is_folder(path: Path) -> bool:
    """Return whether a path is a folder itself, not a link to one."""
    return os.path.isdir(path) and not os.path.islink(path)
