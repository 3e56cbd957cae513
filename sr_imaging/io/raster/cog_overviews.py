"""Overviews of a GeoTIFF that has room for them: each made of the next finer one, a block at a time.

GDAL's own function stores most blocks of interleaved bands more than once, and leaves the room of all but the
last of them unused: a tenth of the file and more.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xarray as xr

from sr_imaging.image.stored_numbers import band_entries

from .cog_layout import Table, read_tables

__all__ = ["halve", "write_overviews"]


def write_overviews(da: xr.DataArray, path: Path, *, classes: bool) -> None:
    """Make the overviews of a finished image and store them behind it, where they have directories already.

    Classes, and pixels beside a mask, are not averaged; pixels that an alpha band hides are left out of an
    average. Only the attrs of `da` are looked at; `classes` says that all its bands hold classes.
    """
    import rasterio

    picked, alpha = _choose_bands(da, classes=classes)
    with path.open("rb") as file:
        tables = read_tables(file)
    shapes = sorted({table.shape for table in tables}, reverse=True)
    for level, shape in enumerate(shapes[1:]):
        finer: dict[str, Any] = {} if level == 0 else {"overview_level": level - 1}
        with rasterio.open(path, **finer) as src, path.open("r+b") as file:
            for table in (table for table in tables if table.shape == shape):
                _append_blocks(file, table, _encode_blocks(src, table, picked, alpha))


def _choose_bands(da: xr.DataArray, *, classes: bool) -> tuple[list[int], list[int]]:
    """Return the places of bands that are not averaged, and of those whose zeros hide pixels."""
    kinds, names = (
        band_entries(da.attrs.get(key, ()), da, da.dims[0]) or [""] * da.shape[0]
        for key in ("color_interp", "band_classes")
    )
    nearest = classes or "palette" in kinds or "mask" in da.coords
    picked = [k for k, name in enumerate(names) if nearest or name]
    return picked, [k for k, kind in enumerate(kinds) if kind == "alpha"]


def _encode_blocks(src: Any, table: Table, picked: list[int], alpha: list[int]) -> Iterator[bytes]:
    """Yield the blocks of an overview, or of its mask, encoded as in the file."""
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
                coarse = halve(fine, src.nodata, alpha=alpha)
                coarse[picked] = fine[picked, ::2, ::2]
            yield _encode_block(coarse, src, is_mask=table.is_mask)


def halve(block: np.ndarray, nodata: float | None, *, alpha: Sequence[int] = ()) -> np.ndarray:
    """Return the (band, (y + 1) // 2, (x + 1) // 2) means of the valid and visible pixels of two by two.

    No mean becomes `nodata`; NaN is invalid in any case. Pixels where a band of `alpha` is zero are hidden,
    in these bands too, as in GDAL's averages. Whole numbers are rounded.

    >>> halve(np.array([[[1, 3, 0], [2, 0, 7]]], np.uint8), 0)
    array([[[2, 7]]], dtype=uint8)
    """
    valid = ~np.isnan(block) if block.dtype.kind == "f" else np.ones(block.shape, bool)
    if nodata is not None and not np.isnan(nodata):
        valid &= block != nodata
    if alpha:
        valid &= (block[list(alpha)] != 0).all(0)
    count = _sum_quads(valid)
    total = _sum_quads(np.where(valid, block, block.dtype.type(0)).astype(np.float64))
    with np.errstate(invalid="ignore"):
        mean = total / count
    if block.dtype.kind != "f":
        mean = np.rint(np.where(count, mean, 0))
    means = mean.astype(block.dtype)
    if nodata is None:
        return np.asarray(means)
    means = np.where(means == nodata, _step_from(block.dtype.type(nodata)), means)
    return np.asarray(np.where(count, means, block.dtype.type(nodata)))


def _step_from(number: Any) -> Any:
    """Return a neighbour of a number of its type, towards 0, or 1 for a whole 0."""
    if number.dtype.kind == "f":
        return np.nextafter(number, number.dtype.type(0 if number else 1))
    return number - number.dtype.type(1) if number > 0 else number + number.dtype.type(1)


def _sum_quads(values: np.ndarray) -> np.ndarray:
    """Return sums of two by two pixels, with zeros beyond the last row and column."""
    _, rows, cols = values.shape
    even = np.pad(values.astype(np.float64), ((0, 0), (0, rows % 2), (0, cols % 2)))
    return np.asarray(even[:, ::2, ::2] + even[:, 1::2, ::2] + even[:, ::2, 1::2] + even[:, 1::2, 1::2])


def _encode_block(block: np.ndarray, src: Any, *, is_mask: bool) -> bytes:
    """Return one block as GDAL stores it: a file of one block is made in memory."""
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


def _append_blocks(file: BinaryIO, table: Table, blocks: Iterator[bytes]) -> None:
    """Append the blocks of one directory to the file, and state there where they lie."""
    offsets, sizes = table.offsets.copy(), table.sizes.copy()
    at = file.seek(0, 2)
    for number, block in enumerate(blocks):
        file.write(block)
        offsets[number], sizes[number] = at, len(block)
        at += len(block)
    for place, array in ((table.offsets_at, offsets), (table.sizes_at, sizes)):
        file.seek(place)
        file.write(array.tobytes())
