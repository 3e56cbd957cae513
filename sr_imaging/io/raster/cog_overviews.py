"""Overviews of a GeoTIFF that has room for them: each made of the next finer one, a block at a time.

GDAL's own function stores most blocks of interleaved bands more than once, and leaves the room of all but the
last of them unused: a tenth of the file and more.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xarray as xr

from sr_imaging.image.stored_numbers import band_entries

from .cog_layout import Table, tables_of

__all__ = ["halved", "write_overviews"]


@dataclass(frozen=True)
class _Bands:
    """What the bands of an image ask of its overviews."""

    picked: tuple[int, ...]  # places of bands that are not averaged: of classes, or of all beside a mask
    alpha: tuple[int, ...]  # places of bands whose zeros hide pixels

    @classmethod
    def of(cls, da: xr.DataArray, *, classes: bool) -> "_Bands":
        """Read it from the attrs of ``(band, y, x)``."""
        kinds, names = (
            band_entries(da.attrs.get(key, ()), da, da.dims[0]) or [""] * da.shape[0]
            for key in ("color_interp", "band_classes")
        )
        nearest = classes or "palette" in kinds or "mask" in da.coords
        picked = tuple(k for k, name in enumerate(names) if nearest or name)
        return cls(picked, tuple(k for k, kind in enumerate(kinds) if kind == "alpha"))


def write_overviews(da: xr.DataArray, path: Path, *, classes: bool) -> None:
    """Make the overviews of a finished image and store them behind it.

    Parameters
    ----------
    da : (band, y, x) DataArray
        What was written; its values are not looked at. Classes, and pixels beside a mask, are not averaged;
        pixels that an alpha band hides are no part of an average.
    path : Path
        A tiled GeoTIFF whose overviews have directories, and no blocks yet.
    classes : bool
        All bands hold classes.
    """
    import rasterio

    bands = _Bands.of(da, classes=classes)
    with path.open("rb") as file:
        tables = tables_of(file)
    shapes = sorted({table.shape for table in tables}, reverse=True)
    for level, shape in enumerate(shapes[1:]):
        finer: dict[str, Any] = {} if level == 0 else {"overview_level": level - 1}
        with rasterio.open(path, **finer) as src, path.open("r+b") as file:
            for table in (table for table in tables if table.shape == shape):
                _store(file, table, _blocks(src, table, bands))


def _blocks(src: Any, table: Table, bands: _Bands) -> Iterator[bytes]:
    """The blocks of an overview, or of its mask, encoded as in the file."""
    side = src.block_shapes[0][0]
    for top in range(0, table.shape[0], side):
        for left in range(0, table.shape[1], side):
            window = (
                (2 * top, min(2 * (top + side), src.height)),
                (2 * left, min(2 * (left + side), src.width)),
            )
            if table.is_mask:
                coarse = (src.read_masks(1, window=window)[None, ::2, ::2] > 0).astype(np.uint8)
            else:
                fine = src.read(window=window)
                picked = list(bands.picked)
                coarse = halved(fine, src.nodata, alpha=bands.alpha)
                coarse[picked] = fine[picked, ::2, ::2]
            yield _encoded(coarse, src, is_mask=table.is_mask)


def halved(block: np.ndarray, nodata: float | None, *, alpha: Sequence[int] = ()) -> np.ndarray:
    """Return the means of squares of two by two pixels, of the valid and visible ones among them.

    Parameters
    ----------
    block : (band, y, x) ndarray
        Values; a last odd row or column makes means of fewer pixels.
    nodata : float, optional
        Value of invalid pixels, which no mean becomes; NaN is one in any case.
    alpha : sequence of int
        Bands whose zeros hide pixels, of these bands too, as in GDAL's averages.

    Returns
    -------
    (band, (y + 1) // 2, (x + 1) // 2) ndarray
        Of the same dtype, whole numbers rounded.

    Examples
    --------
    >>> halved(np.array([[[1, 3, 0], [2, 0, 7]]], np.uint8), 0)
    array([[[2, 7]]], dtype=uint8)
    """
    valid = ~np.isnan(block) if block.dtype.kind == "f" else np.ones(block.shape, bool)
    if nodata is not None and not np.isnan(nodata):
        valid &= block != nodata
    if alpha:
        valid &= (block[list(alpha)] != 0).all(0)
    count, total = _sums(valid), _sums(np.where(valid, block, block.dtype.type(0)).astype(np.float64))
    with np.errstate(invalid="ignore"):
        mean = total / count
    if block.dtype.kind != "f":
        mean = np.rint(np.where(count, mean, 0))
    means = mean.astype(block.dtype)
    if nodata is None:
        return np.asarray(means)
    means = np.where(means == nodata, _beside(block.dtype.type(nodata)), means)
    return np.asarray(np.where(count, means, block.dtype.type(nodata)))


def _beside(number: Any) -> Any:
    """A neighbour of a number of its type, towards 0, or 1 of 0."""
    if number.dtype.kind == "f":
        return np.nextafter(number, number.dtype.type(0 if number else 1))
    return number - number.dtype.type(1) if number > 0 else number + number.dtype.type(1)


def _sums(values: np.ndarray) -> np.ndarray:
    """Sums of squares of two by two, zeros beyond the last row and column."""
    _, rows, cols = values.shape
    even = np.pad(values.astype(np.float64), ((0, 0), (0, rows % 2), (0, cols % 2)))
    return np.asarray(even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2])


def _encoded(block: np.ndarray, src: Any, *, is_mask: bool) -> bytes:
    """Bytes of one block as GDAL stores it: a file of one block is made in memory."""
    from rasterio.io import MemoryFile

    side = src.block_shapes[0][0]
    whole = np.zeros((len(block), side, side), block.dtype)
    whole[:, : block.shape[1], : block.shape[2]] = block
    stored = src.tags(ns="IMAGE_STRUCTURE")
    packing: dict[str, Any] = {"nbits": 1} if is_mask else {"predictor": stored.get("PREDICTOR", "1")}
    with MemoryFile(ext=".tif") as memory:
        with memory.open(
            driver="GTiff", width=side, height=side, count=len(block), dtype=block.dtype, tiled=True,
            blockxsize=side, blockysize=side, interleave="pixel", compress="deflate", **packing,
        ) as dst:  # fmt: skip
            dst.write(whole)
        with memory.open() as dst:
            at, size = (
                int(dst.get_tag_item(f"BLOCK_{what}_0_0", "TIFF", bidx=1)) for what in ("OFFSET", "SIZE")
            )
        return bytes(memory.getbuffer()[at : at + size])


def _store(file: BinaryIO, table: Table, blocks: Iterator[bytes]) -> None:
    """Append the blocks of one directory to the file, and say there where they lie."""
    offsets, sizes = table.offsets.copy(), table.sizes.copy()
    at = file.seek(0, 2)
    for number, block in enumerate(blocks):
        file.write(block)
        offsets[number], sizes[number] = at, len(block)
        at += len(block)
    for place, array in ((table.offsets_at, offsets), (table.sizes_at, sizes)):
        file.seek(place)
        file.write(array.tobytes())
