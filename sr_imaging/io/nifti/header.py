"""NIfTI headers: judged as they are before anything is allocated, and turned into a place in LPS+.

nibabel repairs headers silently (zero spacings become 1); here what makes no sense is refused. Whether a file
is compressed is decided by its content.
"""

import gzip
import math
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sr_imaging.errors import ReadError
from sr_imaging.io.content import first_bytes, is_gzip, nifti_mark

__all__ = ["RAS_LPS", "SPACES", "Header", "geometry", "read_header", "unpack_bytes"]

SPACES = {1: "scanner", 2: "aligned", 3: "talairach", 4: "mni", 5: "template"}  # sform and qform codes
RAS_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
_MAX_DEFLATE = 1032  # deflate cannot shrink more than 1032 times (zlib, technical details)
_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # xyzt_units & 7: unknown (taken as mm), m, mm, um
_PLACE_TOLERANCE = 1e-3  # mm: sform and qform that differ less are the same


@dataclass(frozen=True)
class Header:
    """What is needed of a header to read its voxels, in the file's index order i, j, k, t."""

    header: Any
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    offset: int  # byte where the voxels start, after unpacking
    data_path: Path  # the file itself, or the .img of a pair

    @property
    def nbytes(self) -> int:
        """Return the size of the voxels as stored."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(path: Path) -> Header:
    """Return the header; a ReadError says what of it makes no sense."""
    import nibabel

    raw = first_bytes(path)
    mark = nifti_mark(raw)
    if not mark:
        raise ReadError(f"{path} is not a NIfTI file, {_show_start(raw)}; export it again as .nii.gz")
    kind: Any
    kind, size = (nibabel.Nifti2Header, 540) if mark[2:3] == b"2" else (nibabel.Nifti1Header, 348)
    if len(raw) < size:
        raise ReadError(f"{path} ends inside its header of {size} bytes; fetch it again")
    header = kind(raw[:size], check=False)
    shape = _read_shape(path, header)
    dtype = _read_dtype(path, header)
    single = mark.startswith(b"n+")
    offset = int(header["vox_offset"]) if np.isfinite(header["vox_offset"]) else -1
    found = Header(header, shape, dtype, offset, path if single else _find_image_file(path))
    _check_size(found, size if single else 0)
    return found


def _show_start(raw: bytes) -> str:
    """Return what stands where the mark of NIfTI should be."""
    if not raw:
        return "it is empty or damaged"
    if len(raw) < 348:
        return f"it starts with {raw[:12]!r} and ends after {len(raw)} bytes"
    return f"it has {raw[344:348]!r} in place of the mark n+1"


def _read_shape(path: Path, header: Any) -> tuple[int, ...]:
    """Return the lengths of the axes without trailing ones beyond the third."""
    dims = [int(n) for n in header["dim"]]
    if not 1 <= dims[0] <= 7 or any(n < 1 for n in dims[1 : dims[0] + 1]):
        raise ReadError(f"{path} states the impossible dims {dims}; fetch or export it again")
    shape = dims[1 : dims[0] + 1]
    while len(shape) > 3 and shape[-1] == 1:
        shape.pop()
    if not 2 <= len(shape) <= 4:
        raise ReadError(f"{path} has {len(shape)} dims {tuple(shape)}; split it into images of 2 to 4 dims")
    return tuple(shape)


def _read_dtype(path: Path, header: Any) -> np.dtype[Any]:
    """Return the stored dtype, real numbers of at most 64 bits."""
    from nibabel.nifti1 import data_type_codes

    codes: Any = data_type_codes
    code = int(header["datatype"])
    if code not in codes.dtype:
        raise ReadError(f"{path} states the unknown datatype {code}; fetch or export it again")
    dtype: np.dtype[Any] = np.dtype(codes.dtype[code]).newbyteorder(header.endianness)
    if dtype.kind not in "iuf" or dtype.itemsize > 8:
        label = codes.label[code]
        raise ReadError(f"{path} holds {label} values; export real numbers of at most 64 bits first")
    return dtype


def _find_image_file(path: Path) -> Path:
    """Return the .img beside a .hdr."""
    stem = path.name.removesuffix(".gz").rsplit(".", 1)[0]
    for suffix in (".img", ".img.gz", ".IMG"):
        if (candidate := path.with_name(stem + suffix)).is_file():
            return candidate
    raise ReadError(f"{path} needs {stem}.img beside it; fetch both files")


def _check_size(header: Header, head_size: int) -> None:
    """Compare the claims to the size of the file, before anything is allocated."""
    path, size = header.data_path, header.data_path.stat().st_size
    if header.offset < head_size:
        raise ReadError(f"{path} states that voxels start at byte {header.offset}; fetch or export it again")
    most = size * _MAX_DEFLATE if is_gzip(path) else size
    end = header.offset + header.nbytes
    if end > most or (most > size and not _holds_bytes(path, end)):
        raise ReadError(
            f"{path} is cut short: voxels {header.shape} of {header.dtype} end at byte {end}, "
            f"the file has {size}; fetch it again"
        )


def _holds_bytes(path: Path, end: int) -> bool:
    """Return whether a gzip file holds `end` bytes: by its trailer, or by unpacking where that disagrees."""
    with path.open("rb") as raw:
        raw.seek(-4, 2)
        if int.from_bytes(raw.read(4), "little") == end % 2**32:
            return True
    try:
        return len(unpack_bytes(path, end - 1, 1)) == 1
    except ReadError:
        return False


def unpack_bytes(path: Path, offset: int, count: int) -> bytearray:
    """Return at most `count` bytes of a file's content, read in pieces: a false claim allocates little."""
    try:
        with path.open("rb") as raw:
            file: Any = gzip.GzipFile(fileobj=raw) if is_gzip(path) else raw
            file.seek(offset)
            data = bytearray()
            while len(data) < count and (piece := file.read(min(count - len(data), 2**24))):
                data += piece
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise ReadError(f"cannot read {path}: {error}; it is damaged or cut short, fetch it again") from error
    return data


