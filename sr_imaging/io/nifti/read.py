"""NIfTI to DataArray: 2-D, 3-D and 4-D, RAS+ to LPS+, values rescaled."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from sr_imaging.errors import GridError, ReadError
from sr_imaging.image.grid.volumes import volume
from sr_imaging.io.scan import Scan, Verdict

from .header import Header, geometry, read_header, unpack_bytes

__all__ = ["EXTENSION_CODE", "EXTENSION_KEY", "read_nifti", "scan_nifti"]

EXTENSION_CODE = 6  # header extension "comment" (NIfTI-1.1): here JSON of the attrs that have no field
EXTENSION_KEY = "sr_imaging"
_MAX_EXTENSION = 2**20  # bytes of header extensions that are looked at
_SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}  # xyzt_units & 56


def scan_nifti(path: Path) -> Scan:
    """Describe a NIfTI file by its header, with shape and spacing (mm) as they will be read."""
    try:
        header = read_header(path)
        _, spacing, world = geometry(header)
    except ReadError as error:
        return Scan(path, "nifti", Verdict(False, str(error)), files=(path,))
    return Scan(
        path,
        "nifti",
        Verdict(True, notes=world.pop("notes")),
        files=(path,) if header.data_path == path else (path, header.data_path),
        shape=header.shape[::-1],
        spacing=tuple(spacing[-min(3, len(header.shape)) :]),
        modality=_read_extension(header)[1].get("modality"),
        facts={"dtype": str(header.dtype), "space": world.get("space", "none")},
    )


def read_nifti(scan: Scan) -> xr.DataArray:
    """Read a NIfTI image into memory as ([time,] z, y, x): its third, second and first index; or as (y, x).

    Coords are in mm from the first voxel, placed by ``volume_ref`` (LPS), which is absent where the file
    states no place. Integers where slope and intercept are whole, else floats.
    """
    found = read_header(scan.path)
    matrix, spacing, world = geometry(found)
    world.pop("notes")  # which the verdict reports
    values = _rescale_values(_read_voxels(found), found)
    flat = values.ndim == 2
    values = values[None] if flat else values
    attrs, more = _read_extension(found)
    world = {**more, **world}
    text = bytes(found.header["descrip"]).split(b"\0")[0].decode("utf-8", "replace").strip()
    if text:
        attrs["description"] = text
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    exact = spacing if np.allclose(lengths, spacing, rtol=1e-6, atol=0) else None
    try:
        da = volume(values, matrix, spacing=exact, attrs=attrs, reference=world)
    except GridError as error:
        raise ReadError(f"{scan.path}: {error}; correct its header first") from error
    if "space" not in world:
        da = da.drop_vars("volume_ref")
    if "time" in da.dims and (step := _read_time_step(found.header)):
        da = da.assign_coords(time=("time", np.arange(da.sizes["time"]) * step, {"units": "s"}))
    da.encoding["source"] = str(scan.path)
    return da.isel(z=0) if flat else da


def _read_extension(found: Header) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return attrs of the array and of volume_ref from the extension that `sr_imaging.write` makes."""
    head = len(found.header.binaryblock)
    data = bytes(unpack_bytes(found.data_path, head, min(found.offset - head, _MAX_EXTENSION)))
    order: Literal["little", "big"] = "little" if found.header.endianness == "<" else "big"
    at = 4
    while data[:1] == b"\1" and at + 8 <= len(data):
        size, code = (int.from_bytes(data[k : k + 4], order) for k in (at, at + 4))
        content = _parse_json(data[at + 8 : at + size]) if code == EXTENSION_CODE else {}
        if EXTENSION_KEY in content:
            return content.get("attrs", {}), content.get("volume_ref", {})
        at += max(size, 8)
    return {}, {}


def _parse_json(data: bytes) -> dict[str, Any]:
    """Return a JSON object, empty where the bytes are not one."""
    try:
        content = json.loads(data.rstrip(b"\0 "), object_hook=_lists_to_tuples)
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}


def _lists_to_tuples(attrs: dict[str, Any]) -> dict[str, Any]:
    """Return attrs with tuples where JSON knows lists only."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in attrs.items()}


def _read_time_step(header: Any) -> float | None:
    """Return the repetition time in s where the header states one."""
    step, unit = float(header["pixdim"][4]), int(header["xyzt_units"]) & 56
    return step * _SECONDS[unit] if unit in _SECONDS and np.isfinite(step) and step > 0 else None


def _read_voxels(found: Header) -> np.ndarray:
    """Return stored values as ([t,] k, j, i), in native byte order."""
    data = unpack_bytes(found.data_path, found.offset, found.nbytes)
    if len(data) < found.nbytes:
        raise ReadError(
            f"{found.data_path} is cut short: {len(data)} of {found.nbytes} bytes of voxels; fetch it again"
        )
    values: np.ndarray = np.frombuffer(data, found.dtype).reshape(found.shape[::-1])
    return values.astype(found.dtype.newbyteorder("="), copy=False)


def _rescale_values(values: np.ndarray, found: Header) -> np.ndarray:
    """Apply slope and intercept: integers stay integers where both are whole."""
    slope, inter = float(found.header["scl_slope"]), float(found.header["scl_inter"])
    if not np.isfinite(slope) or slope == 0:
        return values
    inter = inter if np.isfinite(inter) else 0.0
    if (slope, inter) == (1.0, 0.0):
        return values
    if values.dtype.kind in "iu" and slope.is_integer() and inter.is_integer():
        ends = [int(end) * int(slope) + int(inter) for end in (values.min(), values.max())]
        for dtype in (values.dtype, np.dtype(np.int16), np.dtype(np.int32), np.dtype(np.int64)):
            if np.iinfo(dtype).min <= min(ends) and max(ends) <= np.iinfo(dtype).max:
                return (values.astype(np.int64) * int(slope) + int(inter)).astype(dtype)
    kind = np.float64 if values.dtype == np.float64 else np.float32
    return (values * np.float64(slope) + inter).astype(kind)
