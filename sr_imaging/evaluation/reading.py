"""The scans to measure a model on, as arrays with their guides, one in memory at a time."""

import logging
import os
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import xarray as xr

from sr_imaging.errors import ConfigError
from sr_imaging.image.grid.axes import spatial_dims
from sr_imaging.image.grid.frames import mean_on_grid
from sr_imaging.io import find_scans, read

__all__ = ["align_grids", "read_with_guides"]

log = logging.getLogger(__name__)


def read_with_guides(scans: Any, guides: Any) -> Iterator[tuple[str, xr.DataArray, xr.DataArray | None]]:
    """Yield name, array and guide of each scan; raises ConfigError unless there is one guide for each."""
    if guides is None:
        yield from ((label, da, None) for label, da in _read_each(scans))
        return
    for scan, guide in zip_longest(_read_each(scans), _read_each(guides)):
        if guide is None:
            raise ConfigError(f"there is no guide for {scan[0]}; give one for each scan")
        if scan is None:
            raise ConfigError(f"the guide {guide[0]} has no scan; give one for each scan")
        yield *scan, guide[1]


def align_grids(da: xr.DataArray, guide: xr.DataArray | None) -> tuple[xr.DataArray, xr.DataArray | None]:
    """Return a scan and its guide on one grid.

    They are placed by their coordinates where their sizes differ and both have them.
    """
    if guide is None:
        return da, None
    pair = [(one, spatial_dims(one).values()) for one in (da, guide)]
    sizes = [[one.sizes[dim] for dim in dims] for one, dims in pair]
    if sizes[0] == sizes[1] or not all(dim in one.coords for one, dims in pair for dim in dims):
        return da, guide
    mean, covered = mean_on_grid(guide, da)
    return covered, mean


def _read_each(scans: Any) -> Iterator[tuple[str, xr.DataArray]]:
    """Yield the name and the array, invalid pixels NaN, of every scan that can be read."""
    for one in scans if isinstance(scans, list | tuple) else [scans]:
        if isinstance(one, xr.DataArray):
            yield str(one.name or "array"), one
            continue
        for scan in find_scans(one, images=True) if isinstance(one, str | os.PathLike) else [one]:
            if scan.verdict.ok:
                yield scan.path.name, read(scan, masked=True).load()
            else:
                log.warning("%s is left out: %s", scan.path, scan.verdict)