def geometry(found: Header) -> tuple[np.ndarray, list[float], dict[str, Any]]:
    """Return the affine (k, j, i) -> LPS mm, spacing (z, y, x) mm, and attrs of the space with notes."""
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
    ras, world = _read_affine(header, path, pixdim, factor)
    return (RAS_LPS @ ras)[:, [2, 1, 0, 3]], pixdim[::-1], world


def _read_affine(
    header: Any, path: Path, pixdim: list[float], factor: float
) -> tuple[np.ndarray, dict[str, Any]]:
    """Return the affine (i, j, k) -> RAS mm: sform, else qform, else the bare spacing."""
    scaled = np.diag([factor, factor, factor, 1.0])
    codes = {"sform": int(header["sform_code"]), "qform": int(header["qform_code"])}
    forms = {}
    with np.errstate(invalid="ignore"):  # what is not finite is refused below
        if codes["sform"] > 0:
            forms["sform"] = scaled @ header.get_sform()
        if codes["qform"] > 0:
            forms["qform"] = scaled @ _read_qform(header, path)
    notes = []
    for name, form in forms.items():
        if not np.isfinite(form).all() or abs(np.linalg.det(form[:3, :3])) < 1e-12:
            shown = form[:3].tolist()
            raise ReadError(f"{path} has a singular or non-finite {name} {shown}; correct it first")
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


def _read_qform(header: Any, path: Path) -> np.ndarray:
    """Return the (4, 4) qform; a ReadError where its quaternion is impossible."""
    from nibabel.spatialimages import HeaderDataError

    try:
        return np.asarray(header.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError) as error:
        raise ReadError(f"{path} has an impossible qform: {error}; correct it first") from error
