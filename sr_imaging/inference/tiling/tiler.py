"""A generator run over a numpy array, tile by tile with context, so that no seam can appear.

Each tile reads the pixels that its result depends on, runs the network, and writes only what it made: nothing
is blended. The border of the image is one replication outside the network, and invalid pixels are filled from
their nearest valid ones before it.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from math import prod
from typing import Any, cast

import numpy as np
import torch

from sr_imaging.errors import ModelError, ResourceError
from sr_imaging.image.pixels.fill import fill_nearest, is_far
from sr_imaging.image.pixels.values import Values
from sr_imaging.networks import replicate

from .companions import Block, Companions, Work, context_of, fine_reach
from .engine import SMALLEST_TILE, Engine
from .tile_arithmetic import Tile, Window, halve, split, window_of

__all__ = ["run"]

log = logging.getLogger(__name__)
_DEVICE_LOCKS: dict[str, threading.Lock] = {}


def run(
    array: np.ndarray,
    engine: Engine,
    work: Work,
    *,
    context: Sequence[tuple[int, int]] | None = None,
    block: Block | None = None,
    progress: Callable[[], None] | None = None,
) -> np.ndarray:
    """Return an array of stored values super-resolved tile by tile, of dtype ``work.values.out_dtype``.

    `context` are the pixels before and after along each spatial axis that are only to be seen. `progress` is
    called after each tile and may raise to stop. Raises ResourceError if even the smallest tile does not fit
    into memory.
    """
    values, spatial, channel = work.values, work.spatial, work.channel
    if work.trained is not None:
        work.trained.check(array, values)
    front = [k for k in range(array.ndim) if k not in spatial and k != channel]
    companions = Companions.of(block or Block(), work, array, front)
    order = [*front, *([] if channel is None else [channel]), *spatial]
    images = array.transpose(order)
    if channel is None:
        images = images[(slice(None),) * len(front) + (None,)]
    lead, dims = images.shape[: len(front)], len(spatial)
    images = images.reshape(prod(lead), *images.shape[len(front) :])
    edge = [(0, 0)] * dims if context is None else list(context)
    start = tuple(a for a, _ in edge)
    stop = tuple(n - b for n, (_, b) in zip(images.shape[2:], edge, strict=True))
    out = _run_images(images, engine, values, Tile(start, stop), companions=companions, progress=progress)
    out = out.reshape(*lead, *(out.shape[1:] if channel is not None else out.shape[2:]))
    return out.transpose(np.argsort(order))


def _run_images(
    images: np.ndarray,
    engine: Engine,
    values: Values,
    whole: Tile,
    *,
    companions: Companions,
    progress: Callable[[], None] | None,
) -> np.ndarray:
    """Return the part `whole` of ``(N, C, *n)`` super-resolved."""
    generator = engine.generator
    scale = tuple(int(s) for s in generator.scale)
    fine = tuple(n * s for n, s in zip(whole.shape, scale, strict=True))
    out = np.empty((*images.shape[:2], *fine), values.out_dtype)
    together = engine.images_in_pass(whole.shape)
    for n in range(0, len(images) if out.size else 0, together):
        some = slice(n, min(n + together, len(images)))
        pending = [(some, tile) for tile in split(whole.start, whole.stop, engine.tile)][::-1]
        while pending:
            some, tile = pending.pop()
            try:
                made = _run_tile(images, some, tile, engine=engine, values=values, companions=companions)
            except RuntimeError as error:
                pending += _halve_work(some, tile, error)[::-1]
                continue
            out[(some, slice(None), *tile.fine(scale, whole.start))] = made
            if progress is not None:
                progress()
    return out


def _halve_work(some: slice, tile: Tile, error: RuntimeError) -> list[tuple[slice, Tile]]:
    """Return the halves of a batch, or of a tile, that needs too much memory; raise any other error again."""
    if not isinstance(error, torch.cuda.OutOfMemoryError) and "allocate memory" not in str(error):
        raise error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    middle = (some.start + some.stop) // 2
    if middle > some.start:
        log.warning("out of memory on %d images at once; going on with half of them", some.stop - some.start)
        return [(slice(some.start, middle), tile), (slice(middle, some.stop), tile)]
    if max(tile.shape) <= SMALLEST_TILE:
        raise ResourceError(
            f"a tile of {tile.shape} pixels needs too much memory; use a smaller model"
        ) from error
    log.warning("out of memory on a tile of %s pixels; going on with half of it", tile.shape)
    return [(some, part) for part in halve(tile)]


def _run_tile(
    images: np.ndarray, some: slice, tile: Tile, *, engine: Engine, values: Values, companions: Companions
) -> np.ndarray:
    """Return one tile of some of ``(N, C, *n)`` super-resolved, as stored values."""
    generator = engine.generator
    halo = cast("tuple[int, ...]", generator.halo)
    scale = tuple(int(s) for s in generator.scale)
    wide = window_of(tile, images.shape[2:], context_of(generator, values, companions.values))
    narrow = window_of(tile, images.shape[2:], halo)
    seen = values.decode(images[(some, slice(None), *wide.slices)])
    invalid = ~np.isfinite(seen) if values.may_be_invalid else None
    core = _core_slices(tile, [s.start for s in wide.slices])
    if invalid is not None and not invalid.any():
        invalid = None
    if invalid is not None:
        lost = seen[core]
        if invalid[core].all():
            return values.encode(_repeat_pixels(lost, scale))
        seen = _fill_invalid(seen, invalid, None if engine.needs_whole else max(halo))
    noise, (guide, hidden) = None, (None, None)
    if bands := getattr(generator, "latent_channels", 0):
        noise = companions.noise(some, narrow.slices, bands)
    if companions.guide is not None:
        guide, hidden = _decode_guide(companions, some, tile, (wide, narrow), engine)
    inner = seen[_slices_within(narrow, wide, (1,) * len(scale))]
    made = _run_generator(inner, narrow.missing, engine, noise, guide, comfort=values.comfort)
    if hidden is not None:
        made = np.where(hidden, made.dtype.type(np.nan), made)
    if invalid is not None:
        made = np.where(_repeat_pixels(invalid[core], scale), _repeat_pixels(lost, scale), made)
    return values.encode(made)


def _decode_guide(
    companions: Companions, some: slice, tile: Tile, windows: tuple[Window, Window], engine: Engine
) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the finite guide ``(N, G, *n)`` in a tile's narrow window, and the tile's pixels it lacks."""
    values = cast(Values, companions.values)
    scale = [int(s) for s in engine.generator.scale]
    wide, narrow = windows
    fine = [slice(w.start * s, w.stop * s) for w, s in zip(wide.slices, scale, strict=True)]
    seen = values.decode(cast(np.ndarray, companions.guide)[(some, slice(None), *fine)])
    hidden = None
    if values.may_be_invalid and (invalid := ~np.isfinite(seen)).any():
        core = tile.fine(scale, [w.start for w in wide.slices])
        hidden = invalid[(slice(None), slice(None), *core)].any(1, keepdims=True)
        seen = _fill_invalid(seen, invalid, None if engine.needs_whole else fine_reach(engine.generator))
    return seen[_slices_within(narrow, wide, scale)], hidden


