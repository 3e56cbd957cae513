"""MONAI without its metadata, which would cost four times a crop."""

from collections.abc import Iterator
from contextlib import contextmanager

from monai.data.meta_obj import get_track_meta, set_track_meta

__all__ = ["plain_tensors"]


@contextmanager
def plain_tensors() -> Iterator[None]:
    """Let MONAI work on plain tensors."""
    tracked = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(tracked)
