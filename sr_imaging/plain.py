"""MONAI without its metadata, which would cost four times a crop, and with errors that say what was wrong."""

from collections.abc import Iterator
from contextlib import contextmanager

from monai.data.meta_obj import get_track_meta, set_track_meta

from .errors import SrImagingError

__all__ = ["plain_tensors"]


@contextmanager
def plain_tensors() -> Iterator[None]:
    """Let MONAI work on plain tensors, and raise our own errors out of those that it wraps around them."""
    tracked = get_track_meta()
    set_track_meta(False)
    try:
        yield
    except RuntimeError as error:
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, SrImagingError):
            cause = cause.__cause__
        if cause is None:
            raise
        raise cause from cause.__cause__
    finally:
        set_track_meta(tracked)
