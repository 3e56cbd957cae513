"""An axis resampled onto a grid that no whole factor reaches, after a model or before it."""

from collections.abc import Mapping
from dataclasses import replace
from math import ceil
from typing import Any

import dask.array
import numpy as np

from sr_imaging.image.grid.axes import fine_size

from .kernels import INTERPOLATIONS, interpolation_weights
from .values import Values

__all__ = ["interpolate_stored", "repeat_nearest", "resample"]


def repeat_nearest(data: Any, scale: Mapping[int, float]) -> Any:
    """Return an array in which each fine pixel has the value of the coarse pixel that holds its centre.

    `scale` has the fine pixels per coarse pixel by axis, > 0; a length becomes ``round(n * scale)``.
    """
    for axis, s in scale.items():
        position = (np.arange(fine_size(data.shape[axis], s)) + 0.5) / s
        index = np.clip(position.astype(int), 0, data.shape[axis] - 1)
        data = data[(slice(None),) * axis + (index,)]  # dask arrays have no method take
    return data


def resample(data: Any, scale: Mapping[int, tuple[float, float]], method: str = "cubic") -> Any:
    """Return float data, NaN where invalid, resampled from a grid refined by one factor onto another.

    `scale` is ``{axis: (have, want)}``: fine pixels per coarse pixel of `data` and of the result. The first
    outer edge is kept; a coarser result is the mean over its pixels. Where one of the pixels that it is made
    from is invalid, a pixel takes the nearest of them.
    """
    for axis, (have, want) in scale.items():
        if have == want:
            continue
        count = fine_size(round(data.shape[axis] / have), want)
        if isinstance(data, dask.array.Array):
            data = _resample_dask(data, axis, have / want, count, method)
        else:
            taps, weights = _plan_taps(np.arange(count), have / want, method)
            data = _sum_taps(data, axis, taps, weights)
    return data


def interpolate_stored(
    data: Any, values: Values, scale: Mapping[int, float], method: str = "cubic"
) -> tuple[Any, Values]:
    """Return stored values as floats on a refined grid, for a model that adds its detail there.

    `scale` has the fine pixels per coarse pixel by axis, >= 1. The floats are in physical units, NaN where
    the nearest coarse pixel is invalid, and with the `Values` returned beside them the result stays so.
    """
    if isinstance(data, dask.array.Array):
        meta = np.empty((0,) * data.ndim, values.work_dtype)
        lazy: Any = data
        floats = lazy.map_blocks(values.decode, dtype=values.work_dtype, meta=meta)
    else:
        floats = values.decode(data)
    fine = resample(floats, {axis: (1, s) for axis, s in scale.items()}, method)
    return fine, replace(values.as_float(), dtype=values.work_dtype, nodata=None, factor=1.0, offset=0.0)


def _plan_taps(index: np.ndarray, ratio: float, method: str) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, t) taps and weights of the result's pixels `index`, each `ratio` pixels of the data long.

    A pixel longer than one is the mean of the interpolation at evenly spaced points inside it, which keeps
    straight ramps straight.
    """
    points = max(1, ceil(ratio))
    radius = INTERPOLATIONS[method][1]
    first = np.rint((index + 0.5) * ratio - 0.5 - ratio / 2).astype(int) - radius
    span = ceil(ratio) + 2 * radius + 2
    weights = np.zeros((len(index), span))
    for p in range(points):
        position = (index + (p + 0.5) / points) * ratio - 0.5
        nearest = np.rint(position).astype(int)
        part = interpolation_weights(method, position - nearest)
        for t in range(part.shape[1]):
            np.add.at(weights, (np.arange(len(index)), nearest + t - radius - first), part[:, t] / points)
    return first[:, None] + np.arange(span), weights


def _sum_taps(data: np.ndarray, axis: int, taps: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Return the weighted sum of the taps along one axis, the border replicated."""
    size = data.shape[axis]
    shape = [-1 if k == axis else 1 for k in range(data.ndim)]
    result: np.ndarray | None = None
    for t in range(taps.shape[1]):
        weight = weights[:, t].astype(data.dtype).reshape(shape)
        if not weight.any():
            continue
        part = np.where(weight != 0, data.take(np.clip(taps[:, t], 0, size - 1), axis), 0) * weight
        result = part if result is None else result + part
    strongest = taps[np.arange(len(taps)), np.abs(weights).argmax(1)]
    nearest = data.take(np.clip(strongest, 0, size - 1), axis)
    return (
        nearest if result is None else np.where(np.isfinite(result) & np.isfinite(nearest), result, nearest)
    )


def _resample_dask(data: Any, axis: int, ratio: float, count: int, method: str) -> Any:
    """Resample chunk by chunk: each makes the pixels whose centres lie in it, from a slice that is enough."""
    stops = np.cumsum(data.chunks[axis])
    centres = (np.arange(count) + 0.5) * ratio
    owner = np.searchsorted(stops[:-1], centres, side="right")
    parts = []
    for k in range(len(stops)):
        index = np.flatnonzero(owner == k)
        if not len(index):
            continue
        taps, weights = _plan_taps(index, ratio, method)
        low, high = max(int(taps.min()), 0), min(int(taps.max()) + 1, data.shape[axis])
        seen = data[(slice(None),) * axis + (slice(low, high),)].rechunk({axis: -1})
        chunks = [c if a != axis else (len(index),) for a, c in enumerate(data.chunks)]
        # beyond the slice lies only what is beyond the array, so clipping replicates its border
        parts.append(
            seen.map_blocks(
                _sum_taps, axis, taps - low, weights, dtype=data.dtype, chunks=chunks, meta=data._meta
            )
        )
    concatenate: Any = dask.array.concatenate
    return concatenate(parts, axis)
