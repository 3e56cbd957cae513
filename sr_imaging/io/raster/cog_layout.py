"""The layout of a Cloud Optimized GeoTIFF, made in place: no second file is needed meanwhile.

Such a file says first where everything lies, and its smaller overviews come before the larger ones, which are
only known at the end. So an outline with room for the places of all blocks is written first, the pixels are
streamed behind it, and the finished parts change places within the file.
"""

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from sr_imaging.errors import WriteError

__all__ = ["COG_TILE", "Table", "order_blocks", "overview_factors", "read_tables", "state_layout"]

COG_TILE = 512  # pixels: GDAL's default; an image that is no larger needs no overview
_PIECE = 4 * 2**20  # bytes moved at once
_KIND, _WIDTH, _HEIGHT, _OFFSETS, _SIZES = 254, 256, 257, 324, 325  # tags of TIFF 6.0
_TAGS = (_KIND, _WIDTH, _HEIGHT, _OFFSETS, _SIZES)
_MASK = 4  # bit of the kind
_TYPES = {3: "u2", 4: "u4", 16: "u8"}
_GHOST = b"GDAL_STRUCTURAL_METADATA_SIZE="
_STATED = b"LAYOUT=IFDS_BEFORE_DATA\nKNOWN_INCOMPATIBLE_EDITION=NO\n "  # by GDAL's page on the COG driver


def overview_factors(height: int, width: int) -> list[int]:
    """Return the factors of overviews until one fits a tile.

    >>> overview_factors(700, 1300)
    [2, 4]
    """
    factors: list[int] = []
    while max(height, width) / 2 ** len(factors) > COG_TILE:
        factors.append(2 ** (len(factors) + 1))
    return factors


def state_layout(path: Path) -> None:
    """Let GDAL's note claim no more than will hold: blocks come in any order, without leaders."""
    with path.open("r+b") as file:
        head = file.read(256)
        at = head.find(_GHOST)
        if at < 0:
            return
        size = int(head[at + len(_GHOST) :].split(b" ")[0])
        file.seek(head.index(b"\n", at) + 1)
        file.write(_STATED.ljust(size))


def order_blocks(path: Path) -> None:
    """Put the blocks of all overviews before those of the image, the smallest first, in place.

    The directories of a tiled TIFF must stand before all blocks, or a WriteError is raised.
    """
    with path.open("r+b") as file:
        tables = read_tables(file)
        shapes = sorted({table.shape for table in tables}, reverse=True)
        places = np.concatenate([table.offsets for table in tables]).astype(np.int64)
        levels = np.concatenate([np.full(len(t.offsets), shapes.index(t.shape)) for t in tables])
        stored = places > 0
        if not stored.any():
            return
        if max(table.end for table in tables) > places[stored].min():
            raise WriteError(f"{path} came out with a directory behind its pixels; write it as geotiff")
        size = file.seek(0, 2)
        runs = _find_runs(places[stored], levels[stored], size)
        _move_runs(file, runs, places)
        ends = np.cumsum([len(table.offsets) for table in tables])[:-1]
        for table, own in zip(tables, np.split(places, ends), strict=True):
            file.seek(table.offsets_at)
            file.write(own.astype(table.offsets.dtype).tobytes())


def _move_runs(file: BinaryIO, runs: list[tuple[int, int, int]], places: np.ndarray) -> None:
    """Move the runs of the largest level behind all others, then those of the next; update the places."""
    while runs:
        largest = min(level for level, _, _ in runs)
        last = max(k for k, run in enumerate(runs) if run[0] == largest)
        _, start, stop = runs.pop(last)
        end = runs[-1][2] if last < len(runs) else stop
        _swap_neighbours(file, start, stop, end)
        length = stop - start
        inside, behind = (places >= start) & (places < stop), (places >= stop) & (places < end)
        places[inside] += end - stop
        places[behind] -= length
        runs[last:] = [(level, a - length, b - length) for level, a, b in runs[last:]]


