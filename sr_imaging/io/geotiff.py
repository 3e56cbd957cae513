"""GeoTIFF to DataArray, lazily: what the file says of its pixels is kept, so that a writer can say it again.

Pixels are read window by window when asked for, by opening the file anew each time, so that the array can be
pickled, read from many threads, and outlives nothing. Where the keys are explained: ``docs/architecture.md``.
"""

import json
import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from ..errors import ReadError
from .scan import Scan, Verdict

__all__ = ["RESERVED", "damage", "is_tiff", "open_raster", "read_geotiff", "scan_geotiff"]

_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # TIFF and BigTIFF, little and big endian
_CHUNK_BYTES = 32 * 2**20  # of one dask chunk: large enough for few tasks, small beside a network's memory
_CHECKED_BLOCKS = 20_000  # blocks whose extent is compared to the file's size, about 50 ms
# Namespaces about the file itself, or kept elsewhere; rasterio reads XMP (xml:...) but cannot write it.
_OWN_NAMESPACES = ("IMAGE_STRUCTURE", "DERIVED_SUB", "SUBDATASETS", "COLOR_PROFILE", "RPC", "rio_", "xml:")
# Keys of attrs that are not tags of the data set; the writer puts each in its own place.
RESERVED = frozenset(
    {"_FillValue", "missing_value", "scale_factor", "add_offset", "scales", "offsets", "units", "long_name"}
    | {"band_tags", "tag_namespaces", "color_interp", "color_table", "grid_mapping", "coordinates"}
)

_log = logging.getLogger(__name__)
_warnings_lock = threading.Lock()  # warnings.catch_warnings is not thread-safe


def is_tiff(head: bytes) -> bool:
    """Tell whether a file that starts with `head` is a TIFF."""
    return head[:4] in _MAGIC


@contextmanager
def open_raster(path: Path, *, complete: bool = False) -> Iterator[Any]:
    """Open a GeoTIFF with rasterio, quiet about missing georeference; library errors become ReadError.

    With `complete`, a file whose blocks reach beyond its end is an error as well.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    try:
        with _warnings_lock, warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            dataset = rasterio.open(Path(path), driver="GTiff")
        with dataset:
            if complete and (reason := _cut_short(dataset)):
                raise ReadError(reason)
            yield dataset
    except (RasterioError, rasterio._err.CPLE_BaseError) as error:
        raise ReadError(
            f"cannot read {path}: {damage(error)}; the file is damaged or cut short, fetch it again"
        ) from error


def damage(error: BaseException) -> str:
    """The deepest message of a chain, in one line: GDAL's own words."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()).rstrip(".")


def scan_geotiff(path: Path) -> Scan:
    """Describe a GeoTIFF without reading its pixels.

    Parameters
    ----------
    path : Path
        A file with a TIFF signature.

    Returns
    -------
    Scan
        With shape ``(band, y, x)`` and spacing ``(y, x)``; not ok where the file cannot be read.
    """
    try:
        with open_raster(path) as src:
            reason = _refusal(src)
            notes = _notes(src)
            spacing = tuple(float(np.hypot(*side)) for side in _sides(src.transform)) if _placed(src) else ()
            shape = (src.count, src.height, src.width)
            facts = {
                "dtype": src.dtypes[0] if src.count else "",
                "bands": src.count,
                "crs": str(src.crs or ""),
                "driver": src.driver,
            }
    except ReadError as error:
        return Scan(path, "geotiff", Verdict(False, str(error)), files=(path,))
    return Scan(
        path,
        "geotiff",
        Verdict(not reason, reason, notes),
        files=(path,),
        shape=shape,
        spacing=spacing,
        facts=facts,
    )


def _sides(transform: Any) -> tuple[tuple[float, float], tuple[float, float]]:
    """The sides of a pixel along y and x as vectors in CRS units."""
    return (transform.b, transform.e), (transform.a, transform.d)


