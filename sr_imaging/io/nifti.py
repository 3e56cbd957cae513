"""NIfTI to DataArray: 2-D, 3-D and 4-D, RAS+ to LPS+, with the header read as it stands.

nibabel repairs headers silently (zero spacings become 1); here the raw header is judged before anything is
allocated, and what makes no sense is refused. Whether a file is compressed is decided by its content.
"""

import gzip
import json
import logging
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
import xarray as xr

from ..errors import GridError, ReadError
from ..geometry import volume
from .scan import Scan, Verdict

__all__ = [
    "EXTENSION_CODE",
    "EXTENSION_KEY",
    "RAS_LPS",
    "SPACES",
    "first_bytes",
    "is_nifti",
    "read_nifti",
    "scan_nifti",
]

EXTENSION_CODE = 6  # header extension "comment" (NIfTI-1.1): here JSON of the attrs that have no field
EXTENSION_KEY = "sr_imaging"
_GZIP = b"\x1f\x8b"
_HEAD_BYTES = 540  # of a NIfTI-2 header, the longer one
_MAX_EXTENSION = 2**20  # bytes of header extensions that are looked at
_MAX_DEFLATE = 1032  # deflate cannot shrink more than 1032 times (zlib, technical details)
_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units & 7: unknown (taken as mm), m, mm, um
_SECONDS = {8: 1.0, 16: 1e-3, 24: 1e-6}  # xyzt_units & 56
SPACES = {1: "scanner", 2: "aligned", 3: "talairach", 4: "mni", 5: "template"}  # sform and qform codes
RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_PLACE_TOLERANCE = 1e-3  # mm: sform and qform that differ less are the same

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class _Header:
    """What is needed of a header to read its voxels, in the file's index order i, j, k, t."""

    header: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int
    data_path: Path
    notes: tuple[str, ...] = ()

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def is_nifti(head: bytes) -> bool:
    """Tell whether a file whose (decompressed) content starts with `head` is NIfTI-1 or NIfTI-2."""
    return head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] in (b"n+2\0", b"ni2\0")


