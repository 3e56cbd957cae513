"""Pixels of a GeoTIFF, read window by window when they are asked for.

The file is opened anew for each window, so that the array can be pickled, read from many threads, and keeps
no file open.
"""

import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sr_imaging.errors import ReadError
from sr_imaging.io.addresses import address_of, server_options

__all__ = ["block_extents", "deepest_message", "explain_cut", "lazy_pixels", "open_raster", "small_cache"]

_CHUNK_BYTES = (8 * 2**20, 32 * 2**20)  # of one dask chunk, least and most: small beside a network's memory
_CHUNKS = 20_000  # of an image, above which they grow
_TILE = 256  # pixels: of the tiles that results are written in
_GDAL_CACHE_MB = 64
_CHECKED_BLOCKS = 20_000  # blocks whose extent is compared to the file's size, about 50 ms

_warnings_lock = threading.Lock()  # warnings.catch_warnings is not thread-safe


@contextmanager
def open_raster(path: Path, *, driver: str | None = "GTiff") -> Iterator[Any]:
    """Open a raster with rasterio, quiet about missing georeference; library errors become ReadError.

    Without a driver any of GDAL's may open it, a URL or a ``/vsi`` path as well as a file.
    """
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError

    address = address_of(path)
    if address is None:
        remedy, options = "the file is damaged or cut short, fetch it again", {}
    else:
        remedy, options = "check the address and the network, or fetch the file first", server_options()
    try:
        with rasterio.Env(**small_cache(), **options):
            with _warnings_lock, warnings.catch_warnings():
                warnings.simplefilter("ignore", NotGeoreferencedWarning)
                dataset = rasterio.open(Path(path) if address is None else address, driver=driver)
            with dataset:
                yield dataset
    except (RasterioError, rasterio._err.CPLE_BaseError) as error:
        raise ReadError(f"cannot read {address or path}: {deepest_message(error)}; {remedy}") from error


def small_cache() -> dict[str, int]:
    """Return GDAL's option for a small block cache: 5 % of memory by default, of no use to one window."""
    return {} if "GDAL_CACHEMAX" in os.environ else {"GDAL_CACHEMAX": _GDAL_CACHE_MB}


def deepest_message(error: BaseException) -> str:
    """Return the deepest message of a chain of errors, in one line: GDAL's own words."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()).rstrip(".")


def explain_cut(src: Any) -> str:
    """Return why a file is too short for the places of its blocks, of all or of many; else an empty text."""
    if src.driver != "GTiff" or not Path(src.name).is_file():
        return ""
    size = Path(src.name).stat().st_size
    for name, start, length in block_extents(src, most=_CHECKED_BLOCKS):
        if start + length > size:
            return (
                f"{src.name} is cut short: {name} ends at byte {start + length}, the file has {size}; "
                "fetch it again"
            )
    return ""


def block_extents(src: Any, *, most: int | None = None) -> Iterator[tuple[str, int, int]]:
    """Yield name, first byte and length of all blocks, or of `most` spread evenly; 0, 0 if not stored."""
    height, width = src.block_shapes[0]
    rows, cols = -(-src.height // height), -(-src.width // width)
    bands = 1 if src.interleaving and src.interleaving.name == "pixel" else src.count
    total = rows * cols * bands
    count = total if most is None else min(total, most)
    for number in range(count):
        band, place = divmod(number * (total - 1) // max(1, count - 1), rows * cols)
        row, col = divmod(place, cols)
        start, length = (
            int(src.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=band + 1) or 0)
            for what in ("OFFSET", "SIZE")
        )
        yield f"block {row}, {col} of band {band + 1}", start, length


def lazy_pixels(src: Any, path: Path, *, mask: bool) -> Any:
    """Return the pixels, or the mask, of an open file as a dask array that opens it anew."""
    import dask.array

    stat = path.stat() if path.exists() else None
    version = None if stat is None else (stat.st_mtime_ns, stat.st_size)
    bands, rows, cols = _choose_chunks(src)
    dtype = np.dtype(bool) if mask else np.dtype(src.dtypes[0])
    shape = (src.height, src.width) if mask else (src.count, src.height, src.width)
    place = path if address_of(path) else path.absolute()  # workers may stand in other folders
    pixels = _Pixels(place, src.driver, shape, dtype)
    return dask.array.from_array(
        pixels,
        chunks=(rows, cols) if mask else (bands, rows, cols),
        name=f"geotiff-{dask.base.tokenize(str(path), version, mask)}",
        fancy=False,
        meta=np.empty((0,) * len(shape), dtype),
    )


def _choose_chunks(src: Any) -> tuple[int, int, int]:
    """Return whole blocks of the file, near the wanted number of bytes and as square as may be."""
    block_rows, block_cols = src.block_shapes[0]
    itemsize = np.dtype(src.dtypes[0]).itemsize
    wanted = int(np.clip(src.width * src.height * src.count * itemsize // _CHUNKS, *_CHUNK_BYTES))
    pixels = max(wanted // itemsize // src.count, 256**2)
    cols = _round_to_blocks(block_cols, min(src.width, round(pixels**0.5)), src.width)
    rows = _round_to_blocks(block_rows, min(src.height, max(1, pixels // cols)), src.height)
    return src.count, rows, cols


def _round_to_blocks(block: int, wanted: int, size: int) -> int:
    """Return the multiple of `block` just below `wanted`; a far larger block is split, a small image is not.

    Narrow strips, and parts of a larger block, are taken in multiples of a tile, so that the chunks of a
    result of any whole factor end where its tiles end; a chunk may then read a strip of its neighbour again.
    """
    if wanted == size:
        return wanted
    if (block < _TILE // 4 or _TILE % block == 0 or block > 8 * wanted) and wanted >= _TILE:
        return wanted // _TILE * _TILE
    return wanted if block > 8 * wanted else min(size, max(1, wanted // block) * block)


@dataclass(frozen=True)
class _Pixels:
    """Pixels of a file, read when indexed; two dimensions mean the mask."""

    path: Path
    driver: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def __getitem__(self, index: Any) -> np.ndarray:
        from rasterio.windows import Window

        index = index if isinstance(index, tuple) else (index,)
        index = index + (slice(None),) * (self.ndim - len(index))
        spans = [_find_span(part, size) for part, size in zip(index, self.shape, strict=True)]
        if any(high <= low for low, high, _ in spans):
            values = np.empty([high - low for low, high, _ in spans], self.dtype)
            return np.asarray(values[tuple(rest for *_, rest in spans)])
        (top, bottom, _), (left, right, _) = spans[-2:]
        window = Window(left, top, right - left, bottom - top)
        with open_raster(self.path, driver=self.driver) as src:
            if self.ndim == 2:
                values = src.read_masks(1, window=window) != 0
            else:
                values = src.read(list(range(spans[0][0] + 1, spans[0][1] + 1)), window=window)
        picked: np.ndarray = np.asarray(values[tuple(rest for *_, rest in spans)])
        return picked


def _find_span(part: Any, size: int) -> tuple[int, int, Any]:
    """Return first and last + 1 position that an index touches, and the index within that span."""
    if isinstance(part, slice):
        picks = range(size)[part]
        if not picks:
            return 0, 0, slice(None)
        return min(picks[0], picks[-1]), max(picks[0], picks[-1]) + 1, slice(None, None, picks.step)
    place = range(size)[int(part)]
    return place, place + 1, 0
