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

from sr_imaging.inference.options import Progress

from .cluster import current_client
from .companions import Block, Work, context_of
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
    work: Work
    # numpy or dask array of stored values, along the axes of the image, spatial ones refined; its bands lie
    # along the axis of the image's bands, or along one more at the end where these go one by one
    guide: Any = None

    @property
    def depth(self) -> dict[int, int]:
        """Context along each spatial axis in LR pixels: the halo, and what fills its invalid pixels."""
        context = context_of(self.engine.generator, self.work.values, self.work.guide_values)
        return dict(zip(self.work.spatial, context, strict=True))

    @property
    def scale(self) -> dict[int, int]:
        """Factor of each spatial axis."""
        return {a: int(s) for a, s in zip(self.work.spatial, self.engine.generator.scale, strict=True)}


def compute(data: Any, job: Job, progress: Progress | None = None) -> Any:
    """Return an array of stored values super-resolved; nothing of a dask array is computed yet.

    `progress` is called as ``progress(done, total)`` after each tile.
    """
    work = job.work
    if job.guide is not None and work.channel is None:  # the bands of the guide need an axis
        return compute(data[..., None], replace(job, work=replace(work, channel=data.ndim)), progress)[..., 0]
    if isinstance(data, dask.array.Array):
        return _compute_lazily(data, job, progress)
    step = steps_of(progress, _count_tiles([(n,) for n in data.shape], job))
    guide = None if job.guide is None else np.asarray(job.guide)
    return run(data, job.engine, work, block=Block(guide=guide), progress=step)


def _compute_lazily(data: Any, job: Job, progress: Progress | None) -> Any:
    """Return a lazy array whose blocks are tiled with their neighbours' context."""
    work = job.work
    whole = [a for a in work.spatial if job.engine.needs_whole or data.shape[a] <= job.depth[a]]
    whole += [] if work.channel is None else [work.channel]
    thin = [a for a in work.spatial if a not in whole and min(data.chunks[a]) < job.depth[a]]
    lengths = {a: _length_of_chunks(data.chunks[a], job.depth[a]) for a in thin}
    data = data.rechunk(dict.fromkeys(whole, -1) | lengths)
    depth = {a: d for a, d in job.depth.items() if len(data.chunks[a]) > 1}
    overlap: Any = dask.array.overlap.overlap
    seen = overlap(data, depth, boundary="none", allow_rechunk=True)
    cores = [_trim_context(c, depth.get(a, 0)) for a, c in enumerate(seen.chunks)]
    chunks = [tuple(n * job.scale.get(a, 1) for n in c) for a, c in enumerate(cores)]
    client = current_client()  # its workers cut their own tiles, so that blocks are counted
    total = _count_tiles(cores, job) if client is None else prod(map(len, cores))
    step = steps_of(progress, total, client)
    guide = [] if job.guide is None else [_cut_guide(job, data.chunks, depth)]
    token = tokenize(data.name, job.delivery.token, work, [g.name for g in guide])
    block = partial(
        _compute_block,
        work=work,
        depth=depth,
        starts=[tuple(accumulate(c, initial=0)) for c in cores],
        step=step,
        tilewise=client is None,
    )
    return seen.map_blocks(
        block,
        *guide,
        delivery=as_node(job.delivery),
        name=f"upscale-{token}",
        dtype=work.values.out_dtype,
        chunks=chunks,
        meta=np.empty((0,) * data.ndim, work.values.out_dtype),
    )


def _cut_guide(job: Job, chunks: Sequence[Sequence[int]], depth: dict[int, int]) -> Any:
    """Return the guide cut as the image is, with the same context."""
    channel = job.work.channel
    fine = {a: tuple(n * job.scale.get(a, 1) for n in c) for a, c in enumerate(chunks) if a != channel}
    lazy: Any = dask.array.asarray(job.guide)
    overlap: Any = dask.array.overlap.overlap
    context = {a: d * job.scale[a] for a, d in depth.items()}
    return overlap(lazy.rechunk(fine | {channel: -1}), context, boundary="none", allow_rechunk=False)


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
    work: Work,
    depth: dict[int, int],
    starts: Sequence[Sequence[int]],
    step: Callable[[], None] | None,
    tilewise: bool,
    block_info: Any = None,
) -> np.ndarray:
    """Return one block super-resolved; at the border of the array it has no context on that side."""
    place, count = block_info[0]["chunk-location"], block_info[0]["num-chunks"]
    before = {a: depth.get(a, 0) * (place[a] > 0) for a in work.spatial}
    after = {a: depth.get(a, 0) * (place[a] < count[a] - 1) for a in work.spatial}
    where = Block(
        start=tuple(s[place[a]] - before.get(a, 0) for a, s in enumerate(starts)),
        shape=tuple(s[-1] for s in starts),
        guide=guide[0] if guide else None,
    )
    context = [(before[a], after[a]) for a in work.spatial]
    counted = step if tilewise else None
    made = run(block, delivery.engine, work, context=context, block=where, progress=counted)
    if step is not None and not tilewise:
        step()
    return made


def _count_tiles(chunks: Sequence[Sequence[int]], job: Job) -> int:
    """Return the number of tiles that an array of these chunks takes."""
    spatial = job.work.spatial
    others = [c for a, c in enumerate(chunks) if a != job.work.channel and a not in spatial]
    images = [prod(block) for block in product(*others)]
    total = 0
    for shape in product(*(chunks[axis] for axis in spatial)):
        tiles = prod(ceil(n / size) for n, size in zip(shape, job.engine.tile, strict=True))
        together = job.engine.images_in_pass(shape)
        total += tiles * sum(ceil(n / together) for n in images)
    return total