def first_bytes(path: Path) -> bytes:
    """The first bytes of a file's content, decompressed where it is gzip.

    Parameters
    ----------
    path : Path
        Any file.

    Returns
    -------
    bytes
        At most 540; what could be decompressed, where the file is damaged.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    if head[:2] != _GZIP:
        return head[:_HEAD_BYTES]
    try:
        return zlib.decompressobj(wbits=31).decompress(head, _HEAD_BYTES)
    except zlib.error:
        return b""


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
        header = _read_header(path)
        _, spacing, world = _geometry(header)
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
        facts={"dtype": str(header.dtype), "space": world.get("space", "none")},
    )


def _read_header(path: Path) -> _Header:
    """Read and judge the header."""
    import nibabel

    raw = first_bytes(path)
    if not is_nifti(raw):
        raise ReadError(f"{path} is no NIfTI file, {_start(raw)}; export it again as .nii.gz")
    two = raw[4:8] in (b"n+2\0", b"ni2\0")
    kind, size = (nibabel.Nifti2Header, 540) if two else (nibabel.Nifti1Header, 348)
    if len(raw) < size:
        raise ReadError(f"{path} ends inside its header of {size} bytes; fetch it again")
    header = kind(raw[:size], check=False)
    shape = _shape(path, header)
    dtype = _dtype(path, header)
    single = (raw[4:8] if two else raw[344:348]).startswith(b"n+")
    offset = int(header["vox_offset"]) if np.isfinite(header["vox_offset"]) else -1
    found = _Header(header, shape, dtype, offset, path if single else _image_file(path))
    _check_size(found, size if single else 0)
    return found


def _start(raw: bytes) -> str:
    """What stands where the mark of NIfTI should be."""
    if len(raw) < 348:
        return (
            f"it starts with {raw[:12]!r} and ends after {len(raw)} bytes"
            if raw
            else "it is empty or damaged"
        )
    return f"it has {raw[344:348]!r} in place of the mark n+1"


def _shape(path: Path, header: Any) -> tuple[int, ...]:
    """Lengths of the axes without trailing ones beyond the third."""
    dims = [int(n) for n in header["dim"]]
    if not 1 <= dims[0] <= 7 or any(n < 1 for n in dims[1 : dims[0] + 1]):
        raise ReadError(f"{path} states the dims {dims}, which cannot be; fetch or export it again")
    shape = dims[1 : dims[0] + 1]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if not 2 <= len(shape) <= 4:
        raise ReadError(f"{path} has {len(shape)} dims {tuple(shape)}; split it into images of 2 to 4 dims")
    return tuple(shape)


def _dtype(path: Path, header: Any) -> np.dtype[Any]:
    """Stored dtype, real numbers of at most 64 bits."""
    from nibabel.nifti1 import data_type_codes

    code = int(header["datatype"])
    if code not in data_type_codes.dtype:
        raise ReadError(f"{path} states the unknown datatype {code}; fetch or export it again")
    dtype = np.dtype(data_type_codes.dtype[code]).newbyteorder(header.endianness)
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        label = data_type_codes.label[code]
        raise ReadError(f"{path} holds {label} values; export real numbers of at most 64 bits first")
    return dtype


def _image_file(path: Path) -> Path:
    """The .img beside a .hdr."""
    stem = path.name.removesuffix(".gz").rsplit(".", 1)[0]
    for suffix in (".img", ".img.gz", ".IMG"):
        if (candidate := path.with_name(stem + suffix)).is_file():
            return candidate
    raise ReadError(f"{path} needs {stem}.img beside it; fetch both files")


def _check_size(header: _Header, head_size: int) -> None:
    """Compare the claims to the size of the file, before anything is allocated."""
    path, size = header.data_path, header.data_path.stat().st_size
    if header.offset < head_size:
        raise ReadError(f"{path} states that voxels start at byte {header.offset}; fetch or export it again")
    with path.open("rb") as file:
        most = size * _MAX_DEFLATE if file.read(2) == _GZIP else size
    end = header.offset + header.nbytes
    if end > most or (most > size and not _unpacks_to(path, end)):
        raise ReadError(
            f"{path} is cut short: voxels {header.shape} of {header.dtype} end at byte {end}, "
            f"the file has {size}; fetch it again"
        )


def _unpacks_to(path: Path, end: int) -> bool:
    """Whether a gzip file holds `end` bytes: by its trailer, and by unpacking only where that disagrees."""
    with path.open("rb") as raw:
        raw.seek(-4, 2)
        if int.from_bytes(raw.read(4), "little") == end % 2**32:
            return True
        raw.seek(0)
        try:
            file = gzip.GzipFile(fileobj=raw)
            file.seek(end - 1)
            return len(file.read(1)) == 1
        except (EOFError, OSError, zlib.error):
            return False


def _geometry(found: _Header) -> tuple[np.ndarray, list[float], dict[str, Any]]:
    """Affine (k, j, i) -> LPS mm, spacing (z, y, x) mm, and what is known of the space, with notes."""
    header, path = found.header, found.data_path
    units = int(header["xyzt_units"])
    if (units & 7) not in _MM:
        raise ReadError(f"{path} states the unknown spatial unit {units & 7}; fetch or export it again")
    factor = _MM[units & 7]
    pixdim = [float(d) * factor for d in header["pixdim"][1:4]]
    ndim = min(3, len(found.shape))
    if not all(np.isfinite(pixdim[:ndim])) or not all(pixdim[:ndim]):
        raise ReadError(f"{path} states a voxel size of {pixdim[:ndim]} mm; correct its header first")
    pixdim = [abs(d) if d and np.isfinite(d) else factor for d in pixdim]
    ras, world = _ras(header, path, pixdim, factor)
    lps = RAS_LPS @ ras
    return lps[:, [2, 1, 0, 3]], pixdim[::-1], world


def _ras(header: Any, path: Path, pixdim: list[float], factor: float) -> tuple[np.ndarray, dict[str, Any]]:
    """Affine (i, j, k) -> RAS mm: sform, else qform, else the bare spacing."""
    scaled = np.diag([factor, factor, factor, 1.0])
    codes = {"sform": int(header["sform_code"]), "qform": int(header["qform_code"])}
    forms = {}
    if codes["sform"] > 0:
        forms["sform"] = scaled @ header.get_sform()
    if codes["qform"] > 0:
        forms["qform"] = scaled @ _qform(header, path)
    notes = []
    for name, form in forms.items():
        if not np.isfinite(form).all() or abs(np.linalg.det(form[:3, :3])) < 1e-12:
            raise ReadError(
                f"{path} has a singular or non-finite {name} {form[:3].tolist()}; correct it first"
            )
    if len(forms) == 2 and (shift := np.abs(forms["sform"] - forms["qform"]).max()) > _PLACE_TOLERANCE:
        notes.append(f"sform and qform differ by up to {shift:.3g} mm; sform is used")
    if not forms:
        notes.append("neither sform nor qform is set; voxels have a size but no place in the world")
        return np.diag([*pixdim, 1.0]), {"notes": tuple(notes)}
    name = next(iter(forms))
    lengths = np.linalg.norm(forms[name][:3, :3], axis=0)
    if not np.allclose(lengths, pixdim, rtol=1e-3):
        notes.append(f"{name} states a voxel size of {lengths.round(4).tolist()} mm, pixdim {pixdim}")
    return forms[name], {"notes": tuple(notes), "space": SPACES.get(codes[name], "aligned")}


def _qform(header: Any, path: Path) -> np.ndarray:
    """The qform, whose quaternion may be none."""
    from nibabel.spatialimages import HeaderDataError

    try:
        return np.asarray(header.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError) as error:
        raise ReadError(f"{path} has an impossible qform: {error}; correct it first") from error


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
    found = _read_header(scan.path)
    matrix, spacing, world = _geometry(found)
    for note in (*found.notes, *world.pop("notes")):
        _log.warning("%s: %s", scan.path, note)
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


def _extension(found: _Header) -> tuple[dict[str, Any], dict[str, Any]]:
    """Attrs of the array and of volume_ref from the extension that `sr_imaging.write` makes."""
    path = found.data_path
    head = len(found.header.binaryblock)
    with path.open("rb") as raw:
        packed = raw.read(2) == _GZIP
        raw.seek(0)
        data = bytes(
            _exactly(
                gzip.GzipFile(fileobj=raw) if packed else raw, head, min(found.offset - head, _MAX_EXTENSION)
            )
        )
    order = "little" if found.header.endianness == "<" else "big"
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


def _voxels(found: _Header) -> np.ndarray:
    """Stored values as ([t,] k, j, i), in native byte order."""
    path = found.data_path
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == _GZIP
            raw.seek(0)
            data = _exactly(gzip.GzipFile(fileobj=raw) if packed else raw, found.offset, found.nbytes)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ReadError(f"cannot read {path}: {error}; it is damaged or cut short, fetch it again") from error
    if len(data) < found.nbytes:
        raise ReadError(
            f"{path} is cut short: it has {len(data)} of {found.nbytes} bytes of voxels; fetch it again"
        )
    values = np.frombuffer(data, found.dtype).reshape(found.shape[::-1])
    return values.astype(found.dtype.newbyteorder("="), copy=not values.flags.writeable)


def _exactly(file: IO[bytes], offset: int, count: int) -> bytearray:
    """At most `count` bytes from `offset`, in pieces, so that a false claim allocates little."""
    file.seek(offset)
    data = bytearray()
    while len(data) < count and (piece := file.read(min(count - len(data), 2**24))):
        data += piece
    return data


def _rescaled(values: np.ndarray, found: _Header) -> np.ndarray:
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
