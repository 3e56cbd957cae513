"""Tiles as plain arithmetic: which pixels a tile makes, and which it must see for that."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from math import ceil

__all__ = ["Tile", "Window", "halve", "split", "window_of"]


@dataclass(frozen=True)
class Tile:
    """The LR pixels ``start … stop`` of each axis that one pass of the network super-resolves."""

    start: tuple[int, ...]
    stop: tuple[int, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """LR pixels of each axis."""
        return tuple(b - a for a, b in zip(self.start, self.stop, strict=True))

    def fine(self, scale: Sequence[int], origin: Sequence[int]) -> tuple[slice, ...]:
        """Slices of the result that begins at the LR pixel `origin`."""
        return tuple(
            slice((a - o) * s, (b - o) * s)
            for a, b, s, o in zip(self.start, self.stop, scale, origin, strict=True)
        )


@dataclass(frozen=True)
class Window:
    """The pixels of the array that a tile sees, and how many are missing beyond the array's border."""

    slices: tuple[slice, ...]
    missing: tuple[tuple[int, int], ...]


def split(start: Sequence[int], stop: Sequence[int], size: Sequence[int]) -> Iterator[Tile]:
    """Cut the box ``start … stop`` into tiles of nearly equal length, at most `size`, in C order."""
    cuts = []
    for a, b, s in zip(start, stop, size, strict=True):
        count = max(1, ceil((b - a) / s))
        at = [a + (b - a) * k // count for k in range(count + 1)]
        cuts.append(list(pairwise(at)))
    for box in product(*cuts):
        yield Tile(tuple(a for a, _ in box), tuple(b for _, b in box))


def halve(tile: Tile) -> list[Tile]:
    """Cut a tile in two across its longest axis; a tile of one pixel stays."""
    size = max(tile.shape)
    if size < 2:
        return [tile]
    half = [ceil(n / 2) if n == size else n for n in tile.shape]
    return list(split(tile.start, tile.stop, half))


def window_of(tile: Tile, shape: Sequence[int], context: Sequence[int]) -> Window:
    """Return the part of an array of `shape` that lies within `context` pixels of a tile."""
    low = [a - c for a, c in zip(tile.start, context, strict=True)]
    high = [b + c for b, c in zip(tile.stop, context, strict=True)]
    slices = tuple(slice(max(a, 0), min(b, n)) for a, b, n in zip(low, high, shape, strict=True))
    missing = tuple((max(-a, 0), max(b - n, 0)) for a, b, n in zip(low, high, shape, strict=True))
    return Window(slices, missing)
