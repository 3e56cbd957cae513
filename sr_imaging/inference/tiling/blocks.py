"""One super-resolution of an array: at once for numpy, block by block and lazily for dask."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import accumulate, product
from math import ceil, prod
from typing import Any

import dask.array
import numpy as np
from dask.base import tokenize

from sr_imaging.image.pixels.values import Values
from sr_imaging.inference.trained_range import TrainedValues

from .cluster import current_client
from .companions import Block, Guide, context_of
from .delivery import Delivery, as_node
from .engine import Engine
from .progress import steps_of
from .tiler import run

__all__ = ["Job", "compute"]


@dataclass(frozen=True)
class Job:
    """What is done to every block of an array."""

    engine: Engine
    delivery: Delivery  # the same engine where blocks are computed, which may be elsewhere
    values: Values  # how the pixels are stored
    spatial: tuple[int, ...]  # axes of the array that the generator works on, in its order
    channel: int | None  # axis of the bands that it takes together
    seed: int = 0  # of the noise that it takes, if any
    guide: Guide | None = None
    trained: TrainedValues | None = None

    @property
    def depth(self) -> dict[int, int]:
        """Context along each spatial axis in LR pixels: the halo, and what fills its invalid pixels."""
        hidden = None if self.guide is None else self.guide.values
        context = context_of(self.engine.generator, self.values, hidden)
        return dict(zip(self.spatial, context, strict=True))

    @property
    def scale(self) -> dict[int, int]:
        """Factor of each spatial axis."""
        return {a: int(s) for a, s in zip(self.spatial, self.engine.generator.scale, strict=True)}


def compute(data: Any, job: Job, progress: Callable[[int, int], None] | None = None) -> Any:
    """Return an array of stored values super-resolved; nothing of a dask array is computed yet.

    `progress` is called as ``progress(done, total)`` after each tile.
    """
    if job.guide is not None and job.channel is None:  # the bands of the guide need an axis
        return compute(data[..., None], replace(job, channel=data.ndim), progress)[..., 0]
    if isinstance(data, dask.array.Array):
        return _compute_lazily(data, job, progress)
    step = steps_of(progress, _count_tiles([(n,) for n in data.shape], job))
    guide = None if job.guide is None else replace(job.guide, data=np.asarray(job.guide.data))
    return run(
        data,
        job.engine,
        job.values,
        spatial=job.spatial,
        channel=job.channel,
        block=Block(job.seed, guide=guide),
        trained=job.trained,
        progress=step,
    )


def _compute_lazily(data: Any, job: Job, progress: Callable[[int, int], None] | None) -> Any:
    """Return a lazy array whose blocks are tiled with their neighbours' context."""
    whole = [a for a in job.spatial if job.engine.needs_whole or data.shape[a] <= job.depth[a]]
    whole += [] if job.channel is None else [job.channel]
    thin = [a for a in job.spatial if a not in whole and min(data.chunks[a]) < job.depth[a]]
    data = data.rechunk(
        dict.fromkeys(whole, -1) | {a: _length_of_chunks(data.chunks[a], job.depth[a]) for a in thin}
    )
    depth = {a: d for a, d in job.depth.items() if len(data.chunks[a]) > 1}
    overlap: Any = dask.array.overlap.overlap
    seen = overlap(data, depth, boundary="none", allow_rechunk=True)
    cores = [_trim_context(c, depth.get(a, 0)) for a, c in enumerate(seen.chunks)]
    chunks = [tuple(n * job.scale.get(a, 1) for n in c) for a, c in enumerate(cores)]
    client = current_client()  # its workers cut their own tiles, so that blocks are counted
    total = _count_tiles(cores, job) if client is None else prod(map(len, cores))
    step = steps_of(progress, total, client)
    guide = [] if job.guide is None else [_guide_blocks(job.guide.data, data.chunks, job, depth)]
    token = tokenize(
        data.name,
        job.delivery.token,
        job.values,
        job.spatial,
        job.channel,
        job.seed,
        job.trained,
        [g.name for g in guide],
    )
    block = partial(
        _compute_block,
        values=job.values,
        spatial=job.spatial,
        channel=job.channel,
        depth=depth,
        starts=[tuple(accumulate(c, initial=0)) for c in cores],
        seed=job.seed,
        guide_values=None if job.guide is None else job.guide.values,
        trained=job.trained,
        step=step,
        tilewise=client is None,
    )
    return seen.map_blocks(
        block,
        *guide,
        delivery=as_node(job.delivery),
        name=f"upscale-{token}",
        dtype=job.values.out_dtype,
        chunks=chunks,
        meta=np.empty((0,) * data.ndim, job.values.out_dtype),
    )