def _placed(src: Any) -> bool:
    """Whether the file states a transform; GDAL gives the identity where there is none."""
    return not src.transform.is_identity


def _refusal(src: Any) -> str:
    """Why the file cannot be read as an image, or an empty text."""
    if not src.count or not src.width or not src.height:
        return f"{src.name} holds no pixels; fetch it again"
    if np.dtype(_numpy_name(src.dtypes[0])).kind == "c":
        return f"{src.name} holds complex values ({src.dtypes[0]}); write their amplitude first"
    if abs(src.transform.determinant) == 0 or not np.isfinite(list(src.transform)).all():
        return f"{src.name} has the singular transform {src.transform.to_gdal()}; give it a right one first"
    return _cut_short(src)


def _numpy_name(dtype: str) -> str:
    """The dtype of rasterio as numpy knows it; GDAL's complex integers have no numpy type of their own."""
    return "complex64" if dtype == "complex_int16" else dtype


def _cut_short(src: Any) -> str:
    """Compare the blocks' places to the size of the file."""
    size = Path(src.name).stat().st_size
    height, width = src.block_shapes[0]
    rows, cols = -(-src.height // height), -(-src.width // width)
    bands = 1 if src.interleaving and src.interleaving.name == "pixel" else src.count
    total = rows * cols * bands
    for number in np.unique(np.linspace(0, total - 1, min(total, _CHECKED_BLOCKS)).astype(np.int64)):
        band, place = divmod(int(number), rows * cols)
        key = f"{place % cols}_{place // cols}"
        start = src.get_tag_item(f"BLOCK_OFFSET_{key}", "TIFF", bidx=band + 1)
        length = src.get_tag_item(f"BLOCK_SIZE_{key}", "TIFF", bidx=band + 1)
        if start and length and int(start) + int(length) > size:
            return (
                f"{src.name} is cut short: block {key} of band {band + 1} ends at byte "
                f"{int(start) + int(length)}, the file has {size}; fetch it again"
            )
    return ""


def _notes(src: Any) -> tuple[str, ...]:
    """What a reader should know and cannot see."""
    notes = []
    if pages := len(src.subdatasets):
        notes.append(f"the first of {pages} images in the file is read")
    if src.count and src.nodatavals[0] is not None and _nodata(src) is None:
        notes.append(f"nodata {src.nodatavals[0]:g} is no {src.dtypes[0]} value and marks nothing")
    return tuple(notes)


def read_geotiff(scan: Scan) -> xr.DataArray:
    """Read a GeoTIFF as a lazy raster.

    Parameters
    ----------
    scan : Scan
        Of kind ``geotiff``.

    Returns
    -------
    (band, y, x) DataArray
        Dask-backed, native dtype, nodata in ``attrs["_FillValue"]``. Coords: ``band`` 1..n; float64 pixel
        centres ``y``, ``x`` in CRS units, or 2-D ``xc``, ``yc`` where rotated, or none where the file states
        no place; ``spatial_ref``; ``mask`` (y, x), True where valid, for a per-dataset mask; ``image_ref``
        with GCPs and RPCs, whose pixel positions are positions on the axes ``x`` and ``y``.

    Raises
    ------
    ReadError
        If the file cannot be read; damaged pixels raise it when they are computed.
    """
    with open_raster(scan.path) as src:
        if reason := _refusal(src):
            raise ReadError(reason)
        for note in _notes(src):
            _log.warning("%s: %s", scan.path, note)
        pixels = _lazy(src, mask=False)
        coords: dict[str, Any] = {"band": np.arange(1, src.count + 1), **_centres(src)}
        if "per_dataset" in _mask_flags(src) and "alpha" not in _mask_flags(src):
            coords["mask"] = (("y", "x"), _lazy(src, mask=True), {"long_name": "valid pixels"})
        da = xr.DataArray(pixels, dims=("band", "y", "x"), coords=coords, attrs=_attrs(src))
        da = _place(da, src)
    da.name = None  # xarray took the name of the dask array
    da.encoding["source"] = str(scan.path)
    return da


def _mask_flags(src: Any) -> set[str]:
    """Names of GDAL's mask flags of the first band."""
    return {flag.name for flag in src.mask_flag_enums[0]}


def _place(da: xr.DataArray, src: Any) -> xr.DataArray:
    """Add spatial_ref, and image_ref where there are ground control points or rational polynomials."""
    import rioxarray  # noqa: F401 - registers the accessor

    if src.crs:
        da = da.rio.write_crs(src.crs).rio.write_coordinate_system()
    if _placed(src):
        da = da.rio.write_transform(src.transform)
    points, crs = src.gcps
    reference: dict[str, Any] = {}
    if points:
        keys = ("row", "col", "x", "y", "z", "id", "info")
        reference["gcps"] = json.dumps([{key: getattr(p, key) for key in keys} for p in points])
        reference["gcps_wkt"] = crs.to_wkt() if crs else ""
    if src.rpcs:
        reference["rpcs"] = json.dumps(src.rpcs.to_dict())
    if reference:
        reference["transform"] = " ".join(map(repr, src.transform.to_gdal()))
        da = da.assign_coords(image_ref=((), 0, reference))
    return da


def _centres(src: Any) -> dict[str, Any]:
    """Pixel centres; where GCPs or RPCs alone place the image they count pixels from its corner."""
    if not _placed(src):
        if not src.gcps[0] and not src.rpcs:
            return {}
        unit = {"units": "pixel"}
        return {"y": ("y", np.arange(src.height) + 0.5, unit), "x": ("x", np.arange(src.width) + 0.5, unit)}
    t = src.transform
    rows, cols = np.arange(src.height) + 0.5, np.arange(src.width) + 0.5
    if t.b == 0 and t.d == 0:
        return {"y": ("y", t.f + t.e * rows), "x": ("x", t.c + t.a * cols)}
    rows, cols = rows[:, None], cols[None, :]
    return {
        "xc": (("y", "x"), t.c + t.a * cols + t.b * rows),
        "yc": (("y", "x"), t.f + t.d * cols + t.e * rows),
    }


def _nodata(src: Any) -> Any | None:
    """Nodata as a scalar of the file's dtype; None where there is none or the dtype cannot hold it."""
    value = src.nodatavals[0]
    dtype = np.dtype(src.dtypes[0])
    if value is None:
        return None
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            scalar = dtype.type(value)
        return scalar if np.isfinite(scalar) or not np.isfinite(value) else None
    limits = np.iinfo(dtype)
    if not np.isfinite(value) or value != int(value) or not limits.min <= value <= limits.max:
        return None
    return dtype.type(int(value))


def _attrs(src: Any) -> dict[str, Any]:
    """All that the file says of its values, in values that Zarr and netCDF can hold."""
    attrs: dict[str, Any] = {key: text for key, text in _lasting(src.tags()).items() if key not in RESERVED}
    nodata = _nodata(src)
    if nodata is not None:
        attrs["_FillValue"] = nodata
    for one, many, values, neutral in (
        ("scale_factor", "scales", src.scales, 1.0),
        ("add_offset", "offsets", src.offsets, 0.0),
    ):
        if len(set(values)) > 1:
            attrs[many] = tuple(map(float, values))
        elif values[0] != neutral:
            attrs[one] = float(values[0])
    if any(src.units):
        attrs["units"] = _one_or_all([unit or "" for unit in src.units])
    if any(src.descriptions):
        names = tuple(name or "" for name in src.descriptions)
        attrs["long_name"] = names if src.count > 1 else names[0]
    attrs["color_interp"] = tuple(kind.name for kind in src.colorinterp)
    attrs.update(_nested(src))
    return attrs


def _nested(src: Any) -> dict[str, str]:
    """Tags of bands and of other namespaces, and colour tables, as JSON; only where there are any."""
    bands = range(1, src.count + 1)
    band_tags = {str(band): tags for band in bands if (tags := _lasting(src.tags(band)))}
    spaces = {ns: src.tags(ns=ns) for ns in src.tag_namespaces() if not ns.startswith(_OWN_NAMESPACES)}
    tables = {
        str(band): src.colormap(band)
        for band, kind in zip(bands, src.colorinterp, strict=True)
        if kind.name == "palette"
    }
    nested = {"band_tags": band_tags, "tag_namespaces": spaces, "color_table": tables}
    return {key: json.dumps(value) for key, value in nested.items() if value}


def _lasting(tags: dict[str, str]) -> dict[str, str]:
    """Tags without statistics of the pixels, which would be stale once the pixels change."""
    return {key: text for key, text in tags.items() if not key.startswith("STATISTICS_")}


def _one_or_all(values: list[str]) -> Any:
    """One value where all bands agree, else all of them."""
    return values[0] if len(set(values)) == 1 else tuple(values)


def _lazy(src: Any, *, mask: bool) -> Any:
    """The pixels, or the mask, as a dask array."""
    import dask.array

    stat = Path(src.name).stat()
    bands, rows, cols = _chunks(src)
    dtype = np.dtype(bool) if mask else np.dtype(src.dtypes[0])
    shape = (src.height, src.width) if mask else (src.count, src.height, src.width)
    pixels = _Pixels(Path(src.name), shape, dtype)
    return dask.array.from_array(
        pixels,
        chunks=(rows, cols) if mask else (bands, rows, cols),
        name=f"geotiff-{dask.base.tokenize(src.name, stat.st_mtime_ns, stat.st_size, mask)}",
        fancy=False,
        meta=np.empty((0,) * len(shape), dtype),
    )


def _chunks(src: Any) -> tuple[int, int, int]:
    """Whole blocks of the file, near the wanted number of bytes and as square as may be."""
    block_rows, block_cols = src.block_shapes[0]
    pixels = max(_CHUNK_BYTES // np.dtype(src.dtypes[0]).itemsize // src.count, 256**2)
    cols = _multiple(block_cols, min(src.width, round(pixels**0.5)), src.width)
    rows = _multiple(block_rows, min(src.height, max(1, pixels // cols)), src.height)
    return src.count, rows, cols


def _multiple(block: int, wanted: int, size: int) -> int:
    """The multiple of `block` nearest below `wanted`; a far larger block is split, a small image is not."""
    if wanted == size or block > 8 * wanted:
        return wanted
    return min(size, max(1, wanted // block) * block)


@dataclass(frozen=True)
class _Pixels:
    """Pixels of a file, read when indexed; two dimensions mean the mask."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        from rasterio.windows import Window

        index = index if isinstance(index, tuple) else (index,)
        index = index + (slice(None),) * (self.ndim - len(index))
        spans = [_span(part, size) for part, size in zip(index, self.shape, strict=True)]
        if any(high <= low for low, high, _ in spans):
            values = np.empty([high - low for low, high, _ in spans], self.dtype)
            return values[tuple(rest for *_, rest in spans)]
        (top, bottom, _), (left, right, _) = spans[-2:]
        window = Window(left, top, right - left, bottom - top)
        with open_raster(self.path) as src:
            if self.ndim == 2:
                values = src.read_masks(1, window=window) != 0
            else:
                values = src.read(list(range(spans[0][0] + 1, spans[0][1] + 1)), window=window)
        return np.asarray(values[tuple(rest for *_, rest in spans)])


def _span(part: Any, size: int) -> tuple[int, int, Any]:
    """First and last + 1 position that an index touches, and the index within that span."""
    if isinstance(part, slice):
        picks = range(size)[part]
        if not picks:
            return 0, 0, slice(None)
        return min(picks[0], picks[-1]), max(picks[0], picks[-1]) + 1, slice(None, None, picks.step)
    place = range(size)[int(part)]
    return place, place + 1, 0
