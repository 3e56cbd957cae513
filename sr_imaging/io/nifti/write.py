"""DataArray to NIfTI: LPS to RAS, written slab by slab, with what has no field in a header extension."""

import gzip
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
import xarray as xr

from sr_imaging.errors import WriteError
from sr_imaging.image.grid.axes import AXES, spatial_dims
from sr_imaging.image.grid.pixel_spacing import spacing
from sr_imaging.image.grid.volumes import affine
from sr_imaging.image.pixels.packing import pack

from .header import RAS_LPS, SPACES
from .read import EXTENSION_CODE, EXTENSION_KEY

__all__ = ["write_nifti"]

_GZIP_LEVEL = 3  # twice the speed of 6 for a few per cent of size on CT and MR
_NIFTI1_MAX = 32767  # longest axis of NIfTI-1, int16
_SLAB_BYTES = 128 * 2**20
_SQUARE = 1e-5  # cosine between axes below which a qform can say where they lie


def write_nifti(da: xr.DataArray, path: Path) -> None:
    """Write a volume as NIfTI-1, or NIfTI-2 where an axis is longer than 32767, gzipped where it ends in .gz.

    The array is ([time,] z, y, x) or (y, x), with ``volume_ref`` or with coords in mm alone.
    """
    ordered = _order_dims(pack(da))
    header = _build_header(ordered, flat="z" not in spatial_dims(da))
    with path.open("wb") as raw:
        if path.suffix == ".gz":  # no name and time inside: same values, same bytes
            with gzip.GzipFile("", "wb", _GZIP_LEVEL, raw, mtime=0) as packed:
                _write_stream(header, ordered, packed)
        else:
            _write_stream(header, ordered, raw)


def _order_dims(da: xr.DataArray) -> xr.DataArray:
    """Return the array as ([time,] z, y, x), or raise the reason why it is not a NIfTI image."""
    dims = spatial_dims(da)
    lead = [dim for dim in da.dims if dim not in dims.values()]
    if "y" not in dims or "x" not in dims or len(lead) > 1 or 0 in da.shape:
        raise WriteError(
            f"NIfTI holds ([time,] z, y, x), not {dict(da.sizes)}; select or rename dims, or write zarr"
        )
    if "spatial_ref" in da.coords or "image_ref" in da.coords:
        raise WriteError("a raster of the earth has no place in NIfTI; write it as geotiff or zarr")
    if da.dtype.kind not in "biuf" or da.dtype.itemsize > 8:
        raise WriteError(f"NIfTI cannot hold {da.dtype} here; convert the values to numbers first")
    if da.dtype in (bool, np.float16):
        da = da.astype(np.uint8 if da.dtype == bool else np.float32, keep_attrs=True)
    if "z" not in dims:
        da = da.expand_dims("z")
        dims = spatial_dims(da)
    return da.transpose(*lead, *(dims[axis] for axis in AXES))


def _build_header(da: xr.DataArray, *, flat: bool) -> Any:
    """Return a header with place, exact spacing and the extension."""
    import nibabel

    shape = da.shape[::-1][:2] if flat and da.ndim == 3 else da.shape[::-1]
    two = max(shape) > _NIFTI1_MAX
    header = nibabel.Nifti2Header() if two else nibabel.Nifti1Header()
    header.set_data_dtype(da.dtype.newbyteorder("="))
    header.set_data_shape(shape)
    matrix, space = _find_affine(da)
    codes = {name: code for code, name in SPACES.items()}
    code = codes.get(space, codes["scanner"]) if space else 0
    sides = matrix[:3, :3] / np.linalg.norm(matrix[:3, :3], axis=0)
    square = bool(np.abs(np.triu(sides.T @ sides, 1)).max() < _SQUARE)
    header.set_sform(matrix, code)
    header.set_qform(matrix, code if square else 0, strip_shears=True)
    steps = spacing(da)
    header["pixdim"][1:4] = [steps.get(dim, 1.0) for dim in reversed(da.dims[-3:])]
    step = _find_time_step(da)
    header.set_xyzt_units("mm", "sec" if step else None)
    header["pixdim"][4] = step
    header["descrip"] = str(da.attrs.get("description", "")).encode("ascii", "replace")[:79]
    if content := _encode_attrs(da):
        header.extensions.append(nibabel.nifti1.Nifti1Extension(EXTENSION_CODE, content))
    header["magic"] = b"n+2" if two else b"n+1"
    header["vox_offset"] = (544 if two else 352) + header.extensions.get_sizeondisk()
    return header


def _find_affine(da: xr.DataArray) -> tuple[np.ndarray, str]:
    """Return the affine (i, j, k) -> RAS mm and the name of its space, empty where the array has no place."""
    if "volume_ref" in da.coords:
        lps = affine(da)
        return (RAS_LPS @ lps)[:, [2, 1, 0, 3]], str(da.coords["volume_ref"].attrs.get("space", "scanner"))
    steps = spacing(da)
    return np.diag([*(steps.get(dim, 1.0) for dim in reversed(da.dims[-3:])), 1.0]), ""


def _find_time_step(da: xr.DataArray) -> float:
    """Return the step of the time coord in s; 0 where it states none."""
    time = da.coords.get(da.dims[0]) if da.ndim == 4 else None
    if time is None or time.size < 2 or time.attrs.get("units") != "s":
        return 0.0
    return float(time.values[1] - time.values[0])


def _encode_attrs(da: xr.DataArray) -> bytes:
    """Return attrs as JSON: provenance, units, modality."""
    attrs = {key: value for key, value in da.attrs.items() if key != "description"}
    world = dict(da.coords["volume_ref"].attrs) if "volume_ref" in da.coords else {}
    for key in ("origin", "direction", "spacing", "space"):
        world.pop(key, None)
    if not attrs and not world:
        return b""
    content = {EXTENSION_KEY: 1, "attrs": attrs, "volume_ref": world}
    return json.dumps(content, default=_to_json_value).encode()


def _to_json_value(value: Any) -> Any:
    """Return numpy scalars and arrays as JSON knows them."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else str(value)


def _write_stream(header: Any, da: xr.DataArray, file: IO[bytes] | gzip.GzipFile) -> None:
    """Write the header, then voxels with the first index fastest: the C order of (time, z, y, x)."""
    header.write_to(file)
    for slab in _split_into_slabs(da):
        file.write(np.ascontiguousarray(slab.values).data)


def _split_into_slabs(da: xr.DataArray) -> Iterator[xr.DataArray]:
    """Yield parts along the slowest axes, each of few bytes, that end where chunks end."""
    if da.ndim == 4:
        for time in range(da.shape[0]):
            yield from _split_into_slabs(da.isel({da.dims[0]: time}))
        return
    plane = math.prod(da.shape[1:]) * da.dtype.itemsize
    height = max(1, _SLAB_BYTES // plane)
    if da.chunks is not None:
        depth = max(da.chunks[0])
        height = max(depth, height // depth * depth)
    for start in range(0, da.shape[0], height):
        yield da.isel({da.dims[0]: slice(start, start + height)})