def _slices_within(narrow: Window, wide: Window, scale: Sequence[int]) -> tuple[slice, ...]:
    """Return the slices of a narrow window in what a wide one saw, on a grid `scale` times as fine."""
    inner = zip(narrow.slices, wide.slices, scale, strict=True)
    return (
        slice(None),
        slice(None),
        *(slice((n.start - w.start) * s, (n.stop - w.start) * s) for n, w, s in inner),
    )


def _core_slices(tile: Tile, origin: Sequence[int]) -> tuple[slice, ...]:
    """Return the slices of a tile in ``(N, C, *n)`` that begins at `origin`."""
    return (slice(None), slice(None), *tile.fine((1,) * len(origin), origin))


def _repeat_pixels(x: np.ndarray, scale: Sequence[int]) -> np.ndarray:
    """Return each pixel repeated `scale` times along the last axes."""
    for k, s in enumerate(scale):
        if s > 1:
            x = np.repeat(x, s, axis=x.ndim - len(scale) + k)
    return x


def _fill_invalid(images: np.ndarray, invalid: np.ndarray, reach: int | None) -> np.ndarray:
    """Return images filled, each band from its own nearest valid pixel where that lies within `reach`.

    A farther one might lie outside the tile; the mean of the bands that are valid does not.
    """
    filled = images.copy()
    far = np.zeros_like(invalid)
    for index in np.ndindex(images.shape[:2]):
        if invalid[index].any():
            filled[index] = fill_nearest(images[index], invalid[index])
            if images.shape[1] > 1 and reach is not None:
                far[index] = is_far(invalid[index], reach)
    if not far.any():
        return filled
    near = (~far).sum(1, keepdims=True)
    mean = np.where(far, 0, filled).sum(1, keepdims=True) / np.maximum(near, 1)
    return np.where(far & (near > 0), mean, filled).astype(images.dtype, copy=False)