def _guide_blocks(guide: Any, chunks: Sequence[Sequence[int]], job: Job, depth: dict[int, int]) -> Any:
    """Return a guide cut as the image is, with the same context."""
    fine = {a: tuple(n * job.scale.get(a, 1) for n in c) for a, c in enumerate(chunks) if a != job.channel}
    lazy: Any = dask.array.asarray(guide)
    overlap: Any = dask.array.overlap.overlap
    return overlap(
        lazy.rechunk(fine | {job.channel: -1}),
        {a: d * job.scale[a] for a, d in depth.items()},
        boundary="none",
        allow_rechunk=False,
    )


def _length_of_chunks(chunks: Sequence[int], depth: int) -> int:
    """Return the length of even chunks of at least `depth`, the last too: Zarr takes no larger last chunk."""
    size, length = max(*chunks, depth), sum(chunks)
    while 0 < length % size < depth:
        size += 1
    return min(size, length)


def _trim_context(chunks: Sequence[int], depth: int) -> tuple[int, ...]:
    """Return the lengths of overlapping chunks without what they share; the outer sides share nothing."""
    last = len(chunks) - 1
    return tuple(n - depth * (k > 0) - depth * (k < last) for k, n in enumerate(chunks))


def _compute_block(
    block: np.ndarray,
    *guide: np.ndarray,
    delivery: Delivery,
    values: Values,
    spatial: tuple[int, ...],
    channel: int | None,
    depth: dict[int, int],
    starts: Sequence[Sequence[int]],
    seed: int,
    guide_values: Values | None,
    trained: TrainedValues | None,
    step: Callable[[], None] | None,
    tilewise: bool,
    block_info: Any = None,
) -> np.ndarray:
    """Return one block super-resolved; at the border of the array it has no context on that side."""
    place, count = block_info[0]["chunk-location"], block_info[0]["num-chunks"]
    context = [
        (depth.get(a, 0) * (place[a] > 0), depth.get(a, 0) * (place[a] < count[a] - 1)) for a in spatial
    ]
    before = {a: low for a, (low, _) in zip(spatial, context, strict=True)}
    place_of_block = Block(
        seed=seed,
        start=tuple(s[place[a]] - before.get(a, 0) for a, s in enumerate(starts)),
        shape=tuple(s[-1] for s in starts),
        guide=Guide(guide[0], guide_values) if guide_values is not None else None,
    )
    made = run(
        block,
        delivery.engine,
        values,
        spatial=spatial,
        channel=channel,
        context=context,
        block=place_of_block,
        trained=trained,
        progress=step if tilewise else None,
    )
    if step is not None and not tilewise:
        step()
    return made


def _count_tiles(chunks: Sequence[Sequence[int]], job: Job) -> int:
    """Return the number of tiles that an array of these chunks takes."""
    images = [
        prod(block)
        for block in product(*(c for a, c in enumerate(chunks) if a != job.channel and a not in job.spatial))
    ]
    total = 0
    for shape in product(*(chunks[axis] for axis in job.spatial)):
        tiles = prod(ceil(n / size) for n, size in zip(shape, job.engine.tile, strict=True))
        together = job.engine.images_in_pass(shape)
        total += tiles * sum(ceil(n / together) for n in images)
    return total
