"""What a generator takes beside the image: noise by seed and place, a second image on the grid of the result.

Neither may depend on how an array is cut: a pixel has its noise wherever it is asked for, and an invalid
pixel of the guide is filled from pixels that every tile which sees it sees as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, prod
from typing import cast

import numpy as np

from sr_imaging.degradation.noise import normal_at
from sr_imaging.image.pixels.values import Values
from sr_imaging.inference.trained_range import TrainedValues
from sr_imaging.networks import Generator

__all__ = ["Block", "Companions", "Work", "context_of", "fine_reach"]


@dataclass(frozen=True)
class Work:
    """What is done to an array, the same for every part of it."""

    values: Values  # how the pixels are stored
    spatial: tuple[int, ...]  # axes of the array that the generator works on, in its order
    channel: int | None = None  # axis of the bands that it takes together; without one images go one by one
    seed: int = 0  # of the noise that it takes, if any
    guide_values: Values | None = None  # how the guide is stored, where it takes one
    trained: TrainedValues | None = None


@dataclass(frozen=True)
class Block:
    """Where a part of an array lies in the whole, and what of the guide it takes."""

    start: tuple[int, ...] | None = None  # index of its first pixel, by axis; it is the whole if None
    shape: tuple[int, ...] | None = None  # of the whole array
    guide: np.ndarray | None = None  # stored values; the bands of the image then have an axis


@dataclass(frozen=True)
class Companions:
    """The same for ``(N, C, *n)``, whatever axes the array had."""

    seed: int  # of the noise
    place: np.ndarray  # (N,) int: index of each image among all images of the whole array
    start: tuple[int, ...]  # index of the first pixel along each spatial axis of the whole array
    shape: tuple[int, ...]  # number of images of the whole array, and its length along each spatial axis
    guide: np.ndarray | None = None  # (N, G, *(n * scale)) stored values of the second image
    values: Values | None = None  # how they are stored

    @classmethod
    def of(cls, block: Block, work: Work, array: np.ndarray, front: Sequence[int]) -> "Companions":
        """Return what a block needs in the order ``(N, C, *n)`` of its `front`, channel and spatial axes."""
        shape = block.shape or array.shape
        start = block.start or (0,) * array.ndim
        lead = [array.shape[axis] for axis in front]
        many = prod(shape[axis] for axis in front)
        place = np.arange(many).reshape([shape[axis] for axis in front])
        place = place[tuple(slice(start[a], start[a] + n) for a, n in zip(front, lead, strict=True))].ravel()
        guide = None
        if block.guide is not None:
            fine = block.guide.transpose([*front, cast(int, work.channel), *work.spatial])
            guide = fine.reshape(prod(lead), *fine.shape[len(lead) :])
        start = tuple(start[axis] for axis in work.spatial)
        shape = (many, *(shape[axis] for axis in work.spatial))
        return cls(work.seed, place, start, shape, guide, work.guide_values)

    def noise(self, images: slice, pixels: Sequence[slice], bands: int) -> np.ndarray:
        """Return float32 noise ``(N, bands, *n)`` for some images and LR pixels of the block."""
        places = [np.arange(s.start + o, s.stop + o) for s, o in zip(pixels, self.start, strict=True)]
        index = [self.place[images], np.arange(bands), *places]
        return normal_at(index, (self.shape[0], bands, *self.shape[1:]), self.seed).astype(np.float32)


def context_of(generator: Generator, values: Values, guide: Values | None) -> tuple[int, ...]:
    """Return LR pixels beyond a tile that it looks at, along each axis: its halo, and what fills that.

    An invalid pixel within the halo of a valid one is filled from the nearest valid one, which lies no
    farther beyond. Nearest counts in king's moves on the image's own grid, that of the guide being finer.
    """
    halo = generator.halo or (0,) * generator.spatial_dims
    reach = max(halo) if values.may_be_invalid else 0
    beyond = [reach] * len(halo)
    if guide is not None and guide.may_be_invalid:
        beyond = [max(reach, ceil(fine_reach(generator) / s)) for s in generator.scale]
    return tuple(h + b for h, b in zip(halo, beyond, strict=True))


def fine_reach(generator: Generator) -> int:
    """Return the king's moves on the grid of the guide within which a pixel of a tile's halo is filled."""
    halo = generator.halo or (0,) * generator.spatial_dims
    return max((h + 1) * int(s) for h, s in zip(halo, generator.scale, strict=True))