def _run_generator(
    x: np.ndarray,
    missing: Sequence[tuple[int, int]],
    engine: Engine,
    noise: np.ndarray | None,
    guide: np.ndarray | None,
    *,
    comfort: tuple[float, float] | None,
) -> np.ndarray:
    """Return what the generator makes of finite ``(N, C, *n)``, the border replicated where it is missing."""
    fixed = engine.generator.fixed_values
    whole = comfort if engine.precision == "float32" else None  # bf16 has digits for no more than the tile
    ready, shift, unit = _standardise_values(x, tuple(range(1, x.ndim)), fixed or whole)
    tensor = _to_tensor(ready, missing, engine)
    more = {}
    if noise is not None:
        more["latent"] = _to_tensor(noise, missing, engine)
    if guide is not None:  # its bands may have units of their own
        finer = [(a * int(s), b * int(s)) for (a, b), s in zip(missing, engine.generator.scale, strict=True)]
        more["guide"] = _to_tensor(
            _standardise_values(guide, tuple(range(2, x.ndim)), fixed)[0], finer, engine
        )
    cast_to = torch.autocast(torch.device(engine.device).type, torch.bfloat16)
    with _lock_of(engine.device), torch.inference_mode():
        with cast_to if engine.precision == "bf16" else nullcontext():
            made = cast(Any, engine.generator)(tensor, **more)
        _check_shape(tensor, made, engine)
        y = np.asarray(made.float().cpu().contiguous().numpy())
    return np.asarray(y.astype(x.dtype, copy=False) * unit + shift)


def _standardise_values(
    x: np.ndarray, axes: tuple[int, ...], fixed: tuple[float, float] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return float32 values as a generator wants them, what was subtracted, and what they were divided by."""
    if fixed is not None:
        shift, unit = (np.array(v, x.dtype) for v in fixed)
    else:  # any constants do, by the law of an equivariant generator; these are comfortable
        shift = x.mean(axes, keepdims=True, dtype=np.float64).astype(x.dtype)
        unit = np.abs(x - shift).mean(axes, keepdims=True, dtype=np.float64).astype(x.dtype)
        unit[unit == 0] = 1
    return ((x - shift) / unit).astype(np.float32, copy=False), shift, unit


def _to_tensor(x: np.ndarray, missing: Sequence[tuple[int, int]], engine: Engine) -> torch.Tensor:
    """Return ready float32 values as a tensor on the device, with the border replicated."""
    tensor = torch.from_numpy(np.ascontiguousarray(x)).to(engine.device)
    layout = torch.channels_last if tensor.ndim == 4 else torch.channels_last_3d
    return replicate(tensor, missing).contiguous(memory_format=layout)


def _check_shape(x: torch.Tensor, y: torch.Tensor, engine: Engine) -> None:
    """Raise ModelError unless the generator made as many pixels as it promised."""
    halo = cast("tuple[int, ...]", engine.generator.halo)
    core = [n - 2 * h for n, h in zip(x.shape[2:], halo, strict=True)]
    promised = (*x.shape[:2], *(int(n * s) for n, s in zip(core, engine.generator.scale, strict=True)))
    if tuple(y.shape) != promised:
        raise ModelError(
            f"{type(engine.generator).__name__} made {tuple(y.shape)} of {tuple(x.shape)} where its scale "
            f"and halo promise {promised}; correct what it states"
        )


def _lock_of(device: str) -> threading.Lock:
    """Return the lock of a device: two passes at once would share its memory and gain nothing."""
    return _DEVICE_LOCKS.setdefault(device, threading.Lock())