@dataclass(frozen=True)
class Table:
    """Where the blocks of one directory lie."""

    shape: tuple[int, int]  # rows and columns of the image
    is_mask: bool  # of an image of this shape
    offsets: np.ndarray  # (n,) first byte of each block in C order, in the type of the file; 0: none stored
    sizes: np.ndarray  # (n,) bytes of each block
    offsets_at: int  # byte where the table of offsets itself starts
    sizes_at: int
    end: int  # of the directory and its tables


def read_tables(file: BinaryIO) -> list[Table]:
    """Return the directories of a tiled TIFF or BigTIFF in their order."""
    head = file.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = struct.unpack(f"{order}H", head[2:4])[0] == 43
    word, entry = ("Q", 20) if big else ("I", 12)
    (at,) = struct.unpack(f"{order}{word}", head[8:16] if big else head[4:8])
    found = []
    while at:
        file.seek(at)
        (count,) = struct.unpack(f"{order}{'Q' if big else 'H'}", file.read(8 if big else 2))
        first = file.tell()
        body = file.read(count * entry)
        (following,) = struct.unpack(f"{order}{word}", file.read(struct.calcsize(word)))
        arrays = {
            tag: _read_tag(file, body[k : k + entry], first + k, order, word)
            for k in range(0, len(body), entry)
            if (tag := struct.unpack(f"{order}H", body[k : k + 2])[0]) in _TAGS
        }
        ends = [first + len(body) + struct.calcsize(word), *(at + a.nbytes for at, a in arrays.values())]
        kind = int(arrays[_KIND][1][0]) if _KIND in arrays else 0
        (offsets_at, offsets), (sizes_at, sizes) = arrays[_OFFSETS], arrays[_SIZES]
        shape = int(arrays[_HEIGHT][1][0]), int(arrays[_WIDTH][1][0])
        found.append(Table(shape, bool(kind & _MASK), offsets, sizes, offsets_at, sizes_at, max(ends)))
        at = following
    return found


def _read_tag(file: BinaryIO, entry: bytes, at: int, order: str, word: str) -> tuple[int, np.ndarray]:
    """Return first byte and values of a whole-number tag, which stand in the entry itself where they fit."""
    kind, count = struct.unpack(f"{order}H{word}", entry[2 : 4 + struct.calcsize(word)])
    dtype = np.dtype(f"{order}{_TYPES[kind]}")
    inline = len(entry) - struct.calcsize(word)
    if count * dtype.itemsize <= struct.calcsize(word):
        place, data = at + inline, entry[inline:]
    else:
        (place,) = struct.unpack(f"{order}{word}", entry[inline:])
        file.seek(place)
        data = file.read(count * dtype.itemsize)
    return place, np.frombuffer(data, dtype, count)


def _find_runs(places: np.ndarray, levels: np.ndarray, size: int) -> list[tuple[int, int, int]]:
    """Return level, first byte and end of each run of blocks of one level."""
    order = np.argsort(places)
    places, levels = places[order], levels[order]
    firsts = np.flatnonzero(np.diff(levels, prepend=-1))
    starts = [int(places[k]) for k in firsts]
    return list(zip([int(levels[k]) for k in firsts], starts, [*starts[1:], size], strict=True))


def _swap_neighbours(file: Any, start: int, middle: int, end: int) -> None:
    """Exchange two neighbouring parts of a file, of any lengths, in place.

    By D. Gries and H. Mills, "Swapping Sections", Cornell University TR 81-452, 1981.
    """
    while start < middle < end:
        left, right = middle - start, end - middle
        if left <= right:
            _exchange_stretches(file, start, end - left, left)
            end -= left
        else:
            _exchange_stretches(file, start, middle, right)
            start += right


def _exchange_stretches(file: BinaryIO, one: int, other: int, length: int) -> None:
    """Exchange two stretches of a file that have the same length."""
    for done in range(0, length, _PIECE):
        size = min(_PIECE, length - done)
        pieces = []
        for at in (one, other):
            file.seek(at + done)
            pieces.append(file.read(size))
        for at, piece in zip((other, one), pieces, strict=True):
            file.seek(at + done)
            file.write(piece)
