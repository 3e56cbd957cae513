"""NIfTI to DataArray: 2-D, 3-D and 4-D, RAS+ to LPS+, values rescaled."""

import json
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray as xr

from sr_imaging.errors import GridError, ReadError
from sr_imaging.image.grid.volumes import volume
from sr_imaging.io.scan import Scan, Verdict

from .header import Header, geometry, read_header, unpacked_bytes

__all__ = ["EXTENSION_CODE", "EXTENSION_KEY", "read_nifti", "scan_nifti"]

EXTENSION_CODE = 6  # header extension "comment" (NIfTI-1.1): here JSON of the attrs that have no field
EXTENSION_KEY = "sr_imaging"
_MAX_EXTENSION = 2**20  # bytes of header extensions that are looked at
_SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}  # xyzt_units & 56


def scan_nifti(path: Path) -> Scan:
    """Describe a NIfTI file by its header.

    Parameters
    ----------
    path : Path
        A ``.nii``, ``.nii.gz`` or ``.hdr`` file, by content.

    Returns
    -------
    Scan
        With shape and spacing as they will be read; not ok where the header makes no sense.
    """
    try:
        header = read_header(path)
        _, spacing, world = geometry(header)
    except ReadError as error:
        return Scan(path, "nifti", Verdict(False, str(error)), files=(path,))
    notes = (*header.notes, *world.pop("notes"))
    return Scan(
        path,
        "nifti",
        Verdict(True, notes=notes),
        files=(path,) if header.data_path == path else (path, header.data_path),
        shape=header.shape[::-1],
        spacing=tuple(spacing[-min(3, len(header.shape)) :]),
        modality=_extension(header)[1].get("modality"),
        facts={"dtype": str(header.dtype), "space": world.get("space", "none")},
    )


def read_nifti(scan: Scan) -> xr.DataArray:
    """Read a NIfTI image into memory.

    Parameters
    ----------
    scan : Scan
        Of kind ``nifti``.

    Returns
    -------
    ([time,] z, y, x) DataArray
        z, y, x are the file's third, second and first index, in mm from the first voxel, placed by
        ``volume_ref`` (LPS); a 2-D image is ``(y, x)``. Where the file states no place there is no
        ``volume_ref``. Integers where slope and intercept are whole, else floats.

    Raises
    ------
    ReadError
        If the header makes no sense or the voxels are cut short.
    """
    found = read_header(scan.path)
    matrix, spacing, world = geometry(found)
    world.pop("notes")  # told by the verdict
    values = _rescaled(_voxels(found), found)
    flat = values.ndim == 2
    values = values[None] if flat else values
    attrs, more = _extension(found)
    world = {**more, **world}
    if text := _text(found.header["descrip"]):
        attrs["description"] = text
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    exact = spacing if np.allclose(lengths, spacing, rtol=1e-6, atol=0) else None
    try:
        da = volume(values, matrix, spacing=exact, attrs=attrs, reference=world)
    except GridError as error:
        raise ReadError(f"{scan.path}: {error}; correct its header first") from error
    if "space" not in world:
        da = da.drop_vars("volume_ref")
    if "time" in da.dims and (step := _time_step(found.header)):
        da = da.assign_coords(time=("time", np.arange(da.sizes["time"]) * step, {"units": "s"}))
    da.encoding["source"] = str(scan.path)
    return da.isel(z=0) if flat else da


def _text(value: Any) -> str:
    """A header's text field."""
    return bytes(value).split(b"\0")[0].decode("utf-8", "replace").strip()


def _extension(found: Header) -> tuple[dict[str, Any], dict[str, Any]]:
    """Attrs of the array and of volume_ref from the extension that `sr_imaging.write` makes."""
    head = len(found.header.binaryblock)
    data = bytes(unpacked_bytes(found.data_path, head, min(found.offset - head, _MAX_EXTENSION)))
    order: Literal["little", "big"] = "little" if found.header.endianness == "<" else "big"
    at = 4
    while data[:1] == b"\1" and at + 8 <= len(data):
        size, code = (int.from_bytes(data[k : k + 4], order) for k in (at, at + 4))
        told = _json(data[at + 8 : at + size]) if code == EXTENSION_CODE else {}
        if EXTENSION_KEY in told:
            return told.get("attrs", {}), told.get("volume_ref", {})
        at += max(size, 8)
    return {}, {}


def _json(data: bytes) -> dict[str, Any]:
    """A JSON object, or nothing where the bytes are none."""
    try:
        told = json.loads(data.rstrip(b"\0 "), object_hook=_tuples)
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def _tuples(told: dict[str, Any]) -> dict[str, Any]:
    """Lists of a JSON object as tuples, as attrs hold them."""
    return {key: tuple(value) if isinstance(value, list) else value for key, value in told.items()}


def _time_step(header: Any) -> float | None:
    """Repetition time in s where the header states one."""
    step, unit = float(header["pixdim"][4]), int(header["xyzt_units"]) & 56
    return step * _SECONDS[unit] if unit in _SECONDS and np.isfinite(step) and step > 0 else None


def _voxels(found: Header) -> np.ndarray:
    """Stored values as ([t,] k, j, i), in native byte order."""
    data = unpacked_bytes(found.data_path, found.offset, found.nbytes)
    if len(data) < found.nbytes:
        raise ReadError(
            f"{found.data_path} is cut short: {len(data)} of {found.nbytes} bytes of voxels; fetch it again"
        )
    values: np.ndarray = np.frombuffer(data, found.dtype).reshape(found.shape[::-1])
    return values.astype(found.dtype.newbyteorder("="), copy=False)


def _rescaled(values: np.ndarray, found: Header) -> np.ndarray:
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
