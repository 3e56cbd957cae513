"""A finished GeoTIFF is read back: GDAL does not say when the disk fails it while a file is closed."""

import math
import re
import shutil
from pathlib import Path
from typing import Any

import xarray as xr

from sr_imaging.errors import ReadError, ResourceError, WriteError
from sr_imaging.image.grid.frames import is_same_crs

from .pixels import block_extents, open_raster
from .tags import profile

__all__ = ["disk_error", "verify"]

_MIN_FREE = 2**20  # bytes; less than this is a full disk


def verify(da: xr.DataArray, path: Path) -> None:
    """Decode all of a finished file, and raise where its grid, CRS or dtype is not the asked one."""
    asked = profile(da)
    try:
        with open_raster(path) as src:
            got = {"shape": (src.count, src.height, src.width), "dtype": src.dtypes[0]}
            crs, transform = src.crs, src.transform
            missing = [name for name, start, _ in block_extents(src) if not start]
            _decode_all(src)
    except ReadError as error:
        raise disk_error(path, "it cannot be read back") from error
    if missing:
        raise disk_error(path, f"{missing[0]} is not in the file")
    if got != (wanted := {"shape": da.shape, "dtype": asked["dtype"]}):
        raise WriteError(f"{path} came out with {got}, not {wanted}; write zarr instead")
    if not _is_same_crs(asked["crs"], crs):
        raise WriteError(f"GeoTIFF cannot hold the CRS {asked['crs']}; write zarr, or reproject first")
    _compare_transform(asked["transform"], transform, path)


def _decode_all(src: Any) -> None:
    """Read every block once; deflate carries a checksum."""
    masked = "per_dataset" in {flag.name for flag in src.mask_flag_enums[0]}
    for _, window in src.block_windows(1):
        src.read(window=window)
        if masked:
            src.read_masks(1, window=window)


def _is_same_crs(asked: Any, got: Any) -> bool:
    """Return whether both place x and y alike; GeoTIFF does not state axes, such as that all lead south."""
    if asked is None or got is None or asked == got:
        return bool(asked == got)
    ours, its = (re.sub(r",AXIS\[[^]]*\]", "", crs.to_wkt()) for crs in (asked, got))
    return is_same_crs(ours, its)


def _compare_transform(asked: Any, got: Any, path: Path) -> None:
    """Raise where the transform is not the asked one to a millionth of a pixel."""
    if asked is None:
        return
    precision = 1e-6 * min(math.hypot(asked.a, asked.d), math.hypot(asked.b, asked.e))
    if not got.almost_equals(asked, precision=precision):
        raise WriteError(f"{path} came out with transform {got}, not {asked}; write zarr instead")


def disk_error(path: Path, cause: str) -> WriteError | ResourceError:
    """Return the error of a full disk, or of another reason why the output could not be written."""
    free = shutil.disk_usage(path.parent).free
    if free < _MIN_FREE or "No space left" in cause:
        return ResourceError(f"cannot write {path}: the disk has {free} bytes left; free some disk space")
    return WriteError(f"cannot write {path}: {cause}; check the disk and its quota")
